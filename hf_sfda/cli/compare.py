"""``hf-sfda compare``: compare two models of a run on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._tables import Cells, short_names, tabbed, terminal_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_sfda.compare import ClassDifference, Comparison

_MAX_CLASSES = 20
"""Number of classes in the terminal table; the other formats have all classes."""

_TEXT_COLUMNS = ("model", "class", "sample")

_EXAMPLES = """
**Examples**

- `hf-sfda compare runs/me--plants acme/vit acme/resnet`

- `hf-sfda compare runs/me--plants acme/vit acme/resnet --metric linear_probe --top 3`

- `hf-sfda compare runs/me--plants acme/vit acme/resnet --json`
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", epilog=_EXAMPLES)(compare)


@with_shared_options
def compare(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory that `hf-sfda rank` wrote.")
    ],
    model_a: Annotated[
        str, typer.Argument(metavar="MODEL", help="A ranked model, named as in the table.")
    ],
    model_b: Annotated[str, typer.Argument(metavar="OTHER", help="Another ranked model.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to compare; by default the one that the run ranked by.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="Number of samples to list in favour of each model.")
    ] = 12,
    *,
    token: str | None,
    output: Output,
) -> None:
    """Compare two ranked models on the same samples: overall, per class, per sample.

    Uses the stored features of a finished run. Only the dataset is read again. `--quiet` prints the
    better model, or both if the difference is not significant.
    """
    from hf_sfda.cli._progress import open_session
    from hf_sfda.compare import compare_for_run

    with open_session(token, output) as session:
        comparison = compare_for_run(run, model_a, model_b, metric=metric, session=session, top=top)
    output.document(
        comparison.to_dict(),
        human=lambda width: render_tables(comparison),
        agent=lambda: render_plain(comparison),
        quiet=lambda: "\n".join([comparison.better] if comparison.better else comparison.models),
    )
    for warning in comparison.warnings:
        output.warn(warning)


def render_tables(comparison: Comparison) -> RenderableType:
    """Render scores, classes, samples and the summary for a terminal."""
    from rich.console import Group
    from rich.text import Text

    names, folder = short_names(comparison.models)
    first, second = comparison.models
    comparison = replace(comparison, models=(names[first], names[second]))
    level = f"{comparison.confidence * 100:g}%"
    blocks: list[RenderableType] = [terminal_table(_scores(comparison), text_columns=_TEXT_COLUMNS)]
    if comparison.classes:
        largest = sorted(comparison.classes, key=lambda c: -abs(c.difference))[:_MAX_CLASSES]
        classes = [c for c in comparison.classes if c in largest]
        left_out = len(comparison.classes) - len(classes)
        title = f"By class; the limits hold for all classes together at {level}"
        blocks += [
            Text(),
            Text(title + (f"; {left_out} that differ less are left out" if left_out else "")),
            terminal_table(_classes(classes), text_columns=_TEXT_COLUMNS),
        ]
    if comparison.samples:
        blocks += [
            Text(),
            Text("Where they differ most"),
            terminal_table(_samples(comparison), text_columns=_TEXT_COLUMNS),
        ]
    blocks += [Text(), Text(comparison.summary, style="bold")]
    if folder:
        blocks.append(Text(f"Local models are in {folder}."))
    return Group(*blocks)


def render_plain(comparison: Comparison) -> str:
    """Render the same tables as tab-separated text, with full names and numbers."""
    tables = [_scores(comparison), _classes(comparison.classes), _samples(comparison)]
    return "\n\n".join(
        [*(tabbed(table) for table in tables if table[1]), f"# {comparison.summary}"]
    )


def _scores(comparison: Comparison) -> Cells:
    first, second = comparison.models
    header = ("model", comparison.metric, "low", "high", "P(better)")
    share = comparison.p_first_better
    return header, (
        (first, comparison.values[0], None, None, share),
        (second, comparison.values[1], None, None, round(1 - share, 12)),
        ("difference", comparison.difference, *comparison.interval, None),
    )


def _classes(classes: Sequence[ClassDifference]) -> Cells:
    header = ("class", "n", "first", "second", "difference", "low", "high")
    rows = [
        (c.name, c.n, c.first, c.second, c.difference, *(c.interval or (None, None)))
        for c in classes
    ]
    return header, rows


def _samples(comparison: Comparison) -> Cells:
    header = ("sample", "class", "first", "second", "difference")
    rows = [
        (s.sample_id or s.index, s.class_name, s.first, s.second, s.difference)
        for s in comparison.samples
    ]
    return header, rows
