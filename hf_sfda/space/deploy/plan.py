"""Plan a deployment: find and check all changes before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub import hub_api, retry_read
from hf_sfda.hub.access import Account, Repo, find_head, hub_errors, require_write, who_am_i
from hf_sfda.hub.plan import Plan
from hf_sfda.publish.results_dataset import holds_results
from hf_sfda.space.deploy.advice import advice
from hf_sfda.space.deploy.changes import file_changes
from hf_sfda.space.deploy.options import FREE_HARDWARE, Options
from hf_sfda.space.deploy.steps import ChangeHardware, ChangeSettings, MakeSpace, upload

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def plan_deploy(
    repo_id: str, results_id: str, options: Options, *, token: str | None = None
) -> Plan:
    """Plan the deployment of a Space; write nothing.

    Args:
        repo_id: The Space; created if it does not exist.
        results_id: The results dataset that the Space shows; it may belong to somebody else.
        options: Variables, secrets and hardware.
        token: Hub token with write access. It does not become a secret of the Space.

    Raises:
        ConfigError: An option is not allowed for this Space.
        PublishError: The deployment would fail; nothing was written.
    """
    api = hub_api(token)
    me = who_am_i(api)
    repo, results = Repo(repo_id, "space"), Repo(results_id, "dataset")
    head = _check_space(api, me, repo)
    _check_results(api, results)
    warnings = advice(api, repo, results, options, exists=head is not None, token=token)
    plan = Plan(None, me.name, (), warnings=tuple(warnings), title=f"Deploy Space {repo_id}")
    files = file_changes(api, repo, results, head)
    if head is None:
        _check_sleep(options, FREE_HARDWARE)
        return replace(plan, steps=(MakeSpace(repo, options), upload(repo, files, None)))
    with hub_errors(f"Cannot read the settings of {repo}"):
        settings = _settings_step(api, repo, options)
        hardware = _hardware_step(api, repo, options)
    wanted = (settings, upload(repo, files, head) if files else None, hardware)
    steps = tuple(step for step in wanted if step is not None)
    if not steps:
        return replace(plan, up_to_date=(f"{repo} is deployed like this already",))
    return replace(plan, steps=steps)


def _check_space(api: HfApi, me: Account, repo: Repo) -> str | None:
    """Check that we may write to the Space; return its newest commit, ``None`` if it is new."""
    if not me.owns(repo):
        raise PublishError(
            f"{repo.id} belongs to {repo.namespace}, and you are {me.name}. Deploy to a Space of "
            f"your own, such as {me.name}/{repo.id.split('/')[-1]}"
        )
    head = find_head(api, repo)
    require_write(api, me, repo, exists=head is not None)
    return head


def _check_results(api: HfApi, results: Repo) -> None:
    head = find_head(api, results)
    if head is None:
        raise PublishError(
            f"{results} is not on the Hub, or this token may not see it. Fill it first with "
            f"`hf-sfda publish RUN --to {results.id}` or `hf-sfda leaderboard init {results.id}`."
        )
    if not holds_results(api, results, head):
        raise PublishError(
            f"{results} holds no results of hf-sfda. Pass the dataset that `hf-sfda publish` or "
            "`hf-sfda leaderboard` writes."
        )


def _settings_step(api: HfApi, repo: Repo, options: Options) -> ChangeSettings | None:
    variables = retry_read(api.get_space_variables, repo.id)
    current = {name: variable.value for name, variable in variables.items()}
    new = {name: value for name, value in options.variables.items() if current.get(name) != value}
    if not new and not options.secrets:
        return None
    before = {name: current[name] for name in new if name in current}
    return ChangeSettings(repo, new, before, options.secrets)


def _hardware_step(api: HfApi, repo: Repo, options: Options) -> ChangeHardware | None:
    runtime = retry_read(api.get_space_runtime, repo.id)
    # Until the Space has restarted, `hardware` is the old one and `requested_hardware` the new one.
    now = runtime.requested_hardware or runtime.hardware
    _check_sleep(options, str(now or FREE_HARDWARE))
    hardware = options.hardware if options.hardware != now else None
    sleep = options.sleep if options.sleep != runtime.sleep_time else None
    if hardware is None and sleep is None:
        return None
    # New hardware resets the sleep time to the Hub's default, so set it again.
    again = options.sleep if hardware is not None else sleep
    return ChangeHardware(repo, hardware, again, (now, runtime.sleep_time))


def _check_sleep(options: Options, now: str) -> None:
    if options.sleep is not None and (options.hardware or now) == FREE_HARDWARE:
        raise ConfigError(
            f"{FREE_HARDWARE} sleeps after 48 hours, which cannot be changed. Leave out --sleep, "
            "or choose other hardware."
        )
