"""The client, and the one retry of our own."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hf_sfda.hub.reasons import explain
from hf_sfda.hub.secrets import keep_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try
_LONGEST_WAIT = 310.0  # the Hub counts requests in windows of five minutes
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,9}")
_watching = threading.Event()


def hub_api(token: str | None = None) -> HfApi:
    """The Hub client, named ``hf-sfda`` in its user agent.

    Args:
        token: A user access token; ``None`` takes the one the user is logged in with, if any.
    """
    from huggingface_hub import HfApi, get_token

    from hf_sfda import __version__

    keep_secret(token or get_token())
    _watch_waits()
    return HfApi(token=token, library_name="hf-sfda", library_version=__version__)


def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a *read* of the Hub, again if it fails for a passing reason; at most four times.

    huggingface_hub itself retries listings and downloads but not ``model_info``, ``dataset_info``
    and ``auth_check``. Never use this for writes: a lost answer would make them happen twice.

    Raises:
        Exception: Whatever the last call raised.
    """
    return _again(
        lambda: function(*args, **kwargs), lambda e, wait: _busy(e, wait) or _cut(e, wait)
    )


def fetch(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a download, again if the Hub answers that it is busy or ill; at most four times.

    huggingface_hub resumes cut downloads by itself, but a 5xx on a file is final to it.

    Raises:
        Exception: Whatever the last call raised.
    """
    return _again(lambda: function(*args, **kwargs), _busy)


def _again(call: Callable[[], T], pause_after: Callable[[Exception, float], float | None]) -> T:
    for wait in _WAITS:
        try:
            return call()
        except Exception as error:
            pause = pause_after(error, wait)
            if pause is None:
                raise
            logger.warning("%s (trying again in %.0f s)", explain(error).split(";")[0], pause)
            time.sleep(pause)
    return call()


def _busy(error: Exception, wait: float) -> float | None:
    """Seconds to wait after a status that will pass; ``None`` where waiting is of no use."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in _TRANSIENT:
        return None
    asked = asked_to_wait(error.response.headers)
    pause = wait if asked is None else asked + 1.0  # they count in whole seconds
    return pause if pause <= _LONGEST_WAIT else None


def _cut(error: Exception, wait: float) -> float | None:
    """Seconds to wait after a connection that broke."""
    import httpx2

    passing = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
    return wait if isinstance(error, passing) else None


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """What a ``RateLimit`` or ``Retry-After`` header asks for, in seconds; ``None`` for nothing.

    Example:
        >>> asked_to_wait({"Retry-After": "7"}), asked_to_wait({"Retry-After": "soon"})
        (7.0, None)
    """
    from huggingface_hub import utils

    try:
        limit = utils.parse_ratelimit_headers(headers)  # type: ignore[attr-defined]  # not typed so
    except ValueError:  # more digits than Python converts
        limit = None
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = headers.get("Retry-After", headers.get("retry-after", "")).strip()
    if _SECONDS.fullmatch(after):
        return float(after)
    try:
        moment = parsedate_to_datetime(after)
    except (ValueError, OverflowError):  # neither of the two forms there are
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _watch_waits() -> None:
    """See, for as long as the process lives, that the client never waits in silence or for hours.

    huggingface_hub retries listings and downloads by itself, and sleeps as long as an answer says.
    """
    if _watching.is_set():
        return
    _watching.set()
    from huggingface_hub.utils import _http

    make_client: Callable[[], Any] = getattr(
        _http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory
    )

    def client() -> Any:
        made = make_client()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "response": [*hooks.get("response", ()), _check_wait]}
        return made

    _http.set_client_factory(client)


def _check_wait(response: Any) -> None:
    """Tell of a wait that an answer asks for, or refuse it.

    Raises:
        HfHubHTTPError: It asks for a wait that is too long.
    """
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    if response.status_code not in _TRANSIENT:
        return
    seconds = asked_to_wait(response.headers)
    if seconds is None:
        return
    if seconds + 1.0 > _LONGEST_WAIT:
        logger.warning(
            "The Hub asks to wait %.0f s (%d), which is too long; this request is given up.",
            seconds,
            response.status_code,
        )
        response.read()  # the reason, for the message
        hf_raise_for_status(response)
    elif seconds > 0:
        logger.warning("The Hub asks to wait %.0f s (%d).", seconds, response.status_code)
