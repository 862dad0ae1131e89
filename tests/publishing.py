"""A finished run to publish, made without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from hf_sfda.types import ModelRow, Ranking

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
