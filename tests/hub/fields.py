"""The fields of repository information: what each means, which are valid, which come by default.

``expand=`` asks for fields by name; without it a listing gives few fields and a page gives all the
usual ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.hub.metadata import card_data, dataset_tags, eval_results, model_facts
from tests.hub.repo import Commit, Repo, timestamp
from tests.hub.routing import HubError
from tests.hub.state import State

__all__ = ["describe", "list_fields", "page_fields", "view"]


@dataclass(frozen=True)
class View:
    """A repository at a commit, on a Hub (which knows what is a benchmark)."""

    hub: State
    repo: Repo
    commit: Commit
    blobs: bool = False


def view(hub: State, repo: Repo, commit: Commit | None = None, *, blobs: bool = False) -> View:
    """What the fields are computed from; the head of ``main`` by default."""
    return View(hub, repo, commit or repo.head, blobs)


Field = Callable[[View], Any]


def _siblings(v: View) -> list[dict[str, Any]]:
    files = sorted(v.commit.files.items())
    if not v.blobs:
        return [{"rfilename": path} for path, _ in files]
    siblings = []
    for path, blob in files:
        sibling = {"rfilename": path, "size": blob.size, "blobId": blob.oid}
        if lfs := blob.lfs_info("sha256"):
            sibling["lfs"] = lfs
        siblings.append(sibling)
    return siblings


def _evals(v: View) -> list[dict[str, Any]] | None:
    """Only entries for registered benchmarks count."""
    benchmarks = {r.id for r in v.hub.repos.values() if r.kind == "datasets" and r.benchmark}
    entries = eval_results(v.commit)
    return [e for e in entries if "error" in e or e["data"]["dataset"]["id"] in benchmarks] or None


def _fact(name: str) -> Field:
    return lambda v: model_facts(v.commit)[name]


def _nothing(v: View) -> None:
    return None


_COMMON: dict[str, Field] = {
    "author": lambda v: v.repo.owner,
    "cardData": lambda v: card_data(v.commit) or None,
    "createdAt": lambda v: timestamp(v.repo.created),
    "disabled": lambda v: v.repo.disabled,
    "lastModified": lambda v: timestamp(v.repo.last_modified or v.repo.created),
    "likes": lambda v: v.repo.likes,
    "private": lambda v: v.repo.private,
    "resourceGroup": _nothing,
    "sha": lambda v: v.commit.sha,
    "siblings": _siblings,
    "trendingScore": lambda v: v.repo.trending_score,
    "usedStorage": lambda v: v.repo.stored_bytes(),
}
_DOWNLOADABLE: dict[str, Field] = {
    "downloads": lambda v: v.repo.downloads,
    "downloadsAllTime": lambda v: (
        v.repo.downloads if v.repo.downloads_all_time is None else v.repo.downloads_all_time
    ),
    "gated": lambda v: v.repo.gated,
}
_FIELDS: dict[str, dict[str, Field]] = {
    "models": {
        **_COMMON,
        **_DOWNLOADABLE,
        "baseModels": _fact("baseModels"),
        "childrenModelCount": lambda v: sum(
            v.repo.id
            in {m["id"] for m in (model_facts(r.head)["baseModels"] or {"models": []})["models"]}
            for r in v.hub.repos.values()
            if r.kind == "models"
        ),
        "config": _fact("config"),
        "evalResults": _evals,
        "gguf": _nothing,
        "inference": _nothing,
        "inferenceProviderMapping": _nothing,
        "library_name": _fact("library_name"),
        "mask_token": _nothing,
        "model-index": _fact("model-index"),
        "pipeline_tag": _fact("pipeline_tag"),
        "safetensors": _fact("safetensors"),
        "spaces": lambda v: [],
        "tags": _fact("tags"),
        "transformersInfo": _fact("transformersInfo"),
        "widgetData": _nothing,
    },
    "datasets": {
        **_COMMON,
        **_DOWNLOADABLE,
        "citation": _nothing,
        "description": _nothing,
        "mainSize": lambda v: sum(blob.size for blob in v.repo.head.files.values()),
        "paperswithcode_id": _nothing,
        "tags": lambda v: list(dataset_tags(v.commit)),
    },
    "spaces": {
        **_COMMON,
        "datasets": lambda v: card_data(v.commit).get("datasets"),
        "models": lambda v: card_data(v.commit).get("models"),
        "region": lambda v: "us",
        "runtime": lambda v: v.repo.space.get("runtime"),
        "sdk": lambda v: v.repo.space.get("sdk"),
        "subdomain": lambda v: v.repo.id.replace("/", "-"),
        "tags": lambda v: card_data(v.commit).get("tags", []),
    },
}
_LISTED = "private likes downloads tags pipeline_tag library_name createdAt trendingScore".split()
_FULL = "author sha lastModified gated disabled siblings".split()
_ON_REQUEST = (
    "downloadsAllTime childrenModelCount baseModels evalResults trendingScore resourceGroup".split()
)


def list_fields(kind: str, *, full: bool, config: bool, card: bool) -> list[str]:
    """The fields of a listing without ``expand``; datasets come in full but for the files."""
    names = list(_LISTED)
    if full:
        names += _FULL
    elif kind != "models":
        names += [name for name in _FULL if name != "siblings"]
    if config:
        names.append("config")
    if card or (full and kind == "datasets"):
        names.append("cardData")
    return [name for name in names if name in _FIELDS[kind]]


def page_fields(kind: str) -> list[str]:
    """The fields of a repository's own page without ``expand``."""
    return [name for name in _FIELDS[kind] if name not in _ON_REQUEST]


def describe(v: View, names: list[str]) -> dict[str, Any]:
    """The named fields, without those that have no value.

    Raises:
        HubError: 400 for a field that this kind of repository does not have.
    """
    fields = _FIELDS[v.repo.kind]
    unknown = [name for name in names if name not in fields]
    if unknown:
        raise HubError(400, f"Invalid expand {unknown}; expected one of {sorted(fields)}")
    key = hashlib.sha1(f"{v.repo.kind}/{v.repo.id}".encode()).hexdigest()[:24]
    info: dict[str, Any] = {"_id": key, "id": v.repo.id}
    if v.repo.kind == "models":
        info["modelId"] = v.repo.id
    values = {name: fields[name](v) for name in names}
    return info | {name: value for name, value in values.items() if value is not None}
