"""A finished run to publish, made without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from hf_sfda.ranking.measurements import write_measurements
from hf_sfda.types import Finetuned, Measurement, ModelRow, Ranking
from hf_sfda.uncertainty import wilson

DATASET_SHA = "d" * 40
# Written out, so that a new option of `rank` does not change the golden files.
CONFIG = {
    "dataset": "",
    "models": [],
    "samples": 2000,
    "metric": "sfda_cv",
    "metrics": ["sfda_cv", "knn", "logistic_probe"],
    "view": "all",
    "folds": 5,
    "resamples": 1000,
    "permutations": 5,
    "confidence": 0.95,
    "seed": 0,
    "top": 20,
    "max_params": None,
    "dtype": "float32",
    "batch_size": 64,
    "out": None,
}
SECRET = "hf_aSecretThatMustNotBeShownAnywhere0123"


def sha_of(model_id: str) -> str:
    """A commit sha that depends on the model's name."""
    return (model_id.encode().hex() * 40)[:40]


def ok_row(model_id: str, rank: int, value: float, **fields: Any) -> ModelRow:
    """A ranked row as `hf-sfda rank` makes them."""
    values: dict[str, Any] = {
        "revision": sha_of(model_id),
        "status": "ok",
        "rank": rank,
        "tie_group": rank,
        "scores": {"sfda_cv": value, "knn": value / 2, "logistic_probe": value / 2 + 0.25},
        "intervals": {"sfda_cv": (value - 0.02, value + 0.02), "knn": (0.1, 0.3)},
        "rank_interval": (rank, rank + 1),
        "p_best": 0.5 if rank == 1 else 0.1,
        "noise_floor": 0.111,
        "params": 22_000_000,
        "feature_dim": 384,
        "download_bytes": 88_000_000,
        "samples_per_second": 610.5,
        "license": "apache-2.0",
        "downloads": 1234,
        "library": "timm",
        "feature_key": "f" * 16,
    }
    return ModelRow(model_id=model_id, **{**values, **fields})


def make_ranking(
    scores: Mapping[str, float] | None = None,
    *,
    dataset: str = "me/plants",
    dataset_sha: str | None = DATASET_SHA,
    created_at: str = "2026-11-20T10:00:00+00:00",
    extra_rows: tuple[ModelRow, ...] | None = None,
    **options: Any,
) -> Ranking:
    """A ranking of these models, plus one that was skipped and one that failed."""
    scores = {"acme/vit": 0.58, "me/resnet": 0.5, "me/noise": 0.12} if scores is None else scores
    config = {**CONFIG, "dataset": dataset, **options}
    text = json.dumps({key: value for key, value in config.items() if key != "out"}, sort_keys=True)
    order = sorted(scores, key=lambda name: -scores[name])
    rows = tuple(ok_row(name, rank, scores[name]) for rank, name in enumerate(order, 1))
    if extra_rows is None:
        extra_rows = (
            ModelRow("acme/nan", "e" * 40, "failed", "layer.3.weight holds NaN", library="timm"),
            ModelRow("acme/big", None, "skipped", "gated, and no token that may read it"),
        )
    return Ranking(
        config=config | {"fingerprint": sha256(text.encode()).hexdigest()[:16]},
        dataset={
            "id": dataset,
            "revision": dataset_sha,
            "config": None,
            "split": "train",
            "task": "image-classification",
            "n_samples": 1270,
            "n_available": 1270,
            "n_classes": 9,
            "seed": 0,
            "fingerprint": sha256(f"{dataset} {dataset_sha}".encode()).hexdigest(),
        },
        rows=(*rows, *extra_rows),
        warnings=(),
        agreement={"knn": 0.9},
        tool_version="0.1.0",
        versions={"hf-sfda": "0.1.0", "torch": "2.13.0", "timm": "1.0.31"},
        created_at=created_at,
    )


def save_run(directory: Path, ranking: Ranking | None = None) -> Path:
    """A run directory with the file that publishing reads."""
    directory.mkdir(parents=True, exist_ok=True)
    document = (ranking or make_ranking()).to_dict()
    (directory / "ranking.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


def finetuned(
    ranking: Ranking, right: Mapping[str, int], *, n: int = 100, seed: int = 0
) -> Finetuned:
    """Models of a run that were fine-tuned: how many of the ``n`` test samples each gets right."""
    rows = {row.model_id: row for row in ranking.ranked}
    parts = {"fingerprint": "f", "test": "held out", "test_fingerprint": None}
    parts |= {"n_train": 300, "n_validation": 100, "n_test": n}
    measurements = tuple(
        Measurement(
            model_id=name,
            revision=rows[name].revision,
            value=count / n,
            interval=wilson(count / n, n),
            probe_value=0.4,
            learning_rate=3e-4,
            epoch=3,
            samples_trained=900,
            seconds=90.0,
            device="cpu",
            per_sample=(1,) * count + (0,) * (n - count),
            versions={"hf-sfda": "0.1.0", "torch": "2.13.0"},
        )
        for name, count in right.items()
    )
    return Finetuned(ranking.dataset["fingerprint"], parts, {"seed": seed}, measurements)


def save_measured(directory: Path, settings: Finetuned, time: str) -> Path:
    """What `hf-sfda finetune` leaves in a run directory."""
    write_measurements(directory, settings)
    with (directory / "journal.jsonl").open("a", encoding="utf-8") as journal:
        for m in settings.measurements:
            event = {"time": time, "event": "finetuned", "model": m.model_id}
            journal.write(json.dumps({**event, "accuracy": m.value}) + "\n")
    return directory
