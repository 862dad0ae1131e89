"""What deploying will change, found and checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub import hub_api, read
from hf_sfda.publish import Plan
from hf_sfda.publish.access import Account, Repo, find_head, hub_errors, require_write, who_am_i
from hf_sfda.publish.plan import Step
from hf_sfda.publish.privacy import is_private
from hf_sfda.publish.results_dataset import holds_results
from hf_sfda.space.deploy.changes import file_changes
from hf_sfda.space.deploy.options import FREE_HARDWARE, Options
from hf_sfda.space.deploy.steps import ChangeHardware, ChangeSettings, MakeSpace, UploadFiles

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "HF_TOKEN"
"""Secret with which the Space reads results that are private."""


def plan_deploy(
    repo_id: str, results_id: str, options: Options, *, token: str | None = None
) -> Plan:
    """Find out what deploying the Space will change; writes nothing.

    Args:
        repo_id: The Space; made if it does not exist.
        results_id: The results dataset that it shows, anybody's.
        options: Variables, secrets, hardware.
        token: Hub token with write access. It does not become a secret of the Space.

    Raises:
        ConfigError: An option does not fit the Space.
        PublishError: Anything that can be known beforehand to fail; nothing was written.
    """
    api = hub_api(token)
    me = who_am_i(api)
    repo, results = Repo(repo_id, "space"), Repo(results_id, "dataset")
    head = _check_space(api, me, repo)
    _check_results(api, results)
    files = file_changes(api, repo, results, head)
    if head is None:
        _check_sleep(options, FREE_HARDWARE)
        known: set[str] = set()
        steps: list[Step] = [MakeSpace(repo, options)]
        steps.append(UploadFiles(repo, files, None, options.private))
    else:
        with hub_errors(f"Cannot read the settings of {repo}"):
            known = set(read(api.get_space_secrets, repo.id))
            settings = _settings_step(api, repo, options)
            hardware = _hardware_step(api, repo, options)
        upload = UploadFiles(repo, files, head) if files else None
        steps = [step for step in (settings, upload, hardware) if step is not None]
    settled = () if steps else (f"{repo} is deployed like this already",)
    warnings = tuple(_warnings(api, repo, results, options, known, token)) if steps else ()
    title = f"Deploy Space {repo_id}"
    return Plan(None, me.name, tuple(steps), settled, warnings, title)


def _check_space(api: HfApi, me: Account, repo: Repo) -> str | None:
    """The Space's head, if it exists, once it is clear that it may be written."""
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
    now = {name: one.value for name, one in read(api.get_space_variables, repo.id).items()}
    new = {name: value for name, value in options.variables.items() if now.get(name) != value}
    if not new and not options.secrets:
        return None
    before = {name: now[name] for name in new if name in now}
    return ChangeSettings(repo, new, before, options.secrets)


def _hardware_step(api: HfApi, repo: Repo, options: Options) -> ChangeHardware | None:
    runtime = read(api.get_space_runtime, repo.id)
    # What was asked for counts: until the Space has started on it, it still has the old one.
    now = runtime.requested_hardware or runtime.hardware
    _check_sleep(options, str(now or FREE_HARDWARE))
    hardware = options.hardware if options.hardware != now else None
    sleep = options.sleep if options.sleep != runtime.sleep_time else None
    if hardware is None and sleep is None:
        return None
    # New hardware starts with the Hub's own idea of sleep, so it is told again.
    again = options.sleep if hardware is not None else sleep
    return ChangeHardware(repo, hardware, again, (now, runtime.sleep_time))


def _check_sleep(options: Options, now: str) -> None:
    if options.sleep is not None and (options.hardware or now) == FREE_HARDWARE:
        raise ConfigError(
            f"{FREE_HARDWARE} sleeps after 48 hours, which nobody can change. Leave out --sleep, "
            "or choose other hardware."
        )


def _warnings(
    api: HfApi, repo: Repo, results: Repo, options: Options, known: set[str], token: str | None
) -> Iterator[str]:
    """What to know before saying yes; ``known`` are the secrets that the Space has already."""
    from huggingface_hub import get_token

    if is_private(api, results):
        public = is_private(api, repo)
        if not (options.private if public is None else public):
            yield (
                f"{results} is private, and {repo} is public: everybody would see the results "
                "there. Deploy a private Space (--private) if that is not meant."
            )
        if TOKEN not in {*options.secrets, *known}:
            yield (
                f"{results} is private, and {repo} has no token to read it with. Put one that may "
                f"only read it into {TOKEN}, and pass --secret {TOKEN}."
            )
    if options.secrets.get(TOKEN) == (token or get_token()):
        yield (
            f"The secret {TOKEN} is the token you deploy with, which may write. The Space only "
            "reads; a token that may read the results and nothing else is enough."
        )
