"""``hf-sfda rank --on-jobs``: start, follow and bring back a run on the Hub's machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._options import Consent
from hf_sfda.cli._output import Output
from hf_sfda.cli._plans import show_or_execute
from hf_sfda.cli._tables import show_ranking
from hf_sfda.errors import PublishError
from hf_sfda.journal import refuse_other_dataset

if TYPE_CHECKING:
    from hf_sfda.config import RankConfig


@dataclass(frozen=True)
class JobOptions:
    """The options of a Job, as the command line has them."""

    flavor: str
    timeout: str
    runs: str | None
    follow: bool
    consent: Consent


def run_on_jobs(
    settings: RankConfig, options: JobOptions, token: str | None, output: Output
) -> None:
    """Show the plan, or start the Job; bring a finished run here and show it.

    Raises:
        ConfigError: The dataset or a model is not on the Hub.
        PublishError: The Hub refuses or fails, or the Job failed.
    """
    from hf_sfda.rank_job import fetch, follow, plan_rank_job
    from hf_sfda.ranking.runs import read_ranking

    directory = settings.run_directory
    refuse_other_dataset(directory, settings.dataset)
    plan, run = plan_rank_job(
        settings, flavor=options.flavor, runs=options.runs, timeout=options.timeout, token=token
    )
    finished = not plan.steps and fetch(run, directory, token=token)
    if not finished:
        if plan.steps or not options.follow:
            show_or_execute(output, plan, options.consent, token)
        if not options.follow or (plan.steps and not options.consent.yes):
            return
        follow(run, log=output.log, token=token)
        if not fetch(run, directory, token=token):
            raise PublishError(f"The Job has ended, and {run.folder} is not in {run.runs}.")
    ranking = read_ranking(directory)
    output.log("")
    show_ranking(ranking, output)
    output.log(f"Report  {directory / 'report.html'}")
    if not ranking.ranked:
        raise typer.Exit(NOTHING_RANKED)
