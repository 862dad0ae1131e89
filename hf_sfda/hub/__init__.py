"""All access to the Hub: the client, retries, downloads, error messages, and plans of changes.

Every request goes through huggingface_hub, which is imported by the first call that needs it.
"""

from __future__ import annotations

from hf_sfda.hub.api import hub_api, retry_download, retry_read
from hf_sfda.hub.checksums import load_verified, read_verified
from hf_sfda.hub.download import cached_model, download_model
from hf_sfda.hub.files import (
    MODEL_FILES,
    SENTENCE_SETTINGS,
    WEIGHTS,
    WEIGHTS_INDEX,
    model_files,
    shard_names,
)
from hf_sfda.hub.reasons import (
    ADVICE,
    comes_from_unreachable_hub,
    explain,
    explain_answer,
    hub_url,
    is_unreachable,
)

__all__ = [
    "ADVICE",
    "MODEL_FILES",
    "SENTENCE_SETTINGS",
    "WEIGHTS",
    "WEIGHTS_INDEX",
    "cached_model",
    "comes_from_unreachable_hub",
    "download_model",
    "explain",
    "explain_answer",
    "hub_api",
    "hub_url",
    "is_unreachable",
    "load_verified",
    "model_files",
    "read_verified",
    "retry_download",
    "retry_read",
    "shard_names",
]
