"""Warnings before a deployment: private results that become public, and missing tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Repo, hub_errors, is_private
from hf_sfda.space.deploy.options import Options

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "HF_TOKEN"
"""Secret with the token that reads a private or gated results dataset."""


def advice(
    api: HfApi, repo: Repo, results: Repo, options: Options, *, exists: bool, token: str | None
) -> Iterator[str]:
    """Yield the warnings about a deployment.

    Args:
        api: The Hub client.
        repo: The Space.
        results: The results dataset that the Space shows.
        options: The options of the deployment.
        exists: Whether the Space exists already.
        token: The token of this command; ``None`` for the current login.
    """
    from huggingface_hub import get_token

    with hub_errors(f"Cannot read {results}"):
        # `dataset_info` also works for gated datasets without access, so check the access first.
        retry_read(api.auth_check, results.id, repo_type=results.kind)
        about = retry_read(api.dataset_info, results.id)
    closed = "private" if about.private else "gated" if about.gated else None
    if closed and not is_private(api, repo, if_new=options.private):
        yield (
            f"{results} is {closed}, and {repo} is public: everybody would see the results "
            "there. Deploy a private Space (--private) if that is not meant."
        )
    if closed and TOKEN not in {*options.secrets, *_known_secrets(api, repo, exists=exists)}:
        yield (
            f"{results} is {closed}, and {repo} has no token to read it with. Put one that may "
            f"only read it into an environment variable, and pass --secret {TOKEN}=VARIABLE."
        )
    if options.secrets.get(TOKEN, "") == (token or get_token()):
        yield (
            f"The secret {TOKEN} is the token you deploy with, which may write. The Space only "
            "reads; a token that may read the results and nothing else is enough."
        )


def _known_secrets(api: HfApi, repo: Repo, *, exists: bool) -> set[str]:
    if not exists:
        return set()
    with hub_errors(f"Cannot read the settings of {repo}"):
        return set(retry_read(api.get_space_secrets, repo.id))
