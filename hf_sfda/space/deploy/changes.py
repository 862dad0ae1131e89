"""Find the files of a Space that a deployment changes, without downloading the others."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo, download_files, hub_errors, read_file
from hf_sfda.hub.changes import FileChange
from hf_sfda.space.deploy.card import is_marked, space_card
from hf_sfda.space.deploy.tree import PACKAGE, README, is_ours, space_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

_BY_THE_HUB = "initial commit"
"""Title of the commits that the Hub itself makes."""

# Files that a Space may contain before the first deployment. Others belong to somebody's app.
_HARMLESS = re.compile(r"\..*|[^/]*\.md|LICEN[CS]E[^/]*|CITATION[^/]*", re.IGNORECASE)


def file_changes(api: HfApi, repo: Repo, results: Repo, head: str | None) -> tuple[FileChange, ...]:
    """The changes of a deployment on top of a commit; a ``head`` of ``None`` is a new Space.

    Raises:
        PublishError: The Space contains another app, or a README that cannot be edited.
    """
    existing = _listing(api, repo, head) if head else {}
    readme = read_file(api, repo, README, head) if head and README in existing else None
    _check_no_other_app(repo, existing, readme)
    if readme is not None and not is_marked(readme) and _is_untouched(api, repo):
        card = space_card(repo, results, None)
    else:
        card = space_card(repo, results, readme)
    wanted = {**space_files(), README: card}
    changed = [path for path, new in wanted.items() if not _is_same(existing.get(path), new)]
    deleted = [path for path in existing if is_ours(path) and path not in wanted]
    paths = sorted((*changed, *deleted))
    before = _contents(api, repo, head, [path for path in paths if path in existing])
    return tuple(FileChange(path, before.get(path), wanted.get(path)) for path in paths)


def _listing(api: HfApi, repo: Repo, sha: str) -> dict[str, RepoFile]:
    from huggingface_hub import RepoFile

    with hub_errors(f"Cannot list {repo}"):
        entries = api.list_repo_tree(repo.id, recursive=True, revision=sha, repo_type=repo.kind)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _check_no_other_app(repo: Repo, existing: Mapping[str, RepoFile], readme: bytes | None) -> None:
    if is_marked(readme) or f"{PACKAGE}/space/deploy/tree.py" in existing:
        return
    foreign = [path for path in existing if not _HARMLESS.fullmatch(path)]
    if foreign:
        more = f" and {len(foreign) - 1} more files" if len(foreign) > 1 else ""
        raise PublishError(
            f"{repo} holds another app: {foreign[0]}{more}. It is left as it is; deploy to a "
            f"Space of its own, such as {repo.namespace}/leaderboard"
        )


def _is_untouched(api: HfApi, repo: Repo) -> bool:
    """Whether all commits of a Space were made by the Hub itself."""
    with hub_errors(f"Cannot read {repo}"):
        commits = api.list_repo_commits(repo.id, repo_type=repo.kind)
    return all(commit.title == _BY_THE_HUB for commit in commits)


def _is_same(file: RepoFile | None, content: bytes) -> bool:
    if file is None:
        return False
    if file.lfs is not None:
        return file.lfs.sha256 == hashlib.sha256(content).hexdigest()
    blob = b"blob %d\0" % len(content) + content  # git hashes a file with this header
    return file.blob_id == hashlib.sha1(blob).hexdigest()


def _contents(api: HfApi, repo: Repo, sha: str | None, paths: list[str]) -> dict[str, bytes]:
    """Download files at a commit, in parallel: path -> content."""
    if sha is None or not paths:
        return {}
    folder = download_files(api, repo, [glob.escape(path) for path in paths], sha)
    return {path: (folder / path).read_bytes() for path in paths}
