"""The only place that talks to the Hub, and it does so through huggingface_hub alone.

Importing this package is light; huggingface_hub is loaded by the first call that needs it.
"""

from __future__ import annotations

from hf_sfda.hub.api import fetch, hub_api, read
from hf_sfda.hub.checksums import read_whole
from hf_sfda.hub.download import cached_model, download_model
from hf_sfda.hub.files import (
    MODEL_FILES,
    SENTENCE_SETTINGS,
    WEIGHTS,
    WEIGHTS_INDEX,
    model_files,
    shard_names,
)
from hf_sfda.hub.reasons import ADVICE, explain, explain_answer, is_unreachable
from hf_sfda.hub.secrets import keep_secret, redact

__all__ = [
    "ADVICE",
    "MODEL_FILES",
    "SENTENCE_SETTINGS",
    "WEIGHTS",
    "WEIGHTS_INDEX",
    "cached_model",
    "download_model",
    "explain",
    "explain_answer",
    "fetch",
    "hub_api",
    "is_unreachable",
    "keep_secret",
    "model_files",
    "read",
    "read_whole",
    "redact",
    "shard_names",
]
