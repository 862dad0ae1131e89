"""Warn before a public results dataset reveals private repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Account, Repo, hub_errors
from hf_sfda.publish.names import is_local_model
from hf_sfda.publish.rows import Run
from hf_sfda.types import Ranking

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
    return tuple(
        f"{repo} is private, and {results} is public: its name and its results would be seen by "
        "everybody. Publish to a private dataset (--private) if that is not meant."
        for repo in private_sources(api, me, run.ranking, results, private=private)
    )


def private_sources(
    api: HfApi, me: Account, ranking: Ranking, to: Repo, *, private: bool
) -> list[Repo]:
    """The private repositories of a run that a publication would reveal; none if it is private.

    Args:
        api: The Hub client.
        me: The account behind the token.
        ranking: The run: its dataset and its models.
        to: Where it is published.
        private: Whether ``to`` will be private if it does not exist yet.
    """
    exists = is_private(api, to)
    if private if exists is None else exists:
        return []
    named = []
    if ranking.dataset.get("revision") is not None:
        named.append(Repo(str(ranking.dataset["id"]), "dataset"))
    named += [Repo(row.model_id) for row in ranking.rows if not is_local_model(row)]
    return [repo for repo in dict.fromkeys(named) if me.owns(repo) and is_private(api, repo)]


def is_private(api: HfApi, repo: Repo) -> bool | None:
    """Whether a repository is private; ``None`` if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(f"Cannot read {repo}"):
        try:
            return bool(retry_read(api.repo_info, repo.id, repo_type=repo.kind).private)
        except RepositoryNotFoundError:
            return None
