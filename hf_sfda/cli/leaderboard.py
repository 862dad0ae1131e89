"""``hf-sfda leaderboard``: a results dataset that is updated automatically."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_sfda.cli._options import Consent, hub_id, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._plans import show_or_execute
from hf_sfda.config import DEFAULTS
from hf_sfda.foreign import clean
from hf_sfda.format import score

if TYPE_CHECKING:
    from rich.text import Text

_INIT = """
**Examples**

- `hf-sfda leaderboard init me/board --dataset me/plants` — show the plan, write nothing

- `hf-sfda leaderboard init me/board --dataset me/plants --models acme/vit acme/resnet --yes`

- `hf-sfda leaderboard init me/board --config leaderboard.yaml --yes`

- `hf-sfda leaderboard init me/board` — bring the copy of hf-sfda in it up to date
"""
_SCHEDULE = """
**Examples**

- `hf-sfda leaderboard schedule me/board --every @daily --yes` — a Job on the Hub

- `hf-sfda leaderboard schedule me/board --flavor t4-small --timeout 2h`

- `hf-sfda leaderboard schedule me/board --github-actions .github/workflows/leaderboard.yaml --yes`
"""
_WEBHOOK = """
**Examples**

- `hf-sfda leaderboard webhook me/board --yes` — a changed dataset starts an update as a Job

- `hf-sfda leaderboard webhook me/board --watch org:acme --yes`

- `WEBHOOK_SECRET=... hf-sfda leaderboard webhook me/board --url https://example.org/hook --yes`
"""

RepoArgument = Annotated[
    str, typer.Argument(metavar="REPO", help="Your results dataset, OWNER/NAME.")
]
FlavorOption = Annotated[
    str | None, typer.Option(help="Hardware of the Job. [default: cpu-upgrade]", show_default=False)
]
TimeoutOption = Annotated[
    str | None, typer.Option(help="Time limit of the Job. [default: 6h]", show_default=False)
]
RequirementOption = Annotated[
    str | None,
    typer.Option(
        help="Requirement to install from an index. [default: the copy of hf-sfda in REPO]",
        show_default=False,
    ),
]
RenewOption = Annotated[
    bool, typer.Option("--renew", help="Create it again with the current token as its secret.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="A results dataset that is updated automatically.", no_args_is_help=True
    )
    group.command("init", epilog=_INIT)(init)
    group.command("update")(update)
    group.command("schedule", epilog=_SCHEDULE)(schedule)
    group.command("webhook", epilog=_WEBHOOK)(webhook)
    group.command("status")(status)
    app.add_typer(group, name="leaderboard")


@with_shared_options
def init(
    repo: RepoArgument,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", help="Dataset to rank on; repeatable.", show_default=False),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Hub ids; several may follow. Without it, candidates are queried from the Hub.",
            show_default=False,
        ),
    ] = None,
    more_models: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Use this leaderboard.yaml unchanged.", show_default=False),
    ] = None,
    metric: Annotated[str, typer.Option(help="Metric to sort by.")] = DEFAULTS.metric,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Samples of each dataset.")] = (
        DEFAULTS.samples
    ),
    top: Annotated[
        int, typer.Option(help="Number of candidates to query from the Hub.")
    ] = DEFAULTS.top,
    private: Annotated[
        bool, typer.Option("--private", help="Create new repositories as private.")
    ] = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Set up a leaderboard: leaderboard.yaml, a card and a copy of hf-sfda. Shows the plan first.

    Without --dataset and --config, existing settings are kept.
    """
    from hf_sfda.leaderboard.init import plan_init, settings_text

    text: str | None
    if config is not None:
        text = _read(config)
    elif not (dataset or models or more_models):
        text = None  # keep the existing settings
    else:
        all_models = [*(models or ()), *(more_models or ())]
        text = settings_text(
            list(dataset or ()), models=all_models, metric=metric, samples=samples, top=top
        )
    plan = plan_init(_id(repo), text, private=private, token=token)
    show_or_execute(output, plan, consent, token)


@with_shared_options
def update(
    repo: RepoArgument,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Measure new or changed models, rank all models again, publish. Shows the plan first."""
    from hf_sfda.cli._progress import open_session
    from hf_sfda.leaderboard.update import plan_update

    with open_session(token, output) as session:
        plan = plan_update(_id(repo), session)
        show_or_execute(output, plan, consent, token)


@with_shared_options
def schedule(
    repo: RepoArgument,
    every: Annotated[
        str, typer.Option(help="@hourly, @daily, @weekly, @monthly, or cron in UTC.")
    ] = "@daily",
    github_actions: Annotated[
        Path | None,
        typer.Option(
            "--github-actions",
            metavar="PATH",
            help="Write a workflow file instead of creating a Job.",
            show_default=False,
        ),
    ] = None,
    flavor: FlavorOption = None,
    timeout: TimeoutOption = None,
    requirement: RequirementOption = None,
    renew: RenewOption = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Update on a schedule, by a Job on the Hub or GitHub Actions. Shows the plan first."""
    if github_actions is not None:
        from hf_sfda.leaderboard.schedule import plan_workflow
        from hf_sfda.typed import expanded

        path = expanded(github_actions)
        plan = plan_workflow(_id(repo), path, every=every, requirement=requirement, token=token)
    else:
        from hf_sfda.leaderboard.schedule import plan_schedule

        plan = plan_schedule(
            _id(repo),
            every=every,
            renew=renew,
            token=token,
            flavor=flavor,
            timeout=timeout,
            requirement=requirement,
        )
    show_or_execute(output, plan, consent, token)


@with_shared_options
def webhook(
    repo: RepoArgument,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            "--watch",
            metavar="KIND:NAME",
            help="Also watch org:NAME, user:NAME, model:ID or dataset:ID; repeatable.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Call this address instead of starting a Job; WEBHOOK_SECRET holds the secret.",
            show_default=False,
        ),
    ] = None,
    flavor: FlavorOption = None,
    timeout: TimeoutOption = None,
    requirement: RequirementOption = None,
    renew: RenewOption = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Update when the data or a model changes, by a Hub webhook. Shows the plan first."""
    from hf_sfda.leaderboard.webhook import plan_webhook

    plan = plan_webhook(
        _id(repo),
        watch=tuple(watch or ()),
        url=url,
        renew=renew,
        token=token,
        flavor=flavor,
        timeout=timeout,
        requirement=requirement,
    )
    show_or_execute(output, plan, consent, token)


@with_shared_options
def status(
    repo: RepoArgument,
    *,
    token: str | None,
    output: Output,
) -> None:
    """Show the ranked models, the last update, and what the next update would measure."""
    from hf_sfda.leaderboard.update import leaderboard_status

    facts = leaderboard_status(_id(repo), token)
    for warning in facts["warnings"]:
        output.warn(warning)
    output.document(
        facts,
        human=lambda width: _status_text(facts),
        agent=lambda: "".join(_lines(dataset) for dataset in facts["datasets"]),
        quiet=lambda: "\n".join(m["model"] for d in facts["datasets"] for m in d["pool"]),
    )


def _id(text: str) -> str:
    return hub_id("REPO", text, "dataset", "me/board")


def _read(path: Path) -> str:
    from hf_sfda.errors import ConfigError
    from hf_sfda.typed import expanded

    try:
        return expanded(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}.") from error


def _status_text(facts: dict[str, Any]) -> Text:
    from rich.text import Text

    lines = (clean(line) for dataset in facts["datasets"] for line in _paragraph(dataset))
    return Text("\n".join(lines))


def _paragraph(status: dict[str, Any]) -> list[str]:
    """The status of one dataset as lines for a person."""
    when = f"last update {status['last_update']}" if status["last_update"] else "never updated"
    revision = (status["revision"] or "")[:7]
    lines = [f"{status['dataset']} @ {revision}, by {status['metric']}, {when}"]
    for _, tied in groupby(status["pool"], key=lambda m: m["tie_group"]):
        models = list(tied)
        first, last = models[0]["rank"], models[-1]["rank"]
        place = f"{first}-{last}" if last > first else str(first)
        lines += [f"  {place:>5}  {score(m['value']):>6}  {m['model']}" for m in models]
    lines += [f"      -  {model}: {reason}" for model, reason in status["without_score"].items()]
    pending = [*status["changed"], *status["new"]]
    if pending:
        next_update = len(status["next_update_measures"])
        lines.append(f"  pending: {', '.join(pending)}")
        lines.append(f"  the next update measures {next_update} of {len(pending)}")
    else:
        lines.append("  nothing is pending")
    return lines


def _lines(status: dict[str, Any]) -> str:
    """The status of one dataset as tab-separated text."""
    name, reasons = status["dataset"], status["without_score"]
    lines = [f"{name}\tranked\t{m['rank']}\t{m['model']}\t{m['value']}\n" for m in status["pool"]]
    lines += [f"{name}\twithout score\t\t{m}\t{reason}\n" for m, reason in reasons.items()]
    lines += [f"{name}\tpending\t\t{model}\t\n" for model in (*status["changed"], *status["new"])]
    return "".join(lines)
