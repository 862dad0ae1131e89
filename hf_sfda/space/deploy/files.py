"""The files of a deployed Space, and those that a deployment changes.

A Space has the app, its requirements, a README and a copy of the hf_sfda package. The build of a
Space sees only ``requirements.txt``, so it could not install a wheel in the repository. A package
folder beside ``app.py`` needs no installation and no release. So the Space runs exactly the version
that deployed it. The README configures the app, and its owner may edit it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_url
from hf_sfda.hub.access import Repo, hub_errors, read_file, read_files
from hf_sfda.hub.changes import FileChange
from hf_sfda.leaderboard.package import PACKAGE, package_files, space_directory
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.edits import (
    add_key,
    extend_list,
    has_section,
    parse_card,
    put_section,
    set_key,
)
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

README = "README.md"
_APP = ("app.py", "requirements.txt")
_SECTION = "space"

# Required keys: without them the app does not start, or visitors cannot sign in.
_NEEDED = ("sdk", "sdk_version", "python_version", "app_file", "hf_oauth")
_LISTS = ("hf_oauth_scopes", "tags")  # lists that the owner may extend
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
    if readme is not None and not has_section(readme, _SECTION) and _is_untouched(api, repo):
        card = space_card(repo, results, None)
    else:
        card = space_card(repo, results, readme)
    wanted = {**space_files(), README: card}
    changed = [path for path, new in wanted.items() if not _is_same(existing.get(path), new)]
    deleted = [path for path in existing if is_ours(path) and path not in wanted]
    paths = sorted((*changed, *deleted))
    known = [path for path in paths if path in existing]
    before = read_files(api, repo, known, head) if head else {}
    return tuple(FileChange(path, before.get(path), wanted.get(path)) for path in paths)


def space_files() -> dict[str, bytes]:
    """All files of a Space but the README, which the owner may edit: path -> content."""
    return {name: (space_directory() / name).read_bytes() for name in _APP} | package_files()


def is_ours(path: str) -> bool:
    """Whether a deployment may replace or delete a file."""
    return path in _APP or path.startswith(f"{PACKAGE}/")


def space_card(repo: Repo, results: Repo, readme: bytes | None) -> bytes:
    """Add our metadata and our section to a Space's README; the owner's text does not change.

    Args:
        repo: The Space.
        results: The results dataset that the Space shows.
        readme: The current README; ``None`` if there is none, or if only the Hub wrote it.

    Raises:
        PublishError: The metadata is invalid, or has a YAML style that cannot be edited.
    """
    ours = parse_card((space_directory() / README).read_bytes(), README)
    card = ours if readme is None else parse_card(readme, f"{README} of {repo}")
    # Add optional keys only once: if they are missing later, the owner has removed them.
    if not has_section(readme, _SECTION):
        for key in ours.data:
            if key not in card.data:
                card = add_key(card, key, ours.data[key])
    for key in _NEEDED:
        card = set_key(card, key, ours.data[key])
    for key in _LISTS:
        card = extend_list(card, key, ours.data[key])
    card = set_key(card, "datasets", [results.id])
    section = render_card(
        "space_section", repo=repo.id, results=results.id, hub=hub_url(), version=__version__
    )
    return str(replace(card, body=put_section(card, _SECTION, section))).encode()


def _listing(api: HfApi, repo: Repo, sha: str) -> dict[str, RepoFile]:
    from huggingface_hub import RepoFile

    with hub_errors(f"Cannot list {repo}"):
        entries = api.list_repo_tree(repo.id, recursive=True, revision=sha, repo_type=repo.kind)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _check_no_other_app(repo: Repo, existing: Mapping[str, RepoFile], readme: bytes | None) -> None:
    # Our package shows an earlier deployment, even if its README has lost our section.
    if has_section(readme, _SECTION) or f"{PACKAGE}/space/app.py" in existing:
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
