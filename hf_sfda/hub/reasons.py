"""Any exception of the Hub stack, said in one plain clause."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from json import JSONDecodeError
from typing import Any

from hf_sfda.foreign import bounded
from hf_sfda.hub.secrets import redact

Say = Callable[[Any], str]

_LONGEST = 1000  # some libraries list every model type there is

ADVICE = "HF_SFDA_TOKEN_ADVICE"
"""Variable with what to advise who needs a token: on a web page, nobody can pass an option."""


def explain(error: BaseException) -> str:
    """What went wrong and what to do: one line, no secrets, fit to follow ``failed: ``.

    The libraries wrap each other's errors; the whole chain of causes is searched for the one that
    says most. Errors that are not the Hub's give their own first line.

    Example:
        >>> explain(ValueError("too small."))
        'ValueError: too small'
    """
    chain = list(_chain(error))
    for kinds, say in _rules():
        for link in chain:
            if isinstance(link, kinds):
                return bounded(redact(" ".join(say(link).split())), _LONGEST)
    if full := next((e for e in chain if isinstance(e, OSError) and _is_full(e)), None):
        where = f" while writing {full.filename}" if full.filename else ""
        return redact(f"the disk is full{where}; free some space and run again, downloads resume")
    if any(is_unreachable(link) for link in chain):
        return redact(f"the Hub at {_endpoint()} cannot be reached; check the network, run again")
    if any(isinstance(link, RecursionError) for link in chain):
        return "what was read is nested too deeply"
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    return bounded(redact(said), _LONGEST)


def explain_answer(error: BaseException) -> str:
    """:func:`explain` for what happened while the Hub was asked: its answer may be damaged, too.

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
    """Whether the Hub could not be talked to at all: offline mode, no route, no answer, cut off."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return False
    return isinstance(error, (httpx2.TransportError, ConnectionError, TimeoutError))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _rules() -> list[tuple[Any, Say]]:
    """(error classes, what to say), the most telling first: a gated repo is also a missing one."""
    from huggingface_hub import errors as e

    return [
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
        (
            e.OfflineModeIsEnabled,
            lambda _: (
                "not in the local cache, and HF_HUB_OFFLINE forbids to download it; "
                "unset HF_HUB_OFFLINE and run again"
            ),
        ),
        (e.NotASafetensorsRepoError, lambda _: "no safetensors weights; pickles are never opened"),
        (
            e.RemoteEntryNotFoundError,
            lambda x: f"{_name(x)} lacks a file it needs: {_line_with(x, 'Entry Not Found')}",
        ),
        (e.HfHubHTTPError, _http),
        (e.HFValidationError, lambda x: f"not a Hub id: {_line_with(x, '')}"),
    ]


def _gated(error: Any) -> str:
    page = f" at {_endpoint()}/{_path(error)}" if _path(error) else ""
    return f"gated, and no token that may read it; request access{page} and {_advice()}"


def _advice() -> str:
    return os.environ.get(ADVICE) or "set HF_TOKEN / pass --token-file"


def _http(error: Any) -> str:
    status = error.response.status_code
    said = error.server_message or "no reason given"
    if status == 429:
        return (
            "the Hub's rate limit is reached (429); wait five minutes and run again, or "
            f"{_advice()} for a higher one"
        )
    if status in (401, 403):
        may = "write here" if _is_write(error.response.request) else "read this"
        return (
            f"the Hub refuses access ({status}: {said}); "
            f"check that the token is valid and may {may}"
        )
    if status == 402:
        page = f"{_endpoint()}/settings/billing"
        return f"payment required (402: {said}); see {page}"
    if status >= 500:
        return f"the Hub at {_endpoint()} fails ({status}); the fault is on its side, try later"
    return f"the Hub answered {status}: {said}"


def _is_write(request: Any) -> bool:
    """Whether a request changes something, or asks whether it might."""
    path = request.url.path
    if path.endswith("/auth-check/write"):
        return True
    # Which files there are is asked for with a POST: the list may be long.
    return request.method not in ("GET", "HEAD") and "/paths-info/" not in path


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _path(error: Any) -> str | None:
    """``org/name``, with ``datasets/`` before it where it is one."""
    if not getattr(error, "repo_id", None):
        return None
    kind = getattr(error, "repo_type", None)
    return f"{kind}s/{error.repo_id}" if kind in ("dataset", "space") else str(error.repo_id)


def _name(error: Any) -> str:
    return str(getattr(error, "repo_id", None) or "it")


def _line_with(error: BaseException, marker: str) -> str:
    lines = str(error).splitlines() or [""]
    return next((line for line in lines if marker in line), lines[0]).rstrip(".")
