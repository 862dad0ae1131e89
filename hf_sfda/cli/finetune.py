"""``hf-sfda finetune``: fine-tune the first models of a run and show what they reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._options import Consent, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._run_options import values_of, with_options_of
from hf_sfda.config import FinetuneConfig, ShortlistConfig, parse_duration
from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.foreign import clean_lines
from hf_sfda.processes import is_main_process

if TYPE_CHECKING:
    from rich.text import Text

    from hf_sfda.finetune.plan import FinetunePlan
    from hf_sfda.finetune.shortlist import Outcome
    from hf_sfda.hub.plan import Plan
    from hf_sfda.types import Finetuned, Ranking

_EXAMPLES = """
**Examples**

- `hf-sfda finetune runs/me--plants` — show the plan, train nothing

- `hf-sfda finetune runs/me--plants --time-budget 30m --yes`

- `hf-sfda finetune runs/me--plants --models acme/vit,acme/resnet --samples 5000 --yes`

- `hf-sfda finetune runs/me--plants --halving --yes` — all models, most of them briefly

- `hf-sfda finetune runs/me--plants --push-to me/plants-classifier --yes` — publish the best one

- `accelerate launch -m hf_sfda finetune runs/me--plants --yes` — on all GPUs
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("finetune", epilog=_EXAMPLES)(finetune)


@with_shared_options
@with_options_of(
    ShortlistConfig,
    top={
        "default": None,
        "min": 1,
        "show_default": f"the models that Next proposes, or {ShortlistConfig.top}",
    },
    models={"metavar": "NAME,..."},
)
@with_options_of(
    FinetuneConfig,
    only=("learning_rates", "epochs", "batch_size", "flip", "seed"),
    epochs={
        "default": None,
        "min": 1,
        "show_default": f"{FinetuneConfig.epochs}, more if the part is small",
    },
    batch_size={"min": 1},
    seed={"min": 0},
)
def finetune(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory that `hf-sfda rank` wrote.")
    ],
    push_to: Annotated[
        str | None,
        typer.Option(
            "--push-to",
            metavar="OWNER/NAME",
            help="Publish the best model with a card; implies --save. The repository is created if "
            "it does not exist.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Create the repository of --push-to as private.")
    ] = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
    **options: Any,
) -> None:
    """Fine-tune the first models of a run and measure them on unseen samples. Plan first."""
    if push_to is None and (consent.expect is not None or private):
        given = "--expect" if consent.expect is not None else "--private"
        raise ConfigError(f"{given} is about a publication; give --push-to OWNER/NAME, too.")
    shortlist = _shortlist(run, options, save=options["save"] or push_to is not None)
    recipe = values_of(options, FinetuneConfig)
    # Whoever asks for epochs gets so many, also of a small training part.
    recipe |= {"min_steps": 0} if recipe["epochs"] else {"epochs": FinetuneConfig.epochs}
    from hf_sfda.cli._progress import open_session
    from hf_sfda.extract import make_accelerator
    from hf_sfda.finetune.plan import plan_finetuning
    from hf_sfda.finetune.shortlist import finetune_shortlist

    accelerator = make_accelerator()
    with open_session(token, output) as session:
        plan = plan_finetuning(run, shortlist, recipe, session=session, accelerator=accelerator)
    push = _Push(output, run, push_to, private, token) if push_to else None
    if not consent.yes:
        if is_main_process():
            _show_plan(output, plan, push)
        return
    if push and consent.expect is not None:
        push.require(plan, consent.expect)
    if is_main_process():
        output.log(_render(plan, push))
    with open_session(token, output) as session:
        outcome = finetune_shortlist(
            plan,
            session=session,
            accelerator=accelerator,
            on_measured=lambda finetuned: _save(plan, finetuned),
        )
    if is_main_process():
        _save(plan, outcome.finetuned)  # also if nothing was missing
        pushed = None
        try:
            pushed = push.execute() if push and outcome.kept else None
        finally:
            _show(output, plan, outcome, pushed)
    if not outcome.finetuned.measurements or (shortlist.save and not outcome.kept):
        raise typer.Exit(NOTHING_RANKED)


class _Push:
    """``--push-to``: where the best model goes. It is checked before anything is trained."""

    def __init__(
        self, output: Output, run: Path, to: str, private: bool, token: str | None
    ) -> None:
        from hf_sfda.publish.finetuned_model import find_destination

        self._output, self._run, self._token = output, run, token
        self.destination = find_destination(to, private=private, token=token)

    def plan(self) -> Plan:
        """What would be written on the Hub if the network that is kept now is published."""
        from hf_sfda.publish.finetuned_model import plan_model

        return plan_model(self._run, self.destination, token=self._token)

    def warnings(self, plan: FinetunePlan) -> tuple[str, ...]:
        """What the user should know before anything is trained."""
        from hf_sfda.publish.finetuned_model import warn_before_training

        rows = [model.row for model in plan.available]
        return warn_before_training(self.destination, plan.ranking, rows, self._token)

    def require(self, plan: FinetunePlan, expect: str) -> None:
        """Check that the push is the one that the user has seen.

        Raises:
            PublishError: It is another one, or models must be trained before it is known.
        """
        digest = self.plan().digest if _is_ready(plan) else None
        if digest != expect:
            now = "known only after training" if digest is None else digest
            raise PublishError(
                f"The plan is now {now}, not {expect}: something changed in between. Nothing was "
                "written; run without --yes to see it."
            )

    def execute(self) -> dict[str, Any]:
        """Show the plan and carry it out."""
        from hf_sfda.hub.plan import execute

        plan = self.plan()
        for warning in plan.warnings:
            self._output.warn(warning)
        self._output.log(clean_lines(plan.render()))
        results = execute(plan, self._token)
        for result in results:
            self._output.log(f"Done  {result.description}  {result.url}")
        return {**plan.to_dict(), "done": [result.to_dict() for result in results]}


def _shortlist(run: Path, options: dict[str, Any], *, save: bool) -> ShortlistConfig:
    values = values_of(options, ShortlistConfig)
    values["models"] = tuple(_names(values["models"]))
    if values["top"] is None:
        if not values["models"] and not values["halving"]:
            values["models"] = _proposed(run)
        values["top"] = ShortlistConfig.top
    values |= {"time_budget": parse_duration(values["time_budget"]), "save": save}
    return ShortlistConfig(**values)


def _proposed(run: Path) -> tuple[str, ...]:
    """The models that the line ``Next`` of the table proposes, if it names several."""
    from hf_sfda.ranking.runs import read_ranking
    from hf_sfda.report import sentences

    ranking = read_ranking(run)
    if not sentences.is_calibrated(ranking):
        return ()
    models, _ = sentences.shortlist(ranking)
    return tuple(row.model_id for row in models) if len(models) > 1 else ()


def _names(models: Iterable[str]) -> list[str]:
    return [name.strip() for text in models for name in text.split(",") if name.strip()]


def _save(plan: FinetunePlan, finetuned: Finetuned) -> None:
    """Write the files of the run again, with what was measured."""
    from hf_sfda.report import save_ranking

    save_ranking(_measured(plan, finetuned), plan.directory)


def _measured(plan: FinetunePlan, finetuned: Finetuned) -> Ranking:
    some = finetuned.measurements or finetuned.rounds
    return replace(plan.ranking, finetuned=finetuned if some else None)


def _show_plan(output: Output, plan: FinetunePlan, push: _Push | None) -> None:
    # With all measured and the best one kept, the card and the files are known.
    ready = push.plan() if push and _is_ready(plan) else None
    if push:
        for warning in ready.warnings if ready else push.warnings(plan):
            output.warn(warning)
    document = plan.to_dict()
    text = _render(plan, push)
    if push:
        document["push"] = ready.to_dict() if ready else {"where": push.destination.describe()}
    if ready:
        text += "\n\n" + clean_lines(ready.render())
    output.document(
        document,
        human=lambda width: _text(text),
        agent=lambda: text,
        quiet=lambda: "\n".join(model.row.model_id for model in plan.missing),
    )
    if plan.missing:
        output.log("Nothing was trained. Carry it out: add --yes")
    elif ready and ready.steps:
        output.log(f"Nothing was written. Carry it out: add --yes --expect {ready.digest}")
    else:
        output.log("Nothing is missing. To write the report again, add --yes")


def _show(
    output: Output, plan: FinetunePlan, outcome: Outcome, pushed: dict[str, Any] | None
) -> None:
    from hf_sfda.report import render_plain, render_table

    ranking = _measured(plan, outcome.finetuned)
    document: dict[str, Any] = {
        **plan.to_dict(),
        "finetuned": outcome.finetuned.to_dict(),
        "failed": dict(outcome.failed),
        "out_of_time": list(outcome.out_of_time),
    }
    if plan.shortlist.save:
        document |= {"kept": outcome.kept, "not_saved": dict(outcome.not_saved)}
    if pushed:
        document["push"] = pushed
    best = sorted(outcome.finetuned.measurements, key=lambda m: -m.value)
    output.document(
        document,
        human=lambda width: render_table(ranking, width=width),
        agent=lambda: render_plain(ranking),
        quiet=lambda: "\n".join(measurement.model_id for measurement in best),
    )
    for name, reason in outcome.failed.items():
        output.warn(f"{name} was not fine-tuned: {reason}.")
    if outcome.out_of_time:
        names = ", ".join(outcome.out_of_time)
        output.warn(f"The time budget is over before {names}. Run the same command to go on.")
    for name, reason in outcome.not_saved.items():
        output.warn(f"{name} was measured, but its network was not kept: {reason}.")
    if outcome.kept:
        output.log(f"Model   {plan.directory / 'model'} ({outcome.kept})")
    output.log(f"Report  {plan.directory / 'report.html'}")


def _render(plan: FinetunePlan, push: _Push | None = None) -> str:
    """The plan in words."""
    data, sizes = plan.finetuned.data, plan.sizes
    test = "its own test split" if plan.test else f"held out of the {plan.target.split} split"
    rates = ", ".join(f"{rate:g}" for rate in plan.recipe.learning_rates)
    epochs = plan.recipe.for_samples(sizes.train).epochs
    lines = [
        f"Target  {plan.target.dataset_id}: {data['n_train']:,} samples to train, "
        f"{data['n_validation']:,} to choose learning rate and epoch, {data['n_test']:,} to "
        f"measure ({test})",
        f"Recipe  at most {epochs} epoch{'s' * (epochs > 1)} of batches of "
        f"{plan.recipe.batch_size}, at the best learning rate of {rates}",
    ]
    for model in plan.models:
        if model.candidate.skip:
            what = f"cannot be fine-tuned: {model.candidate.skip}"
        elif model.measured:
            what = "measured already"
        else:
            what = _duration(model.seconds)
        lines.append(f"Model   {model.row.rank}. {model.row.model_id}: {what}")
    lines += _rounds(plan)
    lines.append(f"Time    {_duration(plan.seconds)}{_budget(plan)}" if plan.missing else "")
    lines.append(f"Writes  finetuned.json and the files of the ranking again, in {plan.directory}")
    if plan.shortlist.save:
        again = "" if plan.missing or _is_kept(plan) else "; it is trained again for that"
        lines.append(f"Keeps   the best model, in {plan.directory / 'model'}{again}")
    if push:
        lines.append(f"Pushes  the best model with a card to {push.destination.describe()}")
    return "\n".join(line for line in lines if line)


def _is_kept(plan: FinetunePlan) -> bool:
    from hf_sfda.finetune.kept import is_winner_kept

    return is_winner_kept(plan.directory, plan.ranking, plan.finetuned)


def _is_ready(plan: FinetunePlan) -> bool:
    """Whether all models are measured and the best one is kept: the push is known in full."""
    return not plan.missing and _is_kept(plan)


def _rounds(plan: FinetunePlan) -> list[str]:
    """The rounds of successive halving in words."""
    if not plan.rounds:
        return []
    rounds = [
        f"{r.models} models on {r.n_train:,} samples for at most {r.epochs} epoch"
        + "s" * (r.epochs > 1)
        for r in plan.rounds
    ]
    last = min(plan.shortlist.top, len(plan.available))
    return [
        f"Halving {'; '.join(rounds)}; then {last} by the whole recipe: "
        f"{1 / plan.share_of_training:.1f} times less training than the whole recipe for all"
    ]


def _budget(plan: FinetunePlan) -> str:
    budget = plan.shortlist.time_budget
    return "" if budget is None else f"; training ends after {_clock(budget)}"


def _duration(seconds: float | None) -> str:
    return "time unknown" if seconds is None else f"at most about {_clock(seconds)}"


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(text, overflow="fold")
