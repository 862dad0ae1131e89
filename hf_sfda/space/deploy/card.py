"""The README of a Space: it configures the app, and its owner writes in it."""

from __future__ import annotations

from dataclasses import replace

from hf_sfda import __version__
from hf_sfda.publish.access import Repo, hub_url
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.front_matter import add_key, parse_card
from hf_sfda.publish.keys import extend_list, set_key
from hf_sfda.publish.section import has_section, put_section
from hf_sfda.space.deploy.tree import README, space_directory

_SECTION = "space"
# Without these the app does not start, or nobody can sign in.
_NEEDED = ("sdk", "sdk_version", "python_version", "app_file", "hf_oauth")
_LISTS = ("hf_oauth_scopes", "tags")  # its owner may add to them


def space_card(repo: Repo, results: Repo, readme: bytes | None) -> bytes:
    """The README with our metadata and our section; what its owner wrote stays byte for byte.

    Args:
        repo: The Space.
        results: What it shows.
        readme: What is there; ``None`` if nothing is, or nothing that anybody wrote.

    Raises:
        PublishError: The metadata is broken, or cannot be edited.
    """
    ours = parse_card((space_directory() / README).read_bytes(), README)
    card = ours if readme is None else parse_card(readme, f"{README} of {repo}")
    if not is_marked(readme):  # from then on, what is not there was taken out
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
    """Whether a README holds our section."""
    return readme is not None and has_section(readme.decode("utf-8", "replace"), _SECTION)


def _section(repo: Repo, results: Repo) -> str:
    return render_card(
        "space_section", repo=repo.id, results=results.id, hub=hub_url(), version=__version__
    )
