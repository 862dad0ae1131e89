"""Render an ensemble as terminal tables and as tab-separated text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.cli._tables import Cells, tabbed, terminal_table
from hf_sfda.names import with_short_names
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_sfda.ensemble import Ensemble

_MAX_COLUMNS = 10
"""Number of columns of the correlation table in a terminal; the other formats have all columns."""

_TEXT_COLUMNS = ("model", "candidate", "paper")


def render_tables(ensemble: Ensemble) -> RenderableType:
    """Render steps, candidates, correlations and the summary for a terminal."""
    from rich.console import Group
    from rich.text import Text

    ensemble, folder = _with_short_names(ensemble)
    unit = ensemble.criterion.replace("_", "-")
    return Group(
        Text(f"Held-out quality; gain in {unit} over the best single model, measured on samples"),
        Text(f"not used for the selection, with {ensemble.confidence:.0%} intervals"),
        terminal_table(_steps(ensemble), text_columns=_TEXT_COLUMNS),
        Text(),
        Text("Single candidates, and the paper's T_ens = 0.5 sfda_cv + 0.5 T_com"),
        terminal_table(_candidates(ensemble), text_columns=_TEXT_COLUMNS),
        Text(),
        Text("Correlation of errors; models with a low correlation complement each other"),
        terminal_table(_correlations(ensemble, _MAX_COLUMNS), text_columns=_TEXT_COLUMNS),
        Text(),
        Text(ensemble.summary, style="bold"),
        *([Text(f"Local models are in {folder}.")] if folder else []),
    )


def render_plain(ensemble: Ensemble) -> str:
    """Render the same tables as tab-separated text, with full names and numbers."""
    tables = (
        _steps(ensemble),
        _candidates(ensemble),
        _correlations(ensemble, len(ensemble.singles)),
    )
    return "\n\n".join([*(tabbed(table) for table in tables), f"# {ensemble.summary}"])


def _steps(ensemble: Ensemble) -> Cells:
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
        for step in ensemble.steps
    ]
    return header, rows


def _candidates(ensemble: Ensemble) -> Cells:
    header = ("candidate", "probability", "accuracy", "sfda_cv", "T_com", "T_ens", "paper")
    rows = []
    for name in _by_quality(ensemble):
        single, paper = ensemble.singles[name], ensemble.paper[name]
        rows.append(
            (
                name,
                single.probability,
                single.accuracy,
                paper.sfda,
                paper.complementarity,
                paper.combined,
                "chosen" if name in ensemble.paper_choice else "",
            )
        )
    return header, rows


def _correlations(ensemble: Ensemble, n_columns: int) -> Cells:
    names = list(ensemble.singles)
    # The selected models come first, so that a narrow table always has them.
    others = [name for name in _by_quality(ensemble) if name not in ensemble.models]
    places = [names.index(name) for name in [*ensemble.models, *others][:n_columns]]
    rows = [
        (f"{number} {names[i]}", *(float(ensemble.error_correlation[i, j]) for j in places))
        for number, i in enumerate(places, start=1)
    ]
    return ("candidate", *(str(number) for number in range(1, len(places) + 1))), rows


def _by_quality(ensemble: Ensemble) -> list[str]:
    singles = ensemble.singles
    return sorted(singles, key=lambda name: (-getattr(singles[name], ensemble.criterion), name))


def _with_short_names(ensemble: Ensemble) -> tuple[Ensemble, str | None]:
    """A copy with short model names, and the folder that was removed from local names."""
    rows = tuple(ModelRow(name, None, "ok") for name in ensemble.singles)
    short, folder = with_short_names(Ranking({}, {}, rows))
    of = dict(zip(ensemble.singles, (row.model_id for row in short.rows), strict=True))

    def all_of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(of[name] for name in names)

    renamed = replace(
        ensemble,
        models=all_of(ensemble.models),
        steps=tuple(
            replace(step, models=all_of(step.models), added=all_of(step.added))
            for step in ensemble.steps
        ),
        refused=ensemble.refused
        and replace(ensemble.refused, models=all_of(ensemble.refused.models)),
        singles={of[name]: single for name, single in ensemble.singles.items()},
        paper={of[name]: paper for name, paper in ensemble.paper.items()},
    )
    return renamed, folder
