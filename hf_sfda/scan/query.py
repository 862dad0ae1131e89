"""Ask the Hub for candidates, and judge what it says about one."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ScanError
from hf_sfda.hub import WEIGHTS, explain_answer, hub_api, retry_read
from hf_sfda.scan import rules
from hf_sfda.scan.choose import Entry, choose, family_of
from hf_sfda.scan.filters import facts_of, is_complete, listing_query, rejection
from hf_sfda.types import Candidate, Modality, Scan

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

PIPELINE_TAGS: dict[Modality, tuple[str, ...]] = {
    "image": ("image-classification", "image-feature-extraction"),
    "text": ("feature-extraction", "sentence-similarity", "fill-mask", "text-classification"),
    "audio": ("audio-classification", "automatic-speech-recognition", "feature-extraction"),
}
"""Tasks whose checkpoints are encoders that people fine-tune for classification: classifiers and
self-supervised backbones for images; embedding models, masked language models and classifiers
for text; classifiers, recognisers and self-supervised encoders for sounds. Generators and two-tower
models (zero-shot-image-classification) are not asked for; they can be named."""

EXPAND = [
    "config", "createdAt", "disabled", "downloads", "gated", "library_name", "pipeline_tag",
    "safetensors", "sha", "siblings", "tags", "transformersInfo",
]  # fmt: skip
"""What one listing must bring so that no call a model is needed."""

_LOOK_AT = 10
"""How far down the list we look: this many models a wanted one, and never fewer than a page."""
_PAGE = 100
_HASHES = 2
"""Hashes of weights that are asked for, per wanted model."""
_FARTHEST = 10_000
"""How far down each listing we look for models that pass filters which the Hub does not apply."""


def query_hub(
    options: CandidateOptions,
    *,
    modality: Modality | None,
    token: str | None,
    words: Collection[str] = (),
) -> Scan:
    """The eligible checkpoints that ``options.candidates`` asks for, and those passed over.

    Gated ones are passed over: whether the token may read them takes a call each to find out, and
    terms should be accepted by a person, for a model they named.

    Raises:
        ScanError: The Hub cannot be asked.
    """
    entries: list[Entry] = []
    rejected: Counter[str] = Counter()
    wanted = options.top if options.candidates == "popular" else math.inf
    listed, unseen = 0, True
    listings = _listings(options, modality, token)
    try:
        for info in _most_downloaded(listings):
            if (info.downloads or 0) < (options.min_downloads or 0):
                unseen = False  # the next ones have fewer
                break
            listed += 1
            if reason := _rejection(info, options, modality):
                rejected[reason] += 1
                continue
            entries.append(_entry(info, options, modality))
            wanted -= entries[-1].candidate.skip is None
            if wanted <= 0:
                break
        else:
            unseen = any(listing.cut for listing in listings)
    # The listing is one lazy call over several pages: whatever ends it ends the scan, a page that
    # is no JSON or nested without end among them.
    except Exception as error:
        raise ScanError(_cannot_ask(error)) from error
    candidates = tuple(entry.candidate for entry in entries)
    if options.candidates == "popular":
        return Scan(candidates, dict(rejected.most_common()), listed, unseen)
    diverse = options.candidates == "diverse"
    choice = choose(
        entries,
        top=options.top if diverse else None,
        diverse=diverse,
        words=words,
        weights_hash=_weights_hash(token, _HASHES * options.top)
        if diverse
        else lambda candidate: None,
    )
    rejected.update(choice.rejected)
    return Scan(choice.candidates, dict(rejected.most_common()), listed, unseen, choice.represents)


def _weights_hash(token: str | None, most: int) -> Callable[[Candidate], str | None]:
    """A function that asks the Hub for the hash of a candidate's weights, once each.

    Args:
        token: User access token.
        most: Number of calls; further candidates have no hash.
    """
    api = hub_api(token)
    left = iter(range(most))

    @cache
    def weights_hash(candidate: Candidate) -> str | None:
        if next(left, None) is None:
            return None
        try:
            [file] = retry_read(
                api.get_paths_info, candidate.model_id, [WEIGHTS], revision=candidate.revision
            )
            return file.lfs.sha256 if file.lfs else file.blob_id  # type: ignore[union-attr]
        # Shards, or a Hub that does not answer: then both copies are run.
        except Exception:
            return None

    return weights_hash


def collection_models(slug: str, token: str | None) -> list[str]:
    """The ids of the models in a collection, in its order.

    Raises:
        ScanError: The collection cannot be read.
    """
    slug = slug.rstrip("/").split("/collections/")[-1]
    try:
        collection = retry_read(hub_api(token).get_collection, slug)
    except Exception as error:  # errors of transport, of the Hub, and of what it answers
        raise ScanError(
            f"The collection {slug} cannot be read: {explain_answer(error)}. Its slug is the end "
            "of its address: OWNER/TITLE-ID."
        ) from error
    return [item.item_id for item in collection.items if item.item_type == "model"]


def _rejection(info: ModelInfo, options: CandidateOptions, modality: Modality | None) -> str | None:
    try:
        # The tasks of sounds are those of texts and other inputs, too.
        kind = (info.config or {}).get("model_type", "none")
        if rules.audio_type_reason(kind, modality):
            return "no audio model that is read"
        return rejection(facts_of(info), options)
    except Exception:  # fields of another kind; describing it gives the reason
        return None


def _entry(info: ModelInfo, options: CandidateOptions, modality: Modality | None) -> Entry:
    try:
        candidate = describe(info, options, modality=modality, named=False)
        family = family_of(info.id, (info.config or {}).get("model_type"))
        parameters = info.safetensors.parameters if info.safetensors else {}
        return Entry(candidate, family, tuple(info.tags or ()), parameters)
    # An owner may have put anything in a field; that concerns this model alone.
    except Exception as error:
        return Entry(Candidate(model_id=info.id, skip=explain_answer(error)), "")


def _cannot_ask(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    advice = (
        "Name models instead (`rank --models MODEL`, `scan MODEL`): Hub ids in the local cache, or "
        "folders."
    )
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, so the Hub cannot be asked for candidates. {advice}"
    return f"The Hub cannot be asked for candidates: {explain_answer(error)}. {advice}"


class _Listing:
    """One listing of the Hub, by downloads; its pages are fetched as they are needed.

    Attributes:
        cut: Whether it was left before its end.
    """

    def __init__(self, infos: Iterable[ModelInfo], limit: int | None) -> None:
        self._infos = infos
        self._limit = limit
        self.cut = False

    def __iter__(self) -> Iterator[ModelInfo]:
        listed = 0
        for info in self._infos:
            listed += 1
            yield info
        self.cut = listed == self._limit


def _listings(
    options: CandidateOptions, modality: Modality | None, token: str | None
) -> list[_Listing]:
    """One listing for each task and author."""
    api = hub_api(token)
    tags = options.pipeline_tag or (
        PIPELINE_TAGS[modality]
        if modality
        else tuple(dict.fromkeys(chain(*PIPELINE_TAGS.values())))
    )
    limit: int | None = max(_PAGE, _LOOK_AT * options.top) if is_complete(options) else _FARTHEST
    if options.candidates == "all":
        limit = None
    return [
        _Listing(
            api.list_models(
                pipeline_tag=tag,
                author=author,
                sort="downloads",
                limit=limit,
                expand=EXPAND,  # type: ignore[arg-type]
                **listing_query(options),
            ),
            limit,
        )
        for tag in tags
        for author in options.author or (None,)
    ]


def _most_downloaded(listings: Sequence[_Listing]) -> Iterator[ModelInfo]:
    """Models of all listings, by downloads, each once."""
    seen: set[str] = set()
    for info in heapq.merge(*listings, key=lambda info: -(info.downloads or 0)):
        if info.id not in seen:
            seen.add(info.id)
            yield info


def describe(
    info: ModelInfo, options: CandidateOptions, *, modality: Modality | None, named: bool
) -> Candidate:
    """The candidate of an entry of the Hub's listing, with the reason if it is left out.

    Args:
        info: Asked for with :data:`EXPAND`.
        options: The filters.
        modality: What it would be fed.
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
            rules.audio_type_reason(config.get("model_type"), modality),
            rules.modality_reason(known.processor if known else None, modality),
            rules.size_reason(params, options.max_params),
            rejection(facts_of(info), options),
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
