"""Ask the Hub for candidates, and judge what it says about one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hf_sfda.errors import ScanError
from hf_sfda.hub import explain_answer, hub_api
from hf_sfda.scan import rules
from hf_sfda.types import Candidate, Modality

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

PIPELINE_TAGS: dict[Modality, tuple[str, ...]] = {
    "image": ("image-classification", "image-feature-extraction"),
    "text": ("feature-extraction", "sentence-similarity", "fill-mask", "text-classification"),
}
"""Tasks whose checkpoints are encoders that people fine-tune for classification: classifiers and
self-supervised backbones for images; embedding models, masked language models and classifiers
for text. Generators and two-tower models (zero-shot-image-classification) are not asked for; they
can be named."""

EXPAND = [
    "config", "disabled", "downloads", "gated", "library_name", "pipeline_tag", "safetensors",
    "sha", "siblings", "tags", "transformersInfo",
]  # fmt: skip
"""What one listing must bring so that no call a model is needed."""

_LOOK_AT = 10
"""How far down the list we look: this many models a wanted one, and never fewer than a page."""
_PAGE = 100


def query_hub(
    modality: Modality | None, *, top: int, max_params: int | None, token: str | None
) -> list[Candidate]:
    """The ``top`` most downloaded eligible checkpoints and those passed over on the way.

    Gated ones are passed over: whether the token may read them takes a call each to find out, and
    terms should be accepted by a person, for a model they named.

    Raises:
        ScanError: The Hub cannot be asked.
    """
    candidates: list[Candidate] = []
    wanted = top
    try:
        for info in _most_downloaded(modality, top, token):
            candidate = _described(info, modality, max_params)
            candidates.append(candidate)
            wanted -= candidate.skip is None
            if wanted <= 0:
                break
    # The listing is one lazy call over several pages: whatever ends it ends the scan, a page that
    # is no JSON or nested without end among them.
    except Exception as error:
        raise ScanError(_cannot_ask(error)) from error
    return candidates


def _described(info: ModelInfo, modality: Modality | None, max_params: int | None) -> Candidate:
    try:
        return describe(info, modality=modality, max_params=max_params, named=False)
    # An owner may have put anything in a field; that concerns this model alone.
    except Exception as error:
        return Candidate(model_id=info.id, skip=explain_answer(error))


def _cannot_ask(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    advice = "Name models with --models: Hub ids in the local cache, or folders."
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, so the Hub cannot be asked for candidates. {advice}"
    return f"The Hub cannot be asked for candidates: {explain_answer(error)}. {advice}"


def _most_downloaded(modality: Modality | None, top: int, token: str | None) -> Iterator[ModelInfo]:
    """Models of all pipeline tags, by downloads, each once; pages are fetched as they are used."""
    api = hub_api(token)
    tags = PIPELINE_TAGS[modality] if modality else sum(PIPELINE_TAGS.values(), ())
    listings = [
        api.list_models(
            pipeline_tag=tag,
            sort="downloads",
            limit=max(_PAGE, _LOOK_AT * top),
            expand=EXPAND,  # type: ignore[arg-type]
        )
        for tag in tags
    ]
    seen: set[str] = set()
    for info in heapq.merge(*listings, key=lambda info: -(info.downloads or 0)):
        if info.id not in seen:
            seen.add(info.id)
            yield info


def describe(
    info: ModelInfo, *, modality: Modality | None, max_params: int | None, named: bool
) -> Candidate:
    """The candidate of an entry of the Hub's listing, with the reason if it is left out.

    Args:
        info: Asked for with :data:`EXPAND`.
        modality: What it would be fed.
        max_params: Largest number of parameters.
        named: The user asked for this one: gated is then no reason in itself.
    """
    config, tags = info.config or {}, info.tags or []
    library = rules.library_of(config, info.library_name, tags)
    weights = info.safetensors
    params = weights.total if weights else None
    known = info.transformers_info
    names = None if info.siblings is None else [file.rfilename for file in info.siblings]
    reason = rules.first_reason(
        (
            "disabled on the Hub" if info.disabled else None,
            "gated; name it with --models to try your token" if info.gated and not named else None,
            rules.code_reason({"auto_map": known.custom_class if known else None}),
            rules.code_reason(config, tags),
            rules.compression_reason(config, tags),
            rules.library_reason(library, info.library_name) if _is_foreign(info) else None,
            rules.weights_reason(names) if names is not None else None,
            None if names is None or "config.json" in names else "no config.json",
            rules.library_reason(library, info.library_name),
            rules.modality_reason(known.processor if known else None, modality),
            rules.size_reason(params, max_params),
        )
    )
    return Candidate(
        model_id=info.id,
        revision=info.sha,
        library=library,
        params=params,
        download_bytes=rules.weights_bytes(weights.parameters) if weights else None,
        license=next((t.removeprefix("license:") for t in tags if t.startswith("license:")), None),
        downloads=info.downloads,
        pipeline_tag=info.pipeline_tag,
        skip=reason,
    )


def _is_foreign(info: ModelInfo) -> bool:
    """Made for another library: that says more than the files it lacks for ours."""
    ours = (None, "transformers", "sentence-transformers", "timm")
    return info.library_name not in ours and "transformers" not in (info.tags or [])
