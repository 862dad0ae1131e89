"""An ensemble as people and programs read it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.cli._tables import Cells, tabbed, terminal_table
from hf_sfda.names import with_short_names
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_sfda.ensemble import Ensemble

_SHOWN = 10
"""Columns of the correlation table that fit a terminal; the other formats have all of them."""

_WORDS = ("model", "candidate", "paper")


def render_tables(chosen: Ensemble) -> RenderableType:
    """Steps, candidates, correlations and the answer in words, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    chosen, folder = _with_short_names(chosen)
    unit = chosen.criterion.replace("_", "-")
    return Group(
        Text(f"Held out; gain in {unit} over the best single model, judged on samples"),
        Text(f"that chose neither of them, with limits at {chosen.confidence:.0%}"),
        terminal_table(_steps(chosen), words=_WORDS),
        Text(),
        Text("Candidates by themselves, and the paper's T_ens = 0.5 sfda_cv + 0.5 T_com"),
        terminal_table(_candidates(chosen), words=_WORDS),
        Text(),
        Text("Correlation of mistakes; the lower, the more two models make up for each other"),
        terminal_table(_correlations(chosen, _SHOWN), words=_WORDS),
        Text(),
        Text(chosen.summary, style="bold"),
        *([Text(f"Local models are in {folder}.")] if folder else []),
    )


def render_plain(chosen: Ensemble) -> str:
    """The same, tab-separated, with empty lines between and nothing shortened or rounded."""
    tables = (_steps(chosen), _candidates(chosen), _correlations(chosen, len(chosen.singles)))
    return "\n\n".join([*(tabbed(table) for table in tables), f"# {chosen.summary}"])


def _steps(chosen: Ensemble) -> Cells:
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
        for step in chosen.steps
    ]
    return header, rows


def _candidates(chosen: Ensemble) -> Cells:
    header = ("candidate", "probability", "accuracy", "sfda_cv", "T_com", "T_ens", "paper")
    rows = []
    for name in _by_quality(chosen):
        single, paper = chosen.singles[name], chosen.paper[name]
        rows.append(
            (
                name,
                single.probability,
                single.accuracy,
                paper.sfda,
                paper.complementarity,
                paper.combined,
                "chosen" if name in chosen.paper_choice else "",
            )
        )
    return header, rows


def _correlations(chosen: Ensemble, shown: int) -> Cells:
    names = list(chosen.singles)
    # The chosen ones must not fall off the end of a table that is cut.
    others = [name for name in _by_quality(chosen) if name not in chosen.models]
    places = [names.index(name) for name in [*chosen.models, *others][:shown]]
    rows = [
        (f"{number} {names[i]}", *(float(chosen.error_correlation[i, j]) for j in places))
        for number, i in enumerate(places, start=1)
    ]
    return ("candidate", *(str(number) for number in range(1, len(places) + 1))), rows


def _by_quality(chosen: Ensemble) -> list[str]:
    singles = chosen.singles
    return sorted(singles, key=lambda name: (-getattr(singles[name], chosen.criterion), name))


def _with_short_names(chosen: Ensemble) -> tuple[Ensemble, str | None]:
    """A copy for display, and the folder that was left off the names of local models."""
    rows = tuple(ModelRow(name, None, "ok") for name in chosen.singles)
    short, folder = with_short_names(Ranking({}, {}, rows))
    of = dict(zip(chosen.singles, (row.model_id for row in short.rows), strict=True))

    def all_of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(of[name] for name in names)

    renamed = replace(
        chosen,
        models=all_of(chosen.models),
        steps=tuple(
            replace(step, models=all_of(step.models), added=all_of(step.added))
            for step in chosen.steps
        ),
        refused=chosen.refused and replace(chosen.refused, models=all_of(chosen.refused.models)),
        singles={of[name]: single for name, single in chosen.singles.items()},
        paper={of[name]: paper for name, paper in chosen.paper.items()},
    )
    return renamed, folder
