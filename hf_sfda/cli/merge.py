"""``hf-sfda merge``: one ranking out of several runs on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._tables import show_ranking

_EXAMPLES = """
**Examples**

- `hf-sfda merge runs/me--plants--shard-*` — the shards of a run

- `hf-sfda merge runs/transformers runs/timm --out runs/both` — runs with other candidates
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("merge", epilog=_EXAMPLES)(merge)


@with_shared_options
def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories on the same samples and options."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Run directory of the result. [default: runs/DATASET]",
            show_default=False,
        ),
    ] = None,
    *,
    token: str | None,
    output: Output,
) -> None:
    """Rank the models of several runs together, from their stored features."""
    from hf_sfda.cli._progress import open_session
    from hf_sfda.journal import Journal, prepare_directory
    from hf_sfda.merge import merge_runs
    from hf_sfda.ranking.measurements import with_measurements
    from hf_sfda.report import save_ranking

    with open_session(token, output) as session:
        ranking, config = merge_runs(runs, session)
    directory = config.replace(out=out).run_directory
    prepare_directory(directory, config.dataset)
    ranking = with_measurements(ranking, directory)
    output.log("")
    show_ranking(ranking, output)
    save_ranking(ranking, directory)
    order = [row.model_id for row in ranking.ranked]
    Journal(directory).write("merged", runs=[str(run) for run in runs], order=order)
    output.log(f"Report  {directory / 'report.html'}")
