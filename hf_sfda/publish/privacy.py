"""Warn before a public results dataset reveals private repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Account, Repo, hub_errors
from hf_sfda.publish.names import is_local_model
from hf_sfda.publish.rows import Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def privacy_warnings(
    api: HfApi, me: Account, run: Run, results: Repo, *, private: bool
) -> tuple[str, ...]:
    """One warning for each private repository whose name and scores would become public.

    Args:
        api: The Hub client.
        me: The account behind the token. Only its repositories are checked: a private repository of
            somebody else cannot be in our run.
        run: The run to publish.
        results: The results dataset to publish to.
        private: Whether ``results`` will be private if it does not exist yet.
    """
    exists = is_private(api, results)
    if private if exists is None else exists:
        return ()
    hub_dataset = run.rows[0]["dataset_revision"] is not None
    named = [Repo(run.rows[0]["dataset"], "dataset")] if hub_dataset else []
    named += [Repo(row.model_id) for row in run.ranking.rows if not is_local_model(row)]
    return tuple(
        f"{repo} is private, and {results} is public: its name and its results would be seen by "
        "everybody. Publish to a private dataset (--private) if that is not meant."
        for repo in dict.fromkeys(named)
        if me.owns(repo) and is_private(api, repo)
    )


def is_private(api: HfApi, repo: Repo) -> bool | None:
    """Whether a repository is private; ``None`` if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(f"Cannot read {repo}"):
        try:
            return bool(retry_read(api.repo_info, repo.id, repo_type=repo.kind).private)
        except RepositoryNotFoundError:
            return None
