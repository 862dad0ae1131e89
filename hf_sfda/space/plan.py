"""The plan of a ranking: data, candidates, downloads and an estimate of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hf_sfda.errors import JobError
from hf_sfda.format import show_bytes, show_seconds
from hf_sfda.ranking.cost import Device, about
from hf_sfda.space.settings import Limits
from hf_sfda.tasks import label_facts
from hf_sfda.types import Candidate, Modality, Target, first_classes


@dataclass(frozen=True)
class PlannedModel:
    """A candidate in a plan.

    Attributes:
        model: Hub id.
        revision: Commit; ``None`` if the model was not found.
        params: Number of parameters, if known.
        download_bytes: Size of the weights, if known.
        here: Whether the weights are in the cache already.
        skip: Why the candidate will not be ranked; ``None`` if it will.
        status: Its status in the ranking if ``skip`` is set.
    """

    model: str
    revision: str | None
    params: int | None
    download_bytes: int | None
    here: bool
    skip: str | None
    status: Literal["skipped", "failed"] = "skipped"


@dataclass(frozen=True)
class JobPlan:
    """What :meth:`hf_sfda.space.jobs.Job.rank` will do.

    Attributes:
        dataset: Name of the dataset, as the visitor gave it.
        revision: Commit of a Hub dataset.
        split: The split that the sample is drawn from.
        modality: ``image``, ``text`` or ``audio``.
        input_column: Column with the image, the text or the sound; two names separated by a comma
            for pairs of texts.
        label_column: Column with the label.
        n_samples: Size of the sample.
        n_available: Number of usable rows of the split.
        class_names: Names of the classes.
        left_out: reason -> number of unusable rows.
        models: All candidates, also the skipped ones.
        download_bytes: Size of the weights that are not cached.
        seconds: Lower and upper estimate of the time, see :func:`estimate`.
        device: The device that the models will run on.
        labels: What the labels are, as a phrase.
    """

    dataset: str
    revision: str | None
    split: str
    modality: Modality
    input_column: str
    label_column: str
    n_samples: int
    n_available: int
    class_names: tuple[str, ...]
    left_out: Mapping[str, int]
    models: tuple[PlannedModel, ...]
    download_bytes: int
    seconds: tuple[float, float]
    device: Device
    labels: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The candidates, for the event ``candidates``."""
        keys = ("model", "params", "download_bytes", "skip", "status")
        return [{key: getattr(model, key) for key in keys} for model in self.models]

    @property
    def n_models(self) -> int:
        """Number of candidates that will be ranked."""
        return sum(model.skip is None for model in self.models)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The plan in sentences: data, models, downloads and time."""
        of = f" of {self.n_available:,}" if self.n_available > self.n_samples else ""
        kind = {"image": "images", "text": "texts", "audio": "sounds"}[self.modality]
        lost = "".join(f"; {count:,} left out: {why}" for why, count in self.left_out.items())
        skipped = len(self.models) - self.n_models
        without = f"; {skipped} left out, with the reason in the table" if skipped else ""
        weights = (
            f"{show_bytes(self.download_bytes)} of weights to download"
            if self.download_bytes
            else "All weights are here already"
        )
        device = {"cpu": "a CPU", "gpu": "a GPU"}[self.device]
        return (
            f"{self.dataset}: {self.n_samples:,}{of} {kind} of the split {self.split}, "
            f"{self.labels}{lost}.",
            f"{self.n_models} model{'s' if self.n_models != 1 else ''} to rank{without}.",
            f"{weights}.",
            f"This takes {about(*self.seconds)} on {device}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as a JSON document, with its sentences."""
        return asdict(self) | {
            "class_names": list(self.class_names),
            "models": [asdict(model) for model in self.models],
            "seconds": list(self.seconds),
            "n_models": self.n_models,
            "sentences": list(self.sentences),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobPlan:
        """Parse a document that :meth:`to_dict` wrote."""
        arguments = {key: values[key] for key in cls.__dataclass_fields__}
        arguments["class_names"] = tuple(arguments["class_names"])
        arguments["models"] = tuple(PlannedModel(**model) for model in arguments["models"])
        arguments["seconds"] = tuple(arguments["seconds"])
        return cls(**arguments)


def skip_large_downloads(
    candidates: Sequence[Candidate], cached: Sequence[bool], *, limit: int, spent: int
) -> list[Candidate]:
    """Mark candidates as skipped whose download does not fit into the limit, in their order.

    Args:
        candidates: The candidates of the scan.
        cached: For each candidate, whether its weights are cached.
        limit: Bytes that a job may download.
        spent: Bytes that the dataset needs.
    """
    left = limit - spent
    checked = []
    for candidate, is_cached in zip(candidates, cached, strict=True):
        size = 0 if is_cached else candidate.download_bytes or 0
        if candidate.skip is None and size > left:
            why = f"{show_bytes(size)} of weights: over the {show_bytes(limit)} a job may download"
            checked.append(replace(candidate, skip=why))
            continue
        left -= size if candidate.skip is None else 0
        checked.append(candidate)
    return checked


def no_candidates_message(candidates: list[Candidate]) -> str:
    """The message if no candidate can be ranked, with the first three reasons."""
    if not candidates:
        return "The Hub lists no model for this data. Name some."
    reasons = "; ".join(f"{c.model_id}: {c.skip}" for c in candidates[:3])
    more = f"; and {len(candidates) - 3} more" if len(candidates) > 3 else ""
    return f"No model can be ranked ({reasons}{more}). Name others."


def describe_labels(target: Target) -> str:
    """What the labels of a target are, as a phrase."""
    names = f": {first_classes(target.class_names)}" if target.class_names else ""
    task, *facts = label_facts(target.describe())
    kind = "" if target.label_kind == "single-label" else f"{task}, "
    return f"{kind}{', '.join(facts)} (column {target.label_column}{names})"


def check_time(planned: JobPlan, limits: Limits) -> None:
    """Check that the ranking can finish in time.

    Raises:
        JobError: The lower estimate of the time is over the limit.
    """
    if planned.seconds[0] > limits.seconds:
        raise JobError(
            f"This would take {about(*planned.seconds)} on this machine; a job here may take "
            f"{show_seconds(limits.seconds)}. Take fewer or smaller models, or fewer samples, or "
            "use the command line on your own machine."
        )
