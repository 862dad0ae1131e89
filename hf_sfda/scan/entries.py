"""What the user named: ids, folders, and text files with one of these a line."""

from __future__ import annotations

import codecs
import errno
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.config import CandidateOptions
from hf_sfda.format import cut
from hf_sfda.hub import explain, explain_answer, hub_api, is_unreachable, retry_read
from hf_sfda.scan.folder import BrokenFolderError, describe_folder, inspect, is_model_folder
from hf_sfda.scan.query import EXPAND, describe
from hf_sfda.types import Candidate, Modality

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\x1a"
"""What editors and web pages leave around a line: marks without width, and the end-of-file mark."""

_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
_QUOTED = re.compile(rf"(?:[-*\u2022]\s+)?[{_QUOTES}]?([^{_QUOTES}]+)[{_QUOTES}]?\s*[,;]?")
"""A line of a list that was copied out of code or out of a document."""

_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/+(?P<path>[^?#]*).*|hf://(?P<id>.+)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"(^|\s)#.*")  # a folder may be called "c#"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_A_FILE = "a file, not a model; name the folder that holds config.json and model.safetensors"
_LONGEST = 120  # characters of an entry that are shown
_TIMEOUT = 30.0  # seconds; huggingface_hub waits without end by default


def resolve_entries(
    entries: Sequence[str],
    options: CandidateOptions,
    *,
    modality: Modality | None,
    token: str | None,
    on_hub: bool = False,
) -> Iterator[Candidate]:
    """The candidates behind the entries, in order; what cannot be resolved says why.

    A path that exists wins over a Hub id of the same spelling, as in ``from_pretrained``, unless
    the entries are known to be ids (``on_hub``).
    """
    hub = _Named(hub_api(token), options, modality=modality)
    for entry in entries:
        if on_hub:
            yield hub.candidate(entry)
            continue
        try:
            lines = read_entries(entry)
        except (OSError, RuntimeError) as error:  # unreadable, too long, `~` of an unknown user
            yield _unreadable(entry, error)
            continue
        for text, base in lines:
            try:
                candidates = list(_candidates(text, base, hub))
            except (OSError, RuntimeError) as error:
                candidates = [_unreadable(text, error)]
            yield from candidates


def _candidates(entry: str, base: Path, hub: _Named) -> Iterator[Candidate]:
    path = base / Path(entry).expanduser()
    if path.is_dir():
        yield from _folders(path, entry, hub.options)
    elif path.is_file():
        yield _failed(entry, _A_FILE)
    else:
        yield hub.candidate(entry)


def read_entries(entry: str) -> list[tuple[str, Path]]:
    """(entry, folder that its path is relative to), with a text file opened up."""
    path = Path(entry).expanduser()
    lines = _read_lines(path) if path.is_file() else None
    if lines is None:
        return [(entry, Path())]
    texts = (_entry(line, path.parent) for line in lines)
    return [(text, path.parent) for text in texts if text]


def _entry(line: str, base: Path) -> str:
    """What a line of a list names: without comments, and without quotes, bullets and commas around
    it unless there is such a path.
    """
    text = _COMMENT.sub("", line).strip().strip(_INVISIBLE).strip()
    match = _QUOTED.fullmatch(text)
    if match is None or not match[1].strip():
        return text
    plain = match[1].strip().rstrip(",;")
    return text if plain == text or _exists(base / text) else plain


def _exists(path: Path) -> bool:
    try:
        return path.expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _hub_id(entry: str) -> str:
    """The Hub id in an address of the Hub's pages; any other entry as it is.

    Example:
        >>> _hub_id("https://huggingface.co/org/name/tree/main"), _hub_id("org/name@v1")
        ('org/name@main', 'org/name@v1')
    """
    match = _ADDRESS.fullmatch(entry.strip())
    if match is None:
        return entry.rstrip("/") or entry
    parts = [part for part in (match["path"] or match["id"] or "").split("/") if part]
    if parts[:1] == ["models"]:
        parts = parts[1:]
    name = "/".join(parts[:2])
    at_revision = len(parts) > 3 and parts[2] in ("tree", "blob", "commit", "resolve")
    if not at_revision or "@" in name:
        return name
    whole = parts[2] == "tree"  # a branch may hold slashes; after `blob` a file's path follows
    return f"{name}@{'/'.join(parts[3:]) if whole else parts[3]}"


def _unreadable(entry: str, error: OSError | RuntimeError) -> Candidate:
    if isinstance(error, RuntimeError):  # pathlib's word for an unknown user
        return _failed(entry, "there is no such user on this machine; write the whole path")
    if error.errno == errno.ENAMETOOLONG:
        return _failed(_cut(entry), "too long for a path or a Hub id; write org/name or a path")
    return _failed(entry, f"cannot be read: {error.strerror or error}; check its permissions")


def _cut(entry: str) -> str:
    return cut(entry, _LONGEST)


def _read_lines(path: Path) -> list[str] | None:
    """The lines of a text file; ``None`` for anything else, such as weights.

    Windows writes UTF-16 (PowerShell), UTF-8 with a mark in front, or cp1252 (old editors).
    """
    with path.open("rb") as file:
        begins = file.read(1024)
    marked = next((name for mark, name in _MARKS if begins.startswith(mark)), None)
    if marked is None and b"\0" in begins:
        marked = _unmarked(begins)
        if marked is None:
            return None
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = path.read_text(encoding=encoding)
        except UnicodeError:
            continue
        return text.splitlines() if _is_text(text) else None
    return None


def _unmarked(begins: bytes) -> str | None:
    """The kind of UTF-16 whose every second byte is zero, as ids of models have."""
    even, odd = begins[::2], begins[1::2]
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros.count(0) > 0.9 * len(zeros) and 0 not in others:
            return name
    return None


def _is_text(text: str) -> bool:
    return not any(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f\x1a" for c in text)


def _folders(path: Path, name: str, options: CandidateOptions) -> Iterator[Candidate]:
    """The folder itself if it is a checkpoint, else every checkpoint in it."""
    if is_model_folder(path):
        yield describe_folder(path, name, options)
        return
    children = sorted(child for child in path.iterdir() if child.is_dir())
    empty = True
    for child in children:
        child_name = f"{name.rstrip('/')}/{child.name}"
        try:
            is_model = is_model_folder(child)
        except OSError as error:
            yield replace(_unreadable(child_name, error), source="local", path=child)
            empty = False
            continue
        if is_model:
            yield describe_folder(child, child_name, options)
            empty = False
    if empty:
        yield replace(
            _failed(
                name, "neither a model folder (no config.json, no weights) nor a folder of them"
            ),
            source="local",
            path=path,
        )


def _failed(name: str, reason: str) -> Candidate:
    return Candidate(model_id=name, skip=reason, status="failed")


class _Named:
    """Hub models by id, one ``model_info`` each; the cache stands in while the Hub is away."""

    def __init__(self, api: HfApi, options: CandidateOptions, *, modality: Modality | None) -> None:
        self.api = api
        self.options = options
        self.modality = modality
        self.away: Exception | None = None  # so that a dead network is waited for only once

    def candidate(self, entry: str) -> Candidate:
        """The candidate of ``org/name`` or ``org/name@revision``; never raises for a bad id."""
        from huggingface_hub import utils
        from huggingface_hub.errors import HFValidationError

        if re.match(r"datasets/|spaces/", _hub_id(entry)):
            return _failed(_cut(entry), "a dataset or Space, not a model")
        repo, _, revision = _hub_id(entry).partition("@")
        try:
            utils.validate_repo_id(repo)  # type: ignore[attr-defined]  # public, not typed so
        except HFValidationError:
            return _failed(
                entry,
                "neither a path that exists nor a Hub id; write org/name, org/name@revision, "
                "or the path of a folder or text file, one entry a line",
            )
        if self.away is not None:
            return self._cached(repo, revision or None, self.away)
        try:
            return self._ask(repo, revision or None)
        # Whatever it is, it belongs to this one model: gated, vanished, a page that is not JSON.
        except Exception as error:
            if not is_unreachable(error):
                return _failed(repo, explain_answer(error))
            self.away = error
            return self._cached(repo, revision or None, error)

    def _ask(self, repo: str, revision: str | None) -> Candidate:
        from huggingface_hub.errors import GatedRepoError

        info = retry_read(
            self.api.model_info,
            repo,
            revision=revision,
            expand=EXPAND,  # type: ignore[arg-type]
            timeout=_TIMEOUT,
        )
        candidate = describe(info, self.options, modality=self.modality, named=True)
        if info.gated and candidate.skip is None:
            try:
                retry_read(self.api.auth_check, repo)
            except GatedRepoError as error:  # its metadata is public, its files are not
                return replace(candidate, skip=explain(error))
        return candidate

    def _cached(self, repo: str, revision: str | None, error: Exception) -> Candidate:
        """The newest snapshot of that revision in the local cache."""
        folder = _cached_snapshot(self.api, repo, revision)
        if folder is None:
            return _failed(repo, explain(error))
        logger.info("The Hub is away; %s is taken from the cache (%s).", repo, folder.name)
        candidate = Candidate(model_id=repo, revision=folder.name)
        try:
            return inspect(candidate, folder, self.options, digest=False)
        except BrokenFolderError as broken:
            return replace(
                candidate, skip=f"in the cache, but {broken}; {explain(error)}", status="failed"
            )


def _cached_snapshot(api: HfApi, repo: str, revision: str | None) -> Path | None:
    """The cache's folder of a revision; without one, its most recent download."""
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache
    from huggingface_hub.errors import CacheNotFound

    if revision is not None:
        config = try_to_load_from_cache(repo, "config.json", revision=revision)
        return Path(config).parent if isinstance(config, str) else None
    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return None
    snapshots = [
        snapshot
        for cached in cache.repos
        if cached.repo_type == "model" and cached.repo_id == repo
        for snapshot in cached.revisions
        if any(file.file_name.endswith(".safetensors") for file in snapshot.files)
    ]
    newest = max(snapshots, key=lambda snapshot: snapshot.last_modified, default=None)
    return newest.snapshot_path if newest else None
