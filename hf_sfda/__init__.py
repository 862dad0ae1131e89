"""Which checkpoint on the Hugging Face Hub should I fine-tune on my dataset?

>>> import hf_sfda
>>> ranking = hf_sfda.rank("me/plant-disease", models=["acme/vit", "acme/resnet"])  # doctest: +SKIP
>>> hf_sfda.score(features, labels).value  # doctest: +SKIP

The names below are imported at their first use, so that ``import hf_sfda`` loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hf_sfda.versions import __version__

_MODULES = {
    "rank": "hf_sfda.pipeline",
    "save_ranking": "hf_sfda.report",
    "score": "hf_sfda.scoring",
    "select_ensemble": "hf_sfda.ensemble",
    "find_candidates": "hf_sfda.scan",
    "load_target": "hf_sfda.dataset",
    "register_metric": "hf_sfda.metrics",
    "list_metrics": "hf_sfda.metrics",
    "RankConfig": "hf_sfda.config",
    "FinetuneConfig": "hf_sfda.config",
    "Measured": "hf_sfda.finetune",
    "SfdaError": "hf_sfda.errors",
    "Candidate": "hf_sfda.types",
    "Features": "hf_sfda.types",
    "Finetuned": "hf_sfda.types",
    "Measurement": "hf_sfda.types",
    "ModelRow": "hf_sfda.types",
    "Ranking": "hf_sfda.types",
    "Score": "hf_sfda.types",
    "Target": "hf_sfda.types",
}

__all__ = ["__version__", *_MODULES]

if TYPE_CHECKING:
    from hf_sfda.config import FinetuneConfig as FinetuneConfig
    from hf_sfda.config import RankConfig as RankConfig
    from hf_sfda.dataset import load_target as load_target
    from hf_sfda.ensemble import select_ensemble as select_ensemble
    from hf_sfda.errors import SfdaError as SfdaError
    from hf_sfda.finetune import Measured as Measured
    from hf_sfda.metrics import list_metrics as list_metrics
    from hf_sfda.metrics import register_metric as register_metric
    from hf_sfda.pipeline import rank as rank
    from hf_sfda.report import save_ranking as save_ranking
    from hf_sfda.scan import find_candidates as find_candidates
    from hf_sfda.scoring import score as score
    from hf_sfda.types import Candidate as Candidate
    from hf_sfda.types import Features as Features
    from hf_sfda.types import Finetuned as Finetuned
    from hf_sfda.types import Measurement as Measurement
    from hf_sfda.types import ModelRow as ModelRow
    from hf_sfda.types import Ranking as Ranking
    from hf_sfda.types import Score as Score
    from hf_sfda.types import Target as Target


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
