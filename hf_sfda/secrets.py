"""Remove tokens, passwords and signed URLs from every text that leaves the process."""

from __future__ import annotations

import os
import re

MASK = "<redacted>"

_ENVIRONMENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_PATTERNS = (
    # Hub tokens. They have 30 characters or more; short words such as "hf_transfer" stay readable.
    (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"), MASK),
    # The OAuth token of a visitor who signs in to a Space: a JWT behind a prefix.
    (re.compile(r"\bhf_oauth_[A-Za-z0-9._~+/=-]{20,}"), MASK),
    (re.compile(r"(?i)(\bauthorization\W{1,4}bearer\s+)[^\s\"',;\\]+"), rf"\1{MASK}"),
    (re.compile(r"(\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    # user:password@ in a URL, for example of a proxy
    (re.compile(r"(?i)(\bhttps?://)[^/\s\"'@]+@"), rf"\1{MASK}@"),
    # Signed URLs give access to a file without a token. The Hub's CDN links have the signature in
    # the query.
    (
        re.compile(
            r"(?i)(\bhttps?://[^\s\"'<>?]+)\?[^\s\"'<>]*"
            r"(?:signature|x-amz-|x-goog-|key-pair-id|policy|token|sig)[^\s\"'<>=]*=[^\s\"'<>]*"
        ),
        rf"\1?{MASK}",
    ),
)
_SHORTEST = 4  # shorter strings also occur inside ordinary words

_known: set[str] = set()


def keep_secret(token: str | None) -> None:
    """Register a token, so that :func:`redact` masks it even if it matches no known pattern."""
    if token and len(token) >= _SHORTEST:
        _known.add(token)


def redact(text: str) -> str:
    """Mask tokens, bearer headers, passwords in URLs and the signatures of signed URLs.

    Example:
        >>> redact("Authorization: Bearer abc")
        'Authorization: Bearer <redacted>'
    """
    tokens = {os.environ.get(name, "") for name in _ENVIRONMENT} | _known
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) >= _SHORTEST:
            text = text.replace(token, MASK)
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text
