"""``hf-sfda validate``: compare the scores of finished runs with fine-tuned accuracies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output

if TYPE_CHECKING:
    from rich.console import Group

    from hf_sfda.validate import Mean
    from hf_sfda.validate.runs import Validation

_EXAMPLES = """
**Examples**

- `hf-sfda validate runs/emoji --truth benchmarks/zoo/truth.csv`

- `hf-sfda validate runs/emoji runs/movie --truth benchmarks/zoo/truth.csv --json`
"""

_WIDE = 110
"""Terminals that are narrower show one correlation only."""

_HEADERS = {
    "weighted_tau": "weighted tau", "weighted_tau_by_truth": "by truth", "kendall": "Kendall",
    "spearman": "Spearman",
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("validate", epilog=_EXAMPLES)(validate)


@with_shared_options
def validate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories that `hf-sfda rank` wrote."),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="CSV file with the columns target (or dataset), checkpoint (or model), accuracy.",
            show_default=False,
        ),
    ],
    top: Annotated[
        int, typer.Option(min=1, help="Number of first models that recall and regret look at.")
    ] = 3,
    target: Annotated[
        str | None,
        typer.Option(help="Target of the truth, for a single run whose name does not match."),
    ] = None,
    *,
    output: Output,
) -> None:
    """Compare the scores of finished runs with accuracies after fine-tuning."""
    from hf_sfda.ranking.runs import read_ranking
    from hf_sfda.validate.runs import validate_runs
    from hf_sfda.validate.truth import mean_over_seeds, read_seeds, run_noise

    rankings = {str(run.resolve()): read_ranking(run) for run in runs}
    seeds = read_seeds(truth)
    validation = validate_runs(
        rankings, mean_over_seeds(seeds), k=top, target=target, noise=run_noise(seeds)
    )
    output.document(
        validation.to_dict(),
        human=lambda width: _table(validation, width),
        agent=lambda: _plain(validation),
        quiet=lambda: "\n".join(quality.score for quality in validation.scores),
    )


def _table(validation: Validation, width: int) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score", no_wrap=True)
    names = list(validation.scores[0].measures)
    if width < _WIDE:
        names = [name for name in names if name not in _HEADERS or name == "weighted_tau"]
    for name in names:
        header = _HEADERS.get(name, name.replace("_at_", "@"))
        table.add_column(header, justify="right", no_wrap=True)
    for quality in validation.scores:
        cells = [_cell(quality.measures[name], name) for name in names]
        table.add_row(quality.score, *cells)
    return Group(table, *(Text(f"\n{note}") for note in _notes(validation)))


def _cell(mean: Mean, measure: str) -> str:
    if math.isnan(mean.value):
        return ""
    digits = 1 if measure.startswith("regret") else 2
    value = f"{mean.value:.{digits}f}"
    wide = mean.low is not None and measure in ("weighted_tau", "regret_at_1")
    return f"{value} ({mean.low:.{digits}f} to {mean.high:.{digits}f})" if wide else value


def _notes(validation: Validation) -> list[str]:
    targets = ", ".join(f"{name} ({n} models)" for name, n in validation.targets.items())
    notes = [
        f"Targets: {targets}. Regret is in points of accuracy; recall and regret@k of the first k."
    ]
    if len(validation.targets) == 1:
        notes.append("One target: no interval over targets, and no conclusion about a score.")
    if validation.unmatched_runs:
        notes.append(f"Not in the truth: the runs {', '.join(validation.unmatched_runs)}.")
    for name, models in validation.unmatched_models.items():
        if models:
            notes.append(f"{name}: {len(models)} ranked models have no accuracy: {_few(models)}.")
    for name, models in validation.missing_models.items():
        if models:
            notes.append(
                f"{name}: {len(models)} models of the truth were not ranked: {_few(models)}."
            )
    return notes


def _few(names: tuple[str, ...]) -> str:
    from hf_sfda.foreign import listing

    return listing(names, most=5)


def _plain(validation: Validation) -> str:
    names = list(validation.scores[0].measures)
    lines = ["\t".join(["score", *names])]
    for quality in validation.scores:
        values = (f"{quality.measures[name].value:.4f}" for name in names)
        lines.append("\t".join([quality.score, *values]))
    return "\n".join([*lines, *_notes(validation)])
