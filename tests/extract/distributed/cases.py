"""What the launched script and the test that judges it must agree on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hf_sfda.config import RankConfig
from hf_sfda.types import Candidate
from tests.backbone_zoo import edit_weights
from tests.factories import image_folder, images, texts, tiny_bert, tiny_resnet, tiny_vit

WAYS = ("models", "samples")
# With batches of 4 on two processes: fewer samples than processes, fewer batches than processes,
# every remainder, an odd and an even number of batches.
# (modality, number of samples, models)
CASES = (
    ("image", 1, ("vit",)),
    ("image", 2, ("vit",)),
    ("image", 7, ("vit", "nan", "flaky", "resnet")),
    ("image", 11, ("vit",)),
    ("image", 16, ("vit",)),
    ("text", 11, ("bert",)),
)
MOST = 16
# Cases where the first part of the samples in this order is known already.
KNOWN_CASES = (("image", 11, ("vit", "resnet")), ("text", 11, ("bert",)))
KNOWN_ROWS = (8, 1, 5), (10, 0)


def race_config(root: Path) -> RankConfig:
    """A race of the checkpoints in ``root / "racers"`` on the samples in ``root / "shapes"``."""
    return RankConfig(
        str(root / "shapes"),
        (str(root / "racers"),),
        race=True,
        keep=1,
        metrics=("three_heads",),
        permutations=0,
        resamples=100,
    )


def write_race(root: Path) -> None:
    """What :func:`race_config` names."""
    for seed in range(3):
        tiny_vit(root / "racers" / f"vit{seed}", seed=seed)
    tiny_resnet(root / "racers" / "resnet")
    image_folder(root / "shapes", n_per_class=50, noise=0.5)


def write_zoo(root: Path) -> None:
    """The checkpoints of ``CASES``; ``nan`` is broken, ``flaky`` is not."""
    tiny_vit(root / "vit")
    tiny_vit(root / "flaky", seed=1)
    tiny_resnet(root / "resnet")
    tiny_bert(root / "bert")
    tiny_vit(root / "nan")
    edit_weights(root / "nan", lambda weights: next(iter(weights.values())).fill_(torch.nan))


def candidates(zoo: Path, names: Sequence[str]) -> list[Candidate]:
    """Candidates for checkpoints of the zoo."""
    return [Candidate(n, "local", revision=f"sha256:{n}", path=zoo / n) for n in names]


def samples_of(modality: str, count: int) -> list:
    """The first ``count`` samples; the texts differ in length."""
    if modality == "image":
        return images(MOST, 1)[0][:count]
    sentences = texts(MOST, 1, length=30)[0]
    return [" ".join(t.split()[: 2 + 7 * i % 23]) for i, t in enumerate(sentences)][:count]
