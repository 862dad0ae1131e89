"""The Hub webhook that starts an update when a dataset or a model of the leaderboard changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_url, retry_read
from hf_sfda.hub.access import hub_errors
from hf_sfda.hub.changes import StepResult
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.leaderboard.jobs import LABEL, UpdateJob, make_job
from hf_sfda.leaderboard.package import find_copy
from hf_sfda.leaderboard.settings import Settings
from hf_sfda.leaderboard.state import open_leaderboard
from hf_sfda.secrets import keep_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi, WebhookInfo

SECRET_VARIABLE = "WEBHOOK_SECRET"
"""Environment variable with the secret; ``WebhooksServer`` of huggingface_hub uses the same one."""

_KINDS = ("user", "org", "model", "dataset")
Watched = tuple[str, str]
"""(kind, name) of a repository or an account that a webhook watches."""


@dataclass(frozen=True)
class WebhookStep(Step):
    """Create or change the webhook, and delete the webhooks that it replaces.

    Attributes:
        job: The Job that the webhook starts; not used if ``url`` is set.
        watched: The repositories and accounts to watch.
        url: The user's own server, which the webhook calls instead of starting a Job.
        keep: Id of the existing webhook that has the same action, if there is one.
        remove: Ids of the webhooks to delete.
        before: What ``keep`` watches now.
        secret: The secret that the Hub sends to ``url``.
    """

    job: UpdateJob
    watched: tuple[Watched, ...]
    url: str | None = None
    keep: str | None = None
    remove: tuple[str, ...] = ()
    before: tuple[Watched, ...] = ()
    secret: str | None = field(default=None, repr=False)

    def where(self) -> str:
        """The webhook and its action, as one line of a plan."""
        action = f"calls {self.url}" if self.url else "starts an update as a Job"
        return f"webhook {self.keep}, which {action}" if self.keep else f"a webhook that {action}"

    def diff(self) -> str:
        """The removed webhooks, the new Job and what is watched, as lines with ``-`` and ``+``."""
        lines = [f"- webhook {hook_id}\n" for hook_id in self.remove]
        if self.keep is None and self.url is None:
            lines.append(self.job.describe())
            lines.append("+ (run once now: the Hub's webhooks repeat a Job that has run)\n")
        lines += [f"- watches {k} {n}\n" for k, n in self.before if (k, n) not in self.watched]
        lines += [f"+ watches {k} {n}\n" for k, n in self.watched if (k, n) not in self.before]
        return "".join(lines)

    def execute(self, api: HfApi) -> StepResult:
        """Create or change the webhook, then delete the webhooks that it replaces."""
        watched: list[Any] = [{"type": kind, "name": name} for kind, name in self.watched]
        with hub_errors("Cannot set up the webhook"):
            if self.keep is not None:
                hook = api.update_webhook(self.keep, watched=watched, domains=["repo"])
            elif self.url is not None:
                hook = api.create_webhook(
                    url=self.url, watched=watched, domains=["repo"], secret=self.secret
                )
            else:
                job = api.run_job(**self.job.options())
                # The Hub does not copy a Job's secrets to its webhook, so pass them again.
                hook = api.create_webhook(
                    job_id=job.id,
                    watched=watched,
                    domains=["repo"],
                    secrets={"HF_TOKEN": self.job.token},
                )
            for old in self.remove:
                api.delete_webhook(old)
        return StepResult(f"webhook {hook.id}", f"{hub_url()}/settings/webhooks")


def plan_webhook(
    repo_id: str,
    *,
    watch: Sequence[str] = (),
    url: str | None = None,
    renew: bool = False,
    requirement: str | None = None,
    token: str | None = None,
    **options: str | None,
) -> Plan:
    """Plan the webhook of a leaderboard; write nothing.

    The webhook watches the datasets and the named models of ``leaderboard.yaml``. If it also
    watches the leaderboard's owner, each commit of an update starts another update. This does not
    loop, because an update without changes makes no commit.

    Args:
        repo_id: The leaderboard.
        watch: More to watch: ``org:NAME``, ``user:NAME``, ``model:ID``, ``dataset:ID``.
        url: Call this address instead of starting a Job. The secret is the value of the environment
            variable ``WEBHOOK_SECRET``.
        renew: Replace the webhook even if it is unchanged, to give it the current token or secret.
        requirement: pip requirement that the Job installs; by default the copy in the leaderboard.
        token: Hub token with write access. The Job gets it as a secret.
        **options: ``flavor`` and ``timeout`` of the Job.

    Raises:
        PublishError: There is no leaderboard, the token may not write, or an option is not allowed.
    """
    api, me, state = open_leaderboard(repo_id, token)
    # With a URL the webhook starts no Job, so nothing is installed.
    install = requirement or (
        "hf-sfda" if url else find_copy(api, state.repo, state.paths, state.head)
    )
    job = make_job(install, state.repo, token, options)
    watched = watched_by(state.settings, watch)
    secret = _secret(url)
    with hub_errors("Cannot list the webhooks"):
        hooks = retry_read(api.list_webhooks)
    ours = sorted((hook for hook in hooks if _is_ours(hook, job, url)), key=lambda hook: hook.id)
    active = [hook for hook in ours if not hook.disabled]
    same = next((h for h in active if url or (h.job and job.is_like(h.job))), None)
    keep = None if renew else same
    before = tuple(sorted((item.type, item.name) for item in keep.watched)) if keep else ()
    step = WebhookStep(
        job=job,
        watched=watched,
        url=url,
        keep=keep.id if keep else None,
        remove=tuple(hook.id for hook in ours if keep is None or hook.id != keep.id),
        before=before,
        secret=secret,
    )
    title = f"Set up a webhook for leaderboard {repo_id}"
    if keep is not None and before == watched and not step.remove:
        up_to_date = f"webhook {keep.id} watches all of it already"
        return Plan(None, me.name, (), (up_to_date,), title=title)
    return Plan(None, me.name, (step,), title=title)


def watched_by(settings: Settings, more: Sequence[str] = ()) -> tuple[Watched, ...]:
    """The datasets and models of a leaderboard's settings, and what the user adds.

    Args:
        settings: The leaderboard's settings.
        more: Texts of the form ``kind:name``.

    Raises:
        PublishError: An item of ``more`` does not have this form.
    """
    watched = {("dataset", config.dataset.split(":")[0]) for config in settings.targets}
    watched |= {("model", model.split("@")[0]) for model in settings.models}
    for text in more:
        kind, _, name = text.partition(":")
        if kind not in _KINDS or not name:
            raise PublishError(
                f"Cannot watch {text!r}; write one of {', '.join(f'{k}:NAME' for k in _KINDS)}."
            )
        watched.add((kind, name))
    return tuple(sorted(watched))


def _secret(url: str | None) -> str | None:
    if url is None:
        return None
    secret = os.environ.get(SECRET_VARIABLE)
    if not url.startswith("https://"):
        raise PublishError(f"The address is {url!r}; the secret may only travel over https://.")
    if not secret:
        raise PublishError(
            f"Set {SECRET_VARIABLE} to a long random text. The Hub sends it in the header "
            "X-Webhook-Secret, and your server must compare it with this text."
        )
    keep_secret(secret)
    return secret


def _is_ours(hook: WebhookInfo, job: UpdateJob, url: str | None) -> bool:
    if url is not None:
        return hook.url == url
    spec = hook.job
    if spec is None:
        return False
    updates = (spec.command or [])[-len(job.arguments) :] == job.arguments
    return updates or (spec.labels or {}).get(LABEL) == job.label
