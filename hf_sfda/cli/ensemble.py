"""``hf-sfda ensemble``: select models of a run that complement each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._tables import Cells, short_names, tabbed, terminal_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_sfda.ensemble import Ensemble

_MAX_COLUMNS = 10
"""Number of columns of the correlation table in a terminal; the other formats have all columns."""

_TEXT_COLUMNS = ("model", "candidate", "paper")

_EXAMPLES = """
**Examples**

- `hf-sfda ensemble runs/me--plants` — up to three models

- `hf-sfda ensemble runs/me--plants --size 2 --json`

- `hf-sfda ensemble runs/me--plants acme/vit acme/resnet acme/swin` — among these
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("ensemble", epilog=_EXAMPLES)(ensemble)


@with_shared_options
def ensemble(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory that `hf-sfda rank` wrote.")
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Choose among these ranked models only, named as in the table.",
        ),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", "-k", min=1, help="Largest number of models to choose.")
    ] = 3,
    criterion: Annotated[
        Literal["probability", "log_likelihood"],
        typer.Option(help="Objective to maximize: mean held-out probability, or its logarithm."),
    ] = "probability",
    pooling: Annotated[
        Literal["geometric", "arithmetic"],
        typer.Option(help="How predictions are averaged; arithmetic needs log_likelihood."),
    ] = "geometric",
    *,
    token: str | None,
    output: Output,
) -> None:
    """Choose ranked models that complement each other.

    Uses the stored features of a finished run. Only the labels of the dataset are read again.
    """
    from hf_sfda.cli._progress import open_session
    from hf_sfda.ensemble import select_for_run

    with open_session(token, output) as session:
        selection = select_for_run(
            run,
            models=tuple(models or ()),
            size=size,
            criterion=criterion,
            pooling=pooling,
            session=session,
        )
    output.document(
        selection.to_dict(),
        human=lambda width: render_tables(selection),
        agent=lambda: render_plain(selection),
        quiet=lambda: "\n".join(selection.models),
    )
    for warning in selection.warnings:
        output.warn(warning)


def render_tables(selection: Ensemble) -> RenderableType:
    """Render steps, candidates, correlations and the summary for a terminal."""
    from rich.console import Group
    from rich.text import Text

    selection, folder = _with_short_names(selection)
    unit = selection.criterion.replace("_", "-")
    return Group(
        Text(f"Held-out quality; gain in {unit} over the best single model, measured on samples"),
        Text(f"not used for the selection, with {selection.confidence:.0%} intervals"),
        terminal_table(_steps(selection), text_columns=_TEXT_COLUMNS),
        Text(),
        Text("Single candidates, and the paper's T_ens = 0.5 sfda_cv + 0.5 T_com"),
        terminal_table(_candidates(selection), text_columns=_TEXT_COLUMNS),
        Text(),
        Text("Correlation of errors; models with a low correlation complement each other"),
        terminal_table(_correlations(selection, _MAX_COLUMNS), text_columns=_TEXT_COLUMNS),
        Text(),
        Text(selection.summary, style="bold"),
        *([Text(f"Local models are in {folder}.")] if folder else []),
    )


def render_plain(selection: Ensemble) -> str:
    """Render the same tables as tab-separated text, with full names and numbers."""
    tables = (
        _steps(selection),
        _candidates(selection),
        _correlations(selection, len(selection.singles)),
    )
    return "\n\n".join([*(tabbed(table) for table in tables), f"# {selection.summary}"])


def _steps(selection: Ensemble) -> Cells:
    header = ("step", "model", "probability", "log-lik", "accuracy", "gain", "low", "high")
    rows = [
        (
            len(step.models),
            ("" if step.added == step.models else "+ ") + " + ".join(step.added),
            step.quality.probability,
            step.quality.log_likelihood,
            step.quality.accuracy,
            *((step.gain, *step.interval) if len(step.models) > 1 else (None, None, None)),
        )
        for step in selection.steps
    ]
    return header, rows


def _candidates(selection: Ensemble) -> Cells:
    header = ("candidate", "probability", "accuracy", "sfda_cv", "T_com", "T_ens", "paper")
    rows = []
    for name in _by_quality(selection):
        single, paper = selection.singles[name], selection.paper[name]
        rows.append(
            (
                name,
                single.probability,
                single.accuracy,
                paper.sfda,
                paper.complementarity,
                paper.combined,
                "chosen" if name in selection.paper_choice else "",
            )
        )
    return header, rows


def _correlations(selection: Ensemble, n_columns: int) -> Cells:
    names = list(selection.singles)
    # The selected models come first, so that a narrow table always has them.
    others = [name for name in _by_quality(selection) if name not in selection.models]
    places = [names.index(name) for name in [*selection.models, *others][:n_columns]]
    rows = [
        (f"{number} {names[i]}", *(float(selection.error_correlation[i, j]) for j in places))
        for number, i in enumerate(places, start=1)
    ]
    return ("candidate", *(str(number) for number in range(1, len(places) + 1))), rows


def _by_quality(selection: Ensemble) -> list[str]:
    singles = selection.singles
    return sorted(singles, key=lambda name: (-getattr(singles[name], selection.criterion), name))


def _with_short_names(selection: Ensemble) -> tuple[Ensemble, str | None]:
    """A copy with short model names, and the folder that was removed from local names."""
    of, folder = short_names(selection.singles)

    def all_of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(of[name] for name in names)

    renamed = replace(
        selection,
        models=all_of(selection.models),
        steps=tuple(
            replace(step, models=all_of(step.models), added=all_of(step.added))
            for step in selection.steps
        ),
        refused=selection.refused
        and replace(selection.refused, models=all_of(selection.refused.models)),
        singles={of[name]: single for name, single in selection.singles.items()},
        paper={of[name]: paper for name, paper in selection.paper.items()},
    )
    return renamed, folder
