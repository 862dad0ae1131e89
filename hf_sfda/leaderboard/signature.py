"""Was this request sent by our webhook? For those who receive webhooks themselves."""

from __future__ import annotations

import hmac

from hf_sfda.errors import SfdaError

HEADER = "X-Webhook-Secret"
"""Where the Hub puts the secret of a webhook."""


class RefusedWebhookError(SfdaError):
    """A request that does not prove where it comes from.

    Attributes:
        status: What to answer: 401 if the header is absent, 403 if it is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_signature(header: str | None, secret: str) -> None:
    """See that a request carries the webhook's secret.

    Args:
        header: Value of :data:`HEADER`; ``None`` if the request has none.
        secret: The secret the webhook was made with. Compared in constant time.

    Raises:
        RefusedWebhookError: It does not; answer with its ``status`` and do nothing else.
        ValueError: ``secret`` is empty, which would let everybody in.
    """
    if not secret:
        raise ValueError("The webhook has no secret to compare with; set WEBHOOK_SECRET.")
    if not header:
        raise RefusedWebhookError(401, f"The request has no {HEADER} header.")
    if not hmac.compare_digest(header.encode(), secret.encode()):
        raise RefusedWebhookError(403, f"The {HEADER} header is not this webhook's secret.")
