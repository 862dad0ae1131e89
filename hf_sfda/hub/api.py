"""The Hub client, and retries where huggingface_hub does not retry by itself."""

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
from hf_sfda.secrets import keep_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth attempt
_LONGEST_WAIT = 310.0  # the Hub's rate limits count requests in windows of five minutes
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,9}")
_hook_installed = threading.Event()


def hub_api(token: str | None = None) -> HfApi:
    """Return a Hub client whose user agent is ``hf-sfda``.

    Args:
        token: A user access token; ``None`` uses the token of the current login, if there is one.
    """
    from huggingface_hub import HfApi, get_token

    from hf_sfda.versions import __version__

    keep_secret(token or get_token())
    _install_wait_hook()
    return HfApi(token=token, library_name="hf-sfda", library_version=__version__)


def retry_read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that reads from the Hub; retry transient failures, four attempts in all.

    huggingface_hub itself retries listings and downloads but not ``model_info``, ``dataset_info``
    and ``auth_check``. Never use this for a write: if the write succeeded but its response was
    lost, the retry would write a second time.

    Raises:
        Exception: What the last attempt raised.
    """
    return _retry(
        lambda: function(*args, **kwargs),
        lambda error, wait: _pause_after_status(error, wait) or _pause_after_cut(error, wait),
    )


def retry_download(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that downloads; retry transient HTTP errors, four attempts in all.

    huggingface_hub resumes broken downloads by itself, but it does not retry a 5xx on a file.

    Raises:
        Exception: What the last attempt raised.
    """
    return _retry(lambda: function(*args, **kwargs), _pause_after_status)


def _retry(call: Callable[[], T], pause_after: Callable[[Exception, float], float | None]) -> T:
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


def _pause_after_status(error: Exception, wait: float) -> float | None:
    """Seconds to wait after a transient HTTP error; ``None`` if a retry would not help.

    Args:
        error: What the call raised.
        wait: Seconds to wait if the response does not ask for a time.
    """
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in _TRANSIENT:
        return None
    requested = requested_wait(error.response.headers)
    pause = wait if requested is None else requested + 1.0  # the header has whole seconds
    return pause if pause <= _LONGEST_WAIT else None


def _pause_after_cut(error: Exception, wait: float) -> float | None:
    """Seconds to wait after a broken connection; ``None`` for any other error."""
    import httpx2

    transient = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
    return wait if isinstance(error, transient) else None


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``RateLimit`` or ``Retry-After`` header asks the client to wait.

    Returns:
        The seconds, or ``None`` if no header asks for a wait or the header cannot be parsed.

    Example:
        >>> requested_wait({"Retry-After": "7"}), requested_wait({"Retry-After": "soon"})
        (7.0, None)
    """
    from huggingface_hub import utils

    try:
        limit = utils.parse_ratelimit_headers(headers)  # type: ignore[attr-defined]  # no type stub
    except ValueError:  # more digits than Python converts to an integer
        limit = None
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = headers.get("Retry-After", headers.get("retry-after", "")).strip()
    if _SECONDS.fullmatch(after):
        return float(after)
    try:
        moment = parsedate_to_datetime(after)
    except (ValueError, OverflowError):  # neither seconds nor an HTTP date
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _install_wait_hook() -> None:
    """Install :func:`_check_wait` on every HTTP response, once per process.

    huggingface_hub retries listings and downloads by itself, and sleeps as long as the response
    asks for, without a message. The hook logs the wait and refuses a wait that is too long.
    """
    if _hook_installed.is_set():
        return
    _hook_installed.set()
    from huggingface_hub.utils import _http

    make_client: Callable[[], Any] = getattr(
        _http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory
    )

    def make_client_with_hook() -> Any:
        client = make_client()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "response": [*hooks.get("response", ()), _check_wait]}
        return client

    _http.set_client_factory(make_client_with_hook)


def _check_wait(response: Any) -> None:
    """Log the wait that a response asks for, or refuse it if it is too long.

    Raises:
        HfHubHTTPError: The response asks for a wait that is too long.
    """
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    if response.status_code not in _TRANSIENT:
        return
    seconds = requested_wait(response.headers)
    if seconds is None:
        return
    if seconds + 1.0 > _LONGEST_WAIT:
        logger.warning(
            "The Hub asks to wait %.0f s (%d), which is too long; this request is given up.",
            seconds,
            response.status_code,
        )
        response.read()  # the body has the reason, which the error message needs
        hf_raise_for_status(response)
    elif seconds > 0:
        logger.warning("The Hub asks to wait %.0f s (%d).", seconds, response.status_code)
