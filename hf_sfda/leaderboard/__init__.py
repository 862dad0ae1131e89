"""A leaderboard that keeps itself up to date, inside a results dataset.

Three things in the repository make it one, beside the rows that every results dataset has:

``leaderboard.yaml``
    What is measured (:mod:`hf_sfda.leaderboard.settings`).
``leaderboard/<dataset>/<pool>/<owner--model>/<sha>.safetensors``
    One file a measurement, written once: all scores of a checkpoint, and its share of every sample
    in them (:mod:`hf_sfda.leaderboard.record`). With these, ranks, ties and intervals over the
    whole pool are recomputed to the bit without running a model again, on a machine that has
    nothing.
``leaderboard/log.jsonl``
    A line an update.

The repository is the only memory: where two updates meet, both have the same facts. Importing this
package loads nothing heavy.
"""

from __future__ import annotations

from hf_sfda.leaderboard.settings import SETTINGS_FILE, Budget, Settings, parse_settings
from hf_sfda.leaderboard.signature import RefusedWebhookError, check_signature

__all__ = [
    "SETTINGS_FILE",
    "Budget",
    "RefusedWebhookError",
    "Settings",
    "check_signature",
    "parse_settings",
]
