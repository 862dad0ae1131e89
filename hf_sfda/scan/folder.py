"""A model folder on this machine. Weights are never loaded: headers and digests are enough."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_sfda.config import CandidateOptions
from hf_sfda.files import LFS_POINTER, is_lfs_pointer
from hf_sfda.foreign import ForeignError, read_front_matter, read_json_file
from hf_sfda.hub import WEIGHTS, WEIGHTS_INDEX, model_files, shard_names
from hf_sfda.scan import rules
from hf_sfda.scan.filters import NO_FILTER, facts_of_card, rejection
from hf_sfda.secrets import redact
from hf_sfda.types import Candidate


class BrokenFolderError(Exception):
    """Not a checkpoint that could be opened; the message is the reason."""


def is_model_folder(path: Path) -> bool:
    """Whether a folder looks like a checkpoint, broken or not."""
    if (path / "config.json").is_file():
        return True
    names = {file.name for file in path.iterdir() if file.is_file()}
    return rules.has_weights(names) or rules.weights_reason(names) != "no weights"


def describe_folder(path: Path, name: str, options: CandidateOptions = NO_FILTER) -> Candidate:
    """The candidate behind a folder; ``status="failed"`` where it is broken.

    Args:
        path: The folder.
        name: What the user called it.
        options: The filters.
    """
    candidate = Candidate(model_id=name, source="local", path=path)
    try:
        return inspect(candidate, path, options, digest=True)
    except BrokenFolderError as broken:
        return replace(candidate, skip=redact(str(broken)), status="failed")
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return replace(candidate, skip=redact(reason), status="failed")
    # A stranger's files may hold anything; that concerns this candidate alone.
    except Exception as error:
        reason = f"its files are not what a checkpoint holds ({type(error).__name__}: {error})"
        return replace(candidate, skip=redact(reason), status="failed")


def inspect(
    candidate: Candidate, path: Path, options: CandidateOptions, *, digest: bool
) -> Candidate:
    """Fill in what the files say.

    Raises:
        BrokenFolderError: Something is missing or damaged.
    """
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    top = {name for name in names if "/" not in name}
    if (reason := rules.weights_reason(top)) and "adapter" in reason:
        return replace(candidate, skip=rules.adapter_reason(_adapter(path)))
    if rules.has_weights(top) and "adapter_config.json" in top:
        return replace(candidate, skip=rules.ADAPTER_BESIDE_WEIGHTS)
    if "config.json" not in top:
        raise BrokenFolderError("no config.json; a checkpoint is config.json and model.safetensors")
    for name in model_files(names):
        if is_lfs_pointer(path / name):
            raise BrokenFolderError(f"{name} {LFS_POINTER}")
    config = _read_config(path / "config.json")
    if reason := rules.code_reason(config) or rules.compression_reason(config):
        return replace(candidate, skip=reason)
    if reason := rules.weights_reason(top):
        raise BrokenFolderError(reason)
    library = rules.library_of(config, None, ())
    if reason := rules.library_reason(library, None):
        raise BrokenFolderError(reason)
    weights = _weight_files(path, set(names))
    params = sum(_count_parameters(path / name) for name in weights)
    needed = sorted({*model_files(names), *weights})
    card = _card(path / "README.md")
    license = card.get("license")
    facts = facts_of_card(candidate.model_id, card, library=library, params=params)
    return replace(
        candidate,
        revision=_digest(path, needed) if digest else candidate.revision,
        library=library,
        params=params,
        download_bytes=sum((path / name).stat().st_size for name in needed),
        license=license if isinstance(license, str) else None,
        skip=rules.size_reason(params, options.max_params) or rejection(facts, options),
    )


def _adapter(path: Path) -> Mapping[str, Any]:
    """What an adapter says about itself; nothing if that cannot be read."""
    try:
        settings = read_json_file(path / "adapter_config.json")
    except (ForeignError, OSError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = read_json_file(path)
    except ForeignError as error:
        raise BrokenFolderError(f"config.json is {error}") from error
    if not isinstance(config, dict):
        raise BrokenFolderError("config.json holds no JSON object")
    return config


def _weight_files(path: Path, names: set[str]) -> list[str]:
    """The safetensors that will be opened; every shard the index names must be there."""
    if WEIGHTS in names:
        return [WEIGHTS]
    try:
        shards = shard_names((path / WEIGHTS_INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenFolderError(f"{WEIGHTS_INDEX} {error}") from error
    if missing := [shard for shard in shards if shard not in names]:
        raise BrokenFolderError(f"{WEIGHTS_INDEX} names {missing[0]}, which is missing")
    return shards


def _count_parameters(path: Path) -> int:
    """Number of values in a safetensors file, from its header.

    Opening checks the header against the file's size, so a cut-off download is found here.
    """
    from safetensors import SafetensorError, safe_open

    if is_lfs_pointer(path):
        raise BrokenFolderError(f"{path.name} {LFS_POINTER}")
    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    except SafetensorError as error:
        size = path.stat().st_size
        reason = f"{path.name} is truncated or damaged ({size:,} bytes: {error})"
        raise BrokenFolderError(reason) from error


def _digest(path: Path, names: list[str]) -> str:
    """``sha256:...`` over name, size and content of the files that decide the features."""
    total = hashlib.sha256()
    for name in names:
        with (path / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        line = f"{name}\0{(path / name).stat().st_size}\0{content}\n"
        total.update(line.encode(errors="surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def _card(path: Path) -> Mapping[str, Any]:
    """The front matter of a card; empty if there is none, or none that can be read."""
    try:
        return read_front_matter(path) if path.is_file() else {}
    except ForeignError:  # a careless card is no reason to lose the model
        return {}
