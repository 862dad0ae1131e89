"""``python -m demo.probe --out .demo``: does the zoo behave as real checkpoints should?

A linear probe per model folder, written with the libraries alone, so that it can contradict
hf-sfda. Its table stands in demo/README.md.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
import typer

from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    from PIL import Image

Sample = TypeVar("Sample")

BATCH = 32
MAX_TOKENS = 64
STRENGTHS = (1e-3, 1e-2, 1e-1)
"""Inverse regularisation the probe chooses from, by three folds of the training half."""


def emoji(folder: Path, part: str) -> tuple[list[Image.Image], list[str]]:
    """Pictures and categories of one part of the image folder."""
    from PIL import Image

    paths = sorted((folder / part).glob("*/*.png"))
    return [Image.open(path).convert("RGB") for path in paths], [path.parent.name for path in paths]


def movie(folder: Path, part: str) -> tuple[list[str], list[str]]:
    """Sentences and labels of one part of the film reviews."""
    with (folder / f"{part}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def image_features(model_folder: Path, pictures: Sequence[Image.Image]) -> np.ndarray:
    """(N, D) pooled last layer, through timm or transformers, as the folder says."""
    import torch

    ensure_torchvision()
    if (model_folder / "preprocessor_config.json").exists():
        from transformers import AutoImageProcessor, AutoModel

        processor = AutoImageProcessor.from_pretrained(model_folder)
        model = AutoModel.from_pretrained(model_folder).eval()

        def run(batch: Sequence[Image.Image]) -> torch.Tensor:
            pooled: torch.Tensor = model(**processor(list(batch), return_tensors="pt"))[1]
            return pooled.flatten(1)  # (B, C, 1, 1) -> (B, C)
    else:
        import timm

        network = timm.create_model(f"local-dir:{model_folder}", pretrained=True, num_classes=0)
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
        network.eval()

        def run(batch: Sequence[Image.Image]) -> torch.Tensor:
            pooled: torch.Tensor = network(torch.stack([transform(picture) for picture in batch]))
            return pooled

    with torch.inference_mode():
        batches = [run(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    return torch.cat(batches).numpy()


def text_features(model_folder: Path, texts: Sequence[str]) -> np.ndarray:
    """(N, D) last layer, averaged over tokens."""
    import torch

    ensure_torchvision()
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModel.from_pretrained(model_folder).eval()
    means = []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            tokens = tokenizer(
                batch, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            mask = tokens["attention_mask"].unsqueeze(-1)  # (B, T, 1)
            hidden = model(**tokens).last_hidden_state  # (B, T, D)
            means.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(means).numpy()


def accuracy(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str]
) -> float:
    """Held-out accuracy of a logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        {"logisticregression__C": STRENGTHS},
        cv=3,
    )
    return float(probe.fit(train, train_labels).score(test, test_labels))


def main(out: Annotated[Path, typer.Option(help="Folder of demo.build.")] = Path(".demo")) -> None:
    """Print held-out probe accuracy for every model folder."""
    ensure_torchvision()
    from transformers.utils import logging

    # The text folders have no pooler and the probe uses none: no need to be warned of it.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    emoji_data, movie_data = out / "data/emoji", out / "data/movie"
    _table(out / "zoo/image", image_features, emoji(emoji_data, "train"), emoji(emoji_data, "test"))
    _table(out / "zoo/text", text_features, movie(movie_data, "train"), movie(movie_data, "test"))


def _table(
    zoo: Path,
    features: Callable[[Path, Sequence[Sample]], np.ndarray],
    train: tuple[list[Sample], list[str]],
    test: tuple[list[Sample], list[str]],
) -> None:
    print(f"{zoo}: {len(train[0])} to train on, {len(test[0])} held out")
    for folder in sorted(zoo.iterdir()):
        started = time.perf_counter()
        x, x_test = features(folder, train[0]), features(folder, test[0])
        seconds = time.perf_counter() - started
        score = accuracy(x, train[1], x_test, test[1])
        print(f"  {folder.name:20} D {x.shape[1]:5}  {score:.3f}  {seconds:5.1f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
