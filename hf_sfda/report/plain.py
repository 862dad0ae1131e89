"""The ranking as plain text for programs: no colours, no alignment, full names and numbers."""

from __future__ import annotations

from hf_sfda.report import measured
from hf_sfda.report.sentences import (
    advice,
    agreement,
    confidence,
    learning_curve,
    tie_labels,
    ties,
)
from hf_sfda.types import ModelRow, Ranking

_MEASURED = ("finetuned", "finetuned_low", "finetuned_high")


def render_plain(ranking: Ranking) -> str:
    """Render the ranking as tab-separated text.

    There is one header line and one line per candidate. The lines after them start with ``# `` and
    have the summary in words. Numbers have no units; unknown cells are empty.
    """
    metric = ranking.metric
    others = list(
        dict.fromkeys(name for row in ranking.ranked for name in row.scores if name != metric)
    )
    level = confidence(ranking)
    header = [
        "rank", "tie", "model", "status", metric, f"low_{level}", f"high_{level}", "p_best",
        "noise_floor", *others, "params", "download_bytes", "samples_per_second", "license",
        "reason", *(_MEASURED if ranking.finetuned else ()),
    ]  # fmt: skip
    places = iter(tie_labels(ranking.ranked))
    lines = [header]
    for row in ranking.rows:
        low, high = row.intervals.get(metric, (None, None))
        lines.append(
            [
                _text(row.rank),
                next(places) if row.status == "ok" else "",
                row.model_id,
                row.status,
                _text(row.scores.get(metric)),
                _text(low),
                _text(high),
                _text(row.p_best),
                _text(row.noise_floor),
                *(_text(row.scores.get(name)) for name in others),
                _text(row.params),
                _text(row.download_bytes),
                _text(row.samples_per_second),
                row.license or "",
                _reason(row),
                *(_measured(ranking, row) if ranking.finetuned else ()),
            ]
        )
    summary = [
        ties(ranking),
        agreement(ranking),
        learning_curve(ranking),
        *measured.summary(ranking),
        advice(ranking),
    ]
    return "\n".join(
        [
            *("\t".join(map(_one_line, line)) for line in lines),
            *(f"# {_one_line(sentence)}" for sentence in summary if sentence),
        ]
    )


def render_quiet(ranking: Ranking) -> str:
    """The ids of the ranked models, one per line, best first."""
    return "\n".join(row.model_id for row in ranking.ranked)


def _measured(ranking: Ranking, row: ModelRow) -> list[str]:
    measurement = ranking.measurement(row)
    if measurement is None:
        return [""] * len(_MEASURED)
    return [_text(value) for value in (measurement.value, *measurement.interval)]


def _reason(row: ModelRow) -> str:
    return row.reason or "; ".join(map(str, row.warnings))


def _text(value: float | int | None) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())
