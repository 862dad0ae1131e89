"""Turn any exception of huggingface_hub and its HTTP stack into one plain clause."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from json import JSONDecodeError
from typing import Any

from hf_sfda.foreign import bounded
from hf_sfda.hub.checksums import DamagedError
from hf_sfda.secrets import redact

Describe = Callable[[Any], str]

_OFFLINE = (
    "not in the local cache, and HF_HUB_OFFLINE forbids to download it; "
    "unset HF_HUB_OFFLINE and run again"
)
_LONGEST = 1000  # some libraries list every model type in their message

ADVICE = "HF_SFDA_TOKEN_ADVICE"
"""Environment variable with the advice for users who need a token. The Space sets it, because its
visitors cannot pass a command-line option."""


def explain(error: BaseException) -> str:
    """Say what went wrong and what to do, in one line without secrets, to follow ``failed: ``.

    Libraries wrap each other's errors, so the whole chain of causes is searched for the most
    specific one. For an error that does not come from the Hub, this is the error's first line.

    Example:
        >>> explain(ValueError("too small."))
        'ValueError: too small'
    """
    from huggingface_hub import constants

    chain = list(_chain(error))
    for kinds, describe in _rules():
        for link in chain:
            if isinstance(link, kinds):
                return bounded(redact(" ".join(describe(link).split())), _LONGEST)
    if full := next((e for e in chain if isinstance(e, OSError) and _is_full(e)), None):
        where = f" while writing {full.filename}" if full.filename else ""
        return redact(f"the disk is full{where}; free some space and run again, downloads resume")
    if comes_from_unreachable_hub(error):
        if constants.HF_HUB_OFFLINE:  # `datasets` keeps the name of the error only
            return _OFFLINE
        return redact(f"the Hub at {hub_url()} cannot be reached; check the network, run again")
    if any(isinstance(link, RecursionError) for link in chain):
        return "what was read is nested too deeply"
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return bounded(redact(f"{name}: {lines[0].rstrip('.')}" if lines else name), _LONGEST)


def explain_answer(error: BaseException) -> str:
    """Like :func:`explain`, for errors of a request: the Hub's response may be malformed, too.

    Example:
        >>> explain_answer(RecursionError())
        "the Hub's answer cannot be read: it is nested too deeply; try again later"
    """
    for kinds, problem in (
        (JSONDecodeError, "it is not JSON"),
        (RecursionError, "it is nested too deeply"),
        ((AttributeError, KeyError, TypeError), "it does not hold what it should"),
    ):
        if isinstance(error, kinds):
            return f"the Hub's answer cannot be read: {problem}; try again later"
    return explain(error)


def is_unreachable(error: BaseException) -> bool:
    """Whether no HTTP response arrived: offline mode, no route, a timeout or a lost connection."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return False
    return isinstance(error, (httpx2.TransportError, ConnectionError, TimeoutError))


def comes_from_unreachable_hub(error: BaseException) -> bool:
    """Whether an error, or one that caused it, is that no response of the Hub arrived."""
    return any(is_unreachable(link) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    visited: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _rules() -> list[tuple[Any, Describe]]:
    """Pairs of (error classes, function that describes the error), the most specific first.

    The order matters: ``GatedRepoError`` is a subclass of ``RepositoryNotFoundError``.
    """
    from huggingface_hub import errors as e

    return [
        (DamagedError, str),
        (e.GatedRepoError, _gated),
        (e.DisabledRepoError, lambda _: "disabled on the Hub; nobody can read it"),
        (
            e.RevisionNotFoundError,
            lambda x: (
                f"{_name(x)} has no such revision (or no more); "
                "pass a branch, tag or commit that exists"
            ),
        ),
        (
            e.RepositoryNotFoundError,
            lambda x: (
                f"{_name(x)} is not on the Hub (gone, misspelt, or private and no token that may "
                f"read it); check the name, or {_advice()}"
            ),
        ),
        (e.OfflineModeIsEnabled, lambda _: _OFFLINE),
        (e.NotASafetensorsRepoError, lambda _: "no safetensors weights; pickles are never opened"),
        (
            e.RemoteEntryNotFoundError,
            lambda x: f"{_name(x)} lacks a file it needs: {_line_with(x, 'Entry Not Found')}",
        ),
        (e.HfHubHTTPError, _http),
        (e.HFValidationError, lambda x: f"not a Hub id: {_line_with(x, '')}"),
    ]


def _gated(error: Any) -> str:
    page = f" at {hub_url()}/{_path(error)}" if _path(error) else ""
    return f"gated, and no token that may read it; request access{page} and {_advice()}"


def _advice() -> str:
    return os.environ.get(ADVICE) or "set HF_TOKEN / pass --token-file"


def _http(error: Any) -> str:
    status = error.response.status_code
    reason = error.server_message or "no reason given"
    if status == 429:
        return (
            "the Hub's rate limit is reached (429); wait five minutes and run again, or "
            f"{_advice()} for a higher one"
        )
    if status in (401, 403):
        may = "write here" if _is_write(error.response.request) else "read this"
        return (
            f"the Hub refuses access ({status}: {reason}); "
            f"check that the token is valid and may {may}"
        )
    if status == 402:
        page = f"{hub_url()}/settings/billing"
        return f"payment required (402: {reason}); see {page}"
    if status >= 500:
        return f"the Hub at {hub_url()} fails ({status}); the fault is on its side, try later"
    return f"the Hub answered {status}: {reason}"


def _is_write(request: Any) -> bool:
    """Whether a request changes something, or asks for the permission to do so."""
    path = request.url.path
    if path.endswith("/auth-check/write"):
        return True
    # huggingface_hub asks for information on files with a POST, because the list may be long.
    return request.method not in ("GET", "HEAD") and "/paths-info/" not in path


def hub_url() -> str:
    """The address of the Hub."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def _path(error: Any) -> str | None:
    """The repository's path on the Hub, e.g. ``org/name`` or ``datasets/org/name``."""
    if not getattr(error, "repo_id", None):
        return None
    kind = getattr(error, "repo_type", None)
    return f"{kind}s/{error.repo_id}" if kind in ("dataset", "space") else str(error.repo_id)


def _name(error: Any) -> str:
    return str(getattr(error, "repo_id", None) or "it")


def _line_with(error: BaseException, marker: str) -> str:
    lines = str(error).splitlines() or [""]
    return next((line for line in lines if marker in line), lines[0]).rstrip(".")
