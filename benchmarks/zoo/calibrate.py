"""Is the confidence right? ``python -m benchmarks.zoo.calibrate``.

Fits :class:`hf_sfda.uncertainty.calibration.Calibration` to the truth of the zoo, writes
``hf_sfda/uncertainty/calibration.json``, and evaluates it: each target is predicted by a
calibration of the other targets, as a target of a user would be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.zoo import evaluate
from benchmarks.zoo.evaluate import Floats, Target
from hf_sfda.uncertainty import calibration
from hf_sfda.uncertainty.calibration import Calibration, fit_calibration, predict_accuracies

FILE = Path(calibration.__file__).with_name("calibration.json")
PICTURE = Path(__file__).parents[2] / "docs" / "reliability.svg"
DRAWS = 4000
LEVEL = 0.9
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

CLASSES_AND_SAMPLES = {
    "clipart": (9, 700), "elpv2": (2, 600), "emoji": (9, 700), "everyday": (11, 550),
    "fashion": (10, 350), "fortunes": (14, 700), "injection": (2, 350), "language": (29, 630),
    "letters": (34, 884), "movie": (2, 700), "wordnet": (22, 1100),
}  # fmt: skip
"""Classes of each target, and samples of its training and validation part (targets.md)."""

COLUMNS = {
    "logistic_probe": "logistic_probe/published/all",
    "knn": "knn/published/all",
    "sfda_cv": "sfda_cv/published/all",
}
"""Other scores that may sort a run; they only see published batch norms."""


@dataclass(frozen=True)
class Evaluation:
    """How a calibration does on targets that it was not fitted to.

    Attributes:
        reliability: As in :class:`Calibration`.
        pairs_brier: Mean squared error of P(one model is better than another).
        pairs_error: Expected calibration error of the same: mean distance of predicted probability
            and share, over the bins, weighted by pairs.
        best_brier: Mean squared error of P(best).
        covered: Share of targets whose best checkpoint is in the shortlist of 90%.
        sizes: Size of that shortlist, target by target.
        first_three: Predicted and actual share of targets whose best checkpoint is among the first
            three.
    """

    reliability: tuple[tuple[float, float, int], ...]
    pairs_brier: float
    pairs_error: float
    best_brier: float
    covered: float
    sizes: tuple[int, ...]
    first_three: tuple[float, float]


def scores_of(target: Target, name: str) -> Floats:
    """(M,) scores by the name of an entry, such as ``three_heads/all/both``."""
    metric, _, norms = name.split("/")
    if metric != "three_heads":
        return target.column(COLUMNS[metric])
    return evaluate.three_heads(target, both=norms == "both")


def names() -> list[str]:
    """All entries of the file."""
    return [
        f"{m}/all/{norms}" for m in ("three_heads", *COLUMNS) for norms in ("both", "published")
    ]


def fit(targets: Sequence[Target], name: str) -> Calibration:
    """The calibration of a score on some targets."""
    facts = [CLASSES_AND_SAMPLES[target.name] for target in targets]
    return fit_calibration(
        [scores_of(target, name) for target in targets],
        [target.truth for target in targets],
        classes=[classes for classes, _ in facts],
        samples=[samples for _, samples in facts],
    )


def leave_one_out(targets: Sequence[Target], name: str) -> Evaluation:
    """Predict every target from the others."""
    probabilities, outcomes = [], []
    p_best, is_best, covered, sizes, three = [], [], [], [], []
    for target in targets:
        others = [other for other in targets if other is not target]
        scores = scores_of(target, name)
        # Equal scores of different checkpoints are no sign of one checkpoint under two names.
        distinct = scores + 1e-9 * np.arange(len(scores))
        drawn = predict_accuracies(fit(others, name), scores, np.tile(distinct, (DRAWS, 1)), seed=0)
        better = (drawn[:, :, None] > drawn[:, None, :]).mean(axis=0)
        first, second = np.triu_indices(len(scores), 1)
        differ = target.truth[first] != target.truth[second]
        sure, right = _towards_the_likely(
            better[first, second][differ], (target.truth[first] > target.truth[second])[differ]
        )
        probabilities.append(sure)
        outcomes.append(right)
        best = np.bincount(drawn.argmax(axis=1), minlength=len(scores)) / DRAWS
        order = np.argsort(-best, kind="stable")
        sums = np.cumsum(best[order])
        size = int(np.searchsorted(sums, LEVEL)) + 1
        truly = target.truth == target.truth.max()
        p_best.append(best)
        is_best.append(truly / truly.sum())
        sizes.append(size)
        covered.append(bool(truly[order[:size]].any()))
        three.append((sums[2], bool(truly[order[:3]].any())))
    p, right = np.concatenate(probabilities), np.concatenate(outcomes)
    bins = _bins(p, right)
    total = sum(n for _, _, n in bins)
    return Evaluation(
        reliability=bins,
        pairs_brier=float(np.mean((p - right) ** 2)),
        pairs_error=sum(n * abs(mean - share) for mean, share, n in bins) / total,
        best_brier=float(np.mean((np.concatenate(p_best) - np.concatenate(is_best)) ** 2)),
        covered=float(np.mean(covered)),
        sizes=tuple(sizes),
        first_three=(float(np.mean([t[0] for t in three])), float(np.mean([t[1] for t in three]))),
    )


def document(targets: Sequence[Target]) -> dict[str, object]:
    """The content of ``calibration.json``."""
    entries = {}
    for name in names():
        fitted = replace(fit(targets, name), reliability=leave_one_out(targets, name).reliability)
        entries[name] = asdict(fitted)
    rounded: dict[str, object] = json.loads(
        json.dumps({"targets": [target.name for target in targets], "scores": entries}),
        parse_float=lambda text: round(float(text), 4),
    )
    return rounded


def report(targets: Sequence[Target]) -> str:
    """The tables in Markdown."""
    lines = [
        "| score | pairs: Brier | pairs: calibration error | P(best): Brier | best in the 90% "
        "shortlist | size of it, median | best among the first three: predicted, actual |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names():
        if not name.startswith("three_heads") and name.endswith("published"):
            continue  # the same numbers as with both
        e = leave_one_out(targets, name)
        lines.append(
            f"| {name} | {e.pairs_brier:.3f} | {e.pairs_error:.3f} | {e.best_brier:.3f} | "
            f"{e.covered:.2f} | {np.median(e.sizes):.0f} | {e.first_three[0]:.2f}, "
            f"{e.first_three[1]:.2f} |"
        )
    lines += ["", "| predicted | right | pairs |", "|---|---|---|"]
    lines += [
        f"| {mean:.2f} | {share:.2f} | {n} |"
        for mean, share, n in leave_one_out(targets, names()[0]).reliability
    ]
    return "\n".join(lines)


def picture(reliability: Sequence[tuple[float, float, int]]) -> str:
    """The reliability diagram as SVG: predicted probability against the share that came true. The
    area of a dot is proportional to its pairs.
    """
    left, top, side = 46, 14, 250

    def x(p: float) -> float:
        return round(left + (p - 0.5) * 2 * side, 1)

    def y(p: float) -> float:
        return round(top + side - (p - 0.5) * 2 * side, 1)

    most = max(n for _, _, n in reliability)
    ticks = [tick / 10 for tick in range(5, 11)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + side + 190} '
        f'{top + side + 44}" width="{left + side + 190}" font-family="sans-serif" font-size="12">',
        "<style>text{fill:#333}.axis{stroke:#999}.grid{stroke:#ddd}.dot{fill:#2f6fde}"
        "@media (prefers-color-scheme:dark){text{fill:#ccc}.axis{stroke:#777}.grid{stroke:#333}"
        ".dot{fill:#7aa7ff}}</style>",
        *(
            f'<path class="grid" d="M{x(t)} {y(0.5)}V{y(1)}M{x(0.5)} {y(t)}H{x(1)}"/>'
            f'<text x="{x(t)}" y="{y(0.5) + 16}" text-anchor="middle">{t:g}</text>'
            f'<text x="{x(0.5) - 8}" y="{y(t) + 4}" text-anchor="end">{t:g}</text>'
            for t in ticks
        ),
        f'<path class="axis" stroke-dasharray="4 4" d="M{x(0.5)} {y(0.5)}L{x(1)} {y(1)}"/>',
    ]
    for predicted, right, n in reliability:
        radius = round(4 + 10 * (n / most) ** 0.5, 1)
        parts.append(
            f'<circle class="dot" cx="{x(predicted)}" cy="{y(right)}" r="{radius}" '
            f'fill-opacity=".75"><title>{n} pairs: predicted {predicted:.2f}, right {right:.2f}'
            "</title></circle>"
        )
    middle = x(0.75)
    parts += [
        f'<text x="{middle}" y="{y(0.5) + 36}" text-anchor="middle">predicted P(A better than B)'
        "</text>",
        f'<text x="{x(1) + 24}" y="{y(1) + 14}">share of pairs</text>',
        f'<text x="{x(1) + 24}" y="{y(1) + 30}">in which A was better</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _towards_the_likely(
    probability: Floats, outcome: npt.NDArray[np.bool_]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Each pair seen from the model that is more likely to be better: probabilities from .5 on."""
    flip = probability < 0.5
    return np.where(flip, 1 - probability, probability), outcome != flip


def _bins(
    probability: Floats, outcome: npt.NDArray[np.bool_]
) -> tuple[tuple[float, float, int], ...]:
    places = np.clip(np.digitize(probability, BINS) - 1, 0, len(BINS) - 2)
    return tuple(
        (float(probability[here].mean()), float(outcome[here].mean()), int(here.sum()))
        for place in range(len(BINS) - 1)
        if (here := places == place).any()
    )


if __name__ == "__main__":
    measured = evaluate.read()
    FILE.write_text(json.dumps(document(measured), indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(leave_one_out(measured, names()[0]).reliability), encoding="utf-8")
    print(report(measured))
