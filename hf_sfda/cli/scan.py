"""``hf-sfda scan``: list the candidates of a ranking, without running them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._run_options import values_of, with_options_of
from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ConfigError
from hf_sfda.format import count, megabytes
from hf_sfda.types import Modality

if TYPE_CHECKING:
    from rich.table import Table

    from hf_sfda.types import Candidate, Scan


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("scan", epilog="**Example** `hf-sfda scan --modality image --max-params 100M`")(
        scan
    )


@with_shared_options
@with_options_of(CandidateOptions)
def scan(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Hub ids, folders or text files. Without them, candidates are queried from the "
            "Hub.",
        ),
    ] = None,
    modality: Annotated[
        Modality | None, typer.Option(help="Modality to query the Hub for.", show_default=False)
    ] = None,
    *,
    token: str | None,
    output: Output,
    **options: Any,
) -> None:
    """List candidates and, for each one left out, the reason."""
    from hf_sfda.scan import describe_rejected, scan_candidates

    chosen = CandidateOptions(**values_of(options))
    if not models and modality is None and not (chosen.pipeline_tag or chosen.collection):
        raise ConfigError(
            "Name models, or choose what to query the Hub for: --modality image|text|audio."
        )
    result = scan_candidates(tuple(models or ()), chosen, modality=modality, token=token)
    if rejected := describe_rejected(result):
        output.log(rejected)
    output.document(
        [_document(c, result) for c in result.candidates],
        human=lambda width: _table(result),
        agent=lambda: "\n".join("\t".join(_cells(c, result)) for c in result.candidates),
        quiet=lambda: "\n".join(c.model_id for c in result.candidates if c.skip is None),
    )
    if not any(candidate.skip is None for candidate in result.candidates):
        raise typer.Exit(NOTHING_RANKED)


def _document(candidate: Candidate, result: Scan) -> dict[str, Any]:
    others = result.represents.get(candidate.model_id)
    path = str(candidate.path) if candidate.path else None
    return asdict(candidate) | {"path": path} | ({"represents": others} if others else {})


def _cells(candidate: Candidate, result: Scan) -> tuple[str, ...]:
    from hf_sfda.scan import describe_represented

    c, others = candidate, describe_represented(result, candidate.model_id)
    return (
        c.model_id,
        count(c.params, precise=True) or "-",
        "-" if c.download_bytes is None else f"{megabytes(c.download_bytes)} MB",
        "-" if c.downloads is None else f"{c.downloads:,}",
        c.license or "-",
        f"{c.status}: {c.skip}" if c.skip else "to be ranked" + (f"; {others}" if others else ""),
    )


def _table(result: Scan) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "params", "size", "downloads", "licence", "status"):
        numeric = name in ("params", "size", "downloads")
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for candidate in result.candidates:
        cells = map(Text, _cells(candidate, result))
        table.add_row(*cells, style="dim" if candidate.skip else "")
    return table
