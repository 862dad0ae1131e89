# ruff: noqa: E501
"""A ranking as a real run gives it: 20 ranked, 2 skipped, 2 failed, ties, hazards, gaps."""

from __future__ import annotations

from hf_sfda.config import RankConfig
from hf_sfda.types import ModelRow, Ranking, RowWarning
from hf_sfda.uncertainty import agreement_with

METRICS = ("sfda_cv", "sfda", "logme", "hscore", "knn", "logistic_probe")
HOSTILE = "evil/<script>alert(1)</script>"

# name, params (millions), width, sfda_cv, sfda, logme, hscore, k-NN, probe, licence, img/s, tie
_MODELS = [
    ("acme/convnext-small-in22k", 50.2, 2048, 0.584, 0.998, 0.412, 6.91, 0.69, 0.770, "apache-2.0", 610, 1),
    ("acme/vit-small-patch16-224", 22.1, 1536, 0.571, 0.971, 0.398, 6.42, 0.68, 0.752, "mit", 880, 1),
    ("acme/resnet-50", 25.6, 3840, 0.566, 1.0, 0.371, 7.31, 0.67, 0.750, "apache-2.0", 1020, 1),
    ("timm/tf_efficientnet_lite2.in1k", 6.1, 2560, 0.541, 0.999, 0.365, 7.02, 0.66, 0.747, "apache-2.0", 1430, 2),
    ("timm/tf_efficientnet_lite1.in1k", 5.4, 2560, 0.538, 0.999, 0.352, 6.98, 0.65, 0.745, "apache-2.0", 1610, 2),
    ("timm/tf_efficientnet_lite0.in1k", 4.7, 2304, 0.533, 0.999, 0.349, 6.90, 0.66, 0.744, "apache-2.0", 1840, 2),
    ("big-lab/a-checkpoint-with-a-really-very-long-name-that-never-ends-v2", 304.4, 4096, 0.529, 1.0, 0.388, 7.44, 0.63, 0.741, "cc-by-nc-4.0", 95, 2),
    ("acme/swin-tiny", 28.3, 2304, 0.522, 0.998, 0.331, 6.75, 0.64, 0.733, "mit", 720, 2),
    ("université/modèle-été", 11.7, 1024, 0.497, 0.942, 0.302, 5.61, 0.61, 0.714, None, 1310, 3),
    ("acme/mobilevit-small", 5.6, 1280, 0.491, 0.951, 0.297, 5.88, 0.60, 0.709, "apple-amlr", 990, 3),
    ("open/nsfw-resnet-50-thin", 5.9, 1984, 0.486, 0.986, 0.305, 6.32, 0.62, 0.711, "bsd-2-clause", 1490, 3),
    ("acme/regnet-y-400mf", 4.3, 1120, 0.462, 0.933, 0.281, 5.40, 0.57, 0.689, "mit", 1720, 4),
    ("acme/resnet-18", 11.7, 1024, 0.455, 0.918, 0.274, 5.12, 0.58, 0.681, "apache-2.0", 1980, 4),
    ("acme/mobilenet-v3-large", 5.5, 1344, 0.441, 0.944, 0.269, 5.55, 0.55, 0.672, "apache-2.0", 2250, 5),
    ("acme/mobilenet-v2-nsfw", 3.5, 1280, 0.412, 0.937, 0.233, 5.31, 0.51, 0.641, "mit", 2100, 6),
    ("acme/squeezenet", 1.2, 960, 0.377, 0.861, 0.214, 4.71, 0.48, 0.618, "bsd-3-clause", 2600, 7),
    ("acme/shufflenet-v2", 2.3, 1024, 0.371, 0.882, 0.203, 4.92, 0.47, 0.609, "bsd-3-clause", 2480, 7),
    ("digits/lenet-wide", None, 512, 0.254, 0.601, 0.121, 2.71, 0.33, 0.447, "mit", 5200, 8),
    (HOSTILE, 4.7, 2304, 0.131, 1.0, 0.041, 6.61, 0.22, 0.301, "mit", None, 9),
    ("acme/random-init", 4.7, 2304, 0.121, 1.0, 0.038, 6.58, 0.21, 0.287, "mit", 1400, 9),
]  # fmt: skip

_P_BEST = (0.52, 0.31, 0.17)


def _row(place: int, model: tuple) -> ModelRow:
    name, params, width, sfda_cv, sfda, logme, hscore, knn, probe, licence, speed, tie = model
    at_floor = sfda_cv < 0.14
    return ModelRow(
        model_id=name,
        revision=f"{place:040x}",
        status="ok",
        rank=place,
        tie_group=tie,
        scores={
            "sfda_cv": sfda_cv,
            "sfda": sfda,
            "logme": logme,
            "hscore": hscore,
            "knn": knn,
            "logistic_probe": probe,
        },
        intervals={
            "sfda_cv": (round(sfda_cv - 0.023, 4), round(sfda_cv + 0.024, 4)),
            "knn": (knn - 0.025, knn + 0.025),
            "logistic_probe": (probe - 0.024, probe + 0.023),
        },
        rank_interval=(max(1, place - 2), min(20, place + 2)),
        p_best=_P_BEST[place - 1] if place <= len(_P_BEST) else 0.0,
        expected_regret=round(0.9 * place, 2),
        noise_floor=0.118 if at_floor else 0.112,
        params=None if params is None else round(params * 1e6),
        feature_dim=width,
        download_bytes=None if params is None else round(params * 4e6),
        samples_per_second=speed,
        license=licence,
        downloads=1_000_000 // place,
        library="timm" if name.startswith("timm") else "transformers",
        feature_key=f"{place:064x}",
        warnings=(
            *((RowWarning(None, "at the noise floor (0.118)"),) if at_floor else ()),
            *(
                (RowWarning("hscore", f"hscore: 1270 samples for {width} dimensions"),)
                if width > 635
                else ()
            ),
        ),
    )


def _left_out(name: str, status: str, reason: str) -> ModelRow:
    return ModelRow(model_id=name, revision=None, status=status, reason=reason)


def example_ranking() -> Ranking:
    rows = [_row(place, model) for place, model in enumerate(_MODELS, start=1)]
    rows += [
        _left_out("acme/gated-giant", "skipped", "gated, and no token that may read it"),
        _left_out("acme/pickled", "skipped", "holds no safetensors, only pickle files, which are never opened"),
        _left_out("acme/broken", "failed", "layer.3.weight holds NaN"),
        _left_out("./my-checkpoint", "failed", "no config.json in the folder <b>./my-checkpoint</b>"),
    ]  # fmt: skip
    config = RankConfig(
        dataset="me/emoji", metric="sfda_cv", metrics=METRICS, samples=1270, out="runs/emoji"
    )
    return Ranking(
        config=config.to_dict(),
        dataset={
            "id": "me/emoji",
            "revision": "3f2c1d9" + "0" * 33,
            "config": None,
            "split": "train",
            "task": "image-classification",
            "input_column": "image",
            "label_column": "label",
            "n_samples": 1270,
            "n_available": 2540,
            "n_classes": 9,
            "class_names": [f"class {i}" for i in range(9)],
            "left_out": {"the picture cannot be read": 3},
            "seed": 0,
            "fingerprint": "ab" * 32,
        },
        rows=tuple(rows),
        warnings=(
            "2 of 20 models cannot be told from shuffled labels by sfda_cv.",
            "sfda is saturated for 9 of 20 models (within 0.005 of its maximum, 1) and cannot "
            "order them; it is scored on the samples it was fitted on.",
        ),
        agreement=agreement_with(
            "sfda_cv", {name: [row.scores[name] for row in rows[:20]] for name in config.metrics}
        ),
        tool_version="0.1.0",
        versions={"python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0"},
        created_at="2026-11-23T01:00:00+00:00",
    )
