"""The README of a Space, which configures the app and which the owner may edit."""

from __future__ import annotations

from dataclasses import replace

from hf_sfda.hub import hub_url
from hf_sfda.hub.access import Repo
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.edits import (
    add_key,
    extend_list,
    has_section,
    parse_card,
    put_section,
    set_key,
)
from hf_sfda.space.deploy.tree import README, space_directory
from hf_sfda.versions import __version__

_SECTION = "space"
# Required keys: without them the app does not start, or visitors cannot sign in.
_NEEDED = ("sdk", "sdk_version", "python_version", "app_file", "hf_oauth")
_LISTS = ("hf_oauth_scopes", "tags")  # lists that the owner may extend


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
    if not is_marked(readme):
        for key in ours.data:
            if key not in card.data:
                card = add_key(card, key, ours.data[key])
    for key in _NEEDED:
        card = set_key(card, key, ours.data[key])
    for key in _LISTS:
        card = extend_list(card, key, ours.data[key])
    card = set_key(card, "datasets", [results.id])
    return str(replace(card, body=put_section(card, _SECTION, _section(repo, results)))).encode()


def is_marked(readme: bytes | None) -> bool:
    """Whether a README contains our section."""
    return readme is not None and has_section(readme.decode("utf-8", "replace"), _SECTION)


def _section(repo: Repo, results: Repo) -> str:
    return render_card(
        "space_section", repo=repo.id, results=results.id, hub=hub_url(), version=__version__
    )
