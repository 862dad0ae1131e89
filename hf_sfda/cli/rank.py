"""``hf-sfda rank``: rank checkpoints for a dataset."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._jobs import JobOptions, run_on_jobs
from hf_sfda.cli._options import Consent, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._run_options import values_of, with_options_of
from hf_sfda.cli._tables import show_ranking
from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError
from hf_sfda.format import show_bytes
from hf_sfda.processes import is_main_process
from hf_sfda.ranking.measurements import with_measurements

if TYPE_CHECKING:
    from hf_sfda.ranking.plan import RunPlan
    from hf_sfda.types import Ranking

_EXAMPLES = """
**Examples**

- `hf-sfda rank --dataset me/plants` — query the Hub for candidates

- `hf-sfda rank --dataset me/plants --models acme/vit acme/resnet ./my-checkpoint`

- `hf-sfda rank --dataset ./photos --models models.txt --samples 1000 --json`

- `accelerate launch -m hf_sfda rank --dataset me/plants` — on all GPUs
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("rank", epilog=_EXAMPLES)(rank)


@with_shared_options
@with_options_of(RankConfig)
def rank(
    context: typer.Context,
    more_models: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Start from the config.yaml of an earlier run.", show_default=False
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be run and downloaded, and stop.")
    ] = False,
    on_jobs: Annotated[
        str | None,
        typer.Option(
            "--on-jobs",
            metavar="FLAVOR",
            help="Run as a Job on the Hub with this hardware, such as t4-small. Plan first; `hf "
            "jobs hardware` lists the hardware and its price.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="With --on-jobs: wait for the Job and bring its run here."),
    ] = False,
    job_timeout: Annotated[
        str, typer.Option(help="With --on-jobs: longest time of the Job.")
    ] = "6h",
    runs_repo: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="With --on-jobs: dataset for the results. [default: hf-sfda-runs of yours, "
            "private]",
            show_default=False,
        ),
    ] = None,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
    **options: Any,
) -> None:
    """Rank checkpoints for a dataset, without fine-tuning, with error bars."""
    values = values_of(options)
    values["models"] = _models(values["models"], more_models)
    settings = _settings(context, config, values)
    if plan:
        _show_plan(settings, token, output)
        return
    if on_jobs is not None:
        job = JobOptions(on_jobs, job_timeout, runs_repo, follow, consent)
        run_on_jobs(settings, job, token, output)
        return
    ranking = _run(settings, token, output, yes=consent.yes)
    if is_main_process():
        from hf_sfda.pipeline import save_run

        directory = settings.run_directory
        ranking = with_measurements(ranking, directory)
        output.log("")
        show_ranking(ranking, output)
        if save_run(ranking, directory):
            output.log(f"Report  {directory / 'report.html'}")
        else:
            output.log(f"No model was ranked, so the earlier ranking in {directory} was kept.")
    if not ranking.ranked:
        raise typer.Exit(NOTHING_RANKED)


def _show_plan(settings: RankConfig, token: str | None, output: Output) -> None:
    _say_what_is_read(settings, output)
    from rich.text import Text

    from hf_sfda.cli._progress import open_session
    from hf_sfda.foreign import clean_lines
    from hf_sfda.pipeline import plan

    with open_session(token, output) as session:
        planned = plan(settings, session, log=output.log)
    text = clean_lines("\n".join(planned.lines))
    output.document(
        planned.to_dict(),
        human=lambda width: Text(text),
        agent=lambda: text,
        quiet=lambda: "\n".join(model.model_id for model in planned.models),
    )
    if not planned.models:
        raise typer.Exit(NOTHING_RANKED)


def _confirm(plan: RunPlan, settings: RankConfig, output: Output) -> None:
    """Ask whether a large download is wanted.

    Raises:
        ConfigError: Nobody can be asked.
    """
    if plan.download_bytes <= settings.ask_above * 1e9:
        return
    size = f"{show_bytes(plan.download_bytes)} of weights would be downloaded"
    limit = f"more than the {settings.ask_above:g} GB of --ask-above"
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several or not (output.human and sys.stdin.isatty()):
        raise ConfigError(
            f"{size}, {limit}. Add --yes to go on, or take fewer or smaller models: --top, "
            "--max-params. --plan shows them."
        )
    typer.confirm(f"{size}, {limit}. Go on?", abort=True, err=True)


def _say_what_is_read(settings: RankConfig, output: Output) -> None:
    """The first line of a run, before anything is imported that takes seconds."""
    if is_main_process():
        output.log(f"Reading  {settings.dataset}")


def _run(settings: RankConfig, token: str | None, output: Output, *, yes: bool) -> Ranking:
    _say_what_is_read(settings, output)
    from hf_sfda.cli._progress import open_session
    from hf_sfda.pipeline import run

    with open_session(token, output) as session:
        return run(
            settings,
            session,
            log=output.log,
            directory=settings.run_directory,
            approve=lambda plan: None if yes else _confirm(plan, settings, output),
        )


def _settings(context: typer.Context, config: Path | None, values: dict[str, Any]) -> RankConfig:
    """The run's configuration: the file of --config, if any, overridden by the other options."""
    if config is None:
        return RankConfig(**values)
    typed = {
        name: value
        for name, value in values.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    return RankConfig.from_yaml(config, **typed)


def _models(first: tuple[str, ...], more: list[str] | None) -> tuple[str, ...]:
    """Join the models of ``--models a --models b`` and of ``--models a b``."""
    if more and not first:
        raise ConfigError(
            f"Unexpected argument {more[0]!r}. Datasets follow --dataset, candidates --models."
        )
    return (*first, *(more or ()))
