"""Keep secrets out of every text that leaves the process."""

from __future__ import annotations

import os
import re

MASK = "<redacted>"

_ENVIRONMENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_PATTERNS = (
    # Hub tokens. Real ones have 30 characters and more; "hf_transfer" must stay readable.
    (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"), MASK),
    # What people who sign in to a Space lend it: a JWT behind a prefix.
    (re.compile(r"\bhf_oauth_[A-Za-z0-9._~+/=-]{20,}"), MASK),
    (re.compile(r"(?i)(\bauthorization\W{1,4}bearer\s+)[^\s\"',;\\]+"), rf"\1{MASK}"),
    (re.compile(r"(\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    # user:password@ in a URL, such as a proxy's
    (re.compile(r"(?i)(\bhttps?://)[^/\s\"'@]+@"), rf"\1{MASK}@"),
    # A signed URL is a key to the file: CDN links of the Hub carry the signature in the query.
    (
        re.compile(
            r"(?i)(\bhttps?://[^\s\"'<>?]+)\?[^\s\"'<>]*"
            r"(?:signature|x-amz-|x-goog-|key-pair-id|policy|token|sig)[^\s\"'<>=]*=[^\s\"'<>]*"
        ),
        rf"\1?{MASK}",
    ),
)
_SHORTEST = 4  # masking shorter strings would eat ordinary words

_known: set[str] = set()


def keep_secret(token: str | None) -> None:
    """Remember a token given by the caller, so that :func:`redact` masks it whatever its form."""
    if token and len(token) >= _SHORTEST:
        _known.add(token)


def redact(text: str) -> str:
    """``text`` without tokens, bearer headers, passwords in URLs and signatures of signed URLs.

    Example:
        >>> redact("Authorization: Bearer abc")
        'Authorization: Bearer <redacted>'
    """
    given = {os.environ.get(name, "") for name in _ENVIRONMENT} | _known
    for token in sorted(given, key=len, reverse=True):
        if len(token) >= _SHORTEST:
            text = text.replace(token, MASK)
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text
