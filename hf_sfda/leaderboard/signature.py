"""Check that a request comes from our webhook, for users who run their own webhook server."""

from __future__ import annotations

import hmac

from hf_sfda.errors import SfdaError

HEADER = "X-Webhook-Secret"
"""The header in which the Hub sends the secret of a webhook."""


class RefusedWebhookError(SfdaError):
    """A request without the webhook's secret.

    Attributes:
        status: The HTTP status to return: 401 if the header is missing, 403 if it is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_signature(header: str | None, secret: str) -> None:
    """Check that a request has the webhook's secret. The comparison takes constant time.

    Args:
        header: Value of :data:`HEADER`; ``None`` if the request has none.
        secret: The secret that the webhook was created with.

    Raises:
        RefusedWebhookError: The secret is missing or wrong. Return the error's ``status`` and
            ignore the request.
        ValueError: ``secret`` is empty, so every request would be accepted.
    """
    if not secret:
        raise ValueError("The webhook has no secret to compare with; set WEBHOOK_SECRET.")
    if not header:
        raise RefusedWebhookError(401, f"The request has no {HEADER} header.")
    if not hmac.compare_digest(header.encode(), secret.encode()):
        raise RefusedWebhookError(403, f"The {HEADER} header is not this webhook's secret.")
