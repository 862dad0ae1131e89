"""The data that flows from stage to stage: frozen dataclasses and nothing else.

``scan`` makes :class:`Candidate`, ``target`` makes :class:`Target`, ``extract`` makes
:class:`Features`, metrics make :class:`Score`, and ``rank`` makes :class:`Ranking` out of
:class:`ModelRow`. A leaderboard has an :class:`Update` for each run. Importing this module loads
the standard library only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from hf_sfda.foreign import clean, clean_all
from hf_sfda.format import cut

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_CLASSES_SHOWN = 4

SCHEMA_VERSION = 1
"""Version of the JSON document that :meth:`Ranking.to_dict` returns."""

Modality = Literal["image", "text", "audio"]
LabelKind = Literal["single-label", "multi-label", "regression", "token"]
Status = Literal["ok", "skipped", "failed"]
Layers = Literal["last", "all"]
Measure = Literal["accuracy", "F1", "R²"]
MEASURE_IDS: Mapping[Measure, str] = {"accuracy": "accuracy", "F1": "f1", "R²": "r_squared"}
"""Names of the measures as the library evaluate and model cards spell them."""

FloatArray: TypeAlias = "npt.NDArray[np.floating[Any]]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
LabelArray: TypeAlias = "npt.NDArray[Any]"
"""Labels of any kind, see :attr:`Target.labels`."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A decoded sound of one channel.

    Attributes:
        values: (T,) float32, usually from -1 to 1.
        rate: Values per second.
    """

    values: npt.NDArray[np.float32]
    rate: int


class TextPair(NamedTuple):
    """Two texts that are one sample, such as a premise and a hypothesis. Their order matters."""

    first: str
    second: str


class Word(NamedTuple):
    """One word of a sentence: the sample of a token classification.

    The words of one sentence are not independent of each other, but folds and intervals take
    samples as independent. So a target has one word of each sentence.
    """

    words: tuple[str, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that may be ranked, or the reason why it will not be.

    Attributes:
        model_id: Hub id (``org/name``), or the folder as the user wrote it.
        source: Where the files come from.
        revision: What the features are keyed by. Hub: the commit sha, resolved once. Local
            folder: ``sha256:...`` of its content. ``None`` only for candidates left out.
        path: The folder, for local candidates.
        library: ``"timm"`` or ``"transformers"``; decides the backbone. ``None`` when unknown.
        params: Number of parameters, from the safetensors headers.
        download_bytes: Size of the files we need, in bytes (an estimate until downloaded).
        license: Licence id as the card states it.
        downloads: Downloads in the last 30 days, as the Hub counts them.
        pipeline_tag: The Hub's task tag.
        skip: Why it is left out; ``None`` if it will be ranked.
        status: The row it becomes if ``skip`` is set: ``"skipped"`` (by a rule of ours) or
            ``"failed"`` (named by the user and broken).
    """

    model_id: str
    source: Literal["hub", "local"] = "hub"
    revision: str | None = None
    path: Path | None = None
    library: str | None = None
    params: int | None = None
    download_bytes: int | None = None
    license: str | None = None
    downloads: int | None = None
    pipeline_tag: str | None = None
    skip: str | None = None
    status: Literal["skipped", "failed"] = "skipped"

    def __post_init__(self) -> None:
        _clean_fields(self, ("model_id", "library", "license", "pipeline_tag", "skip"))


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes:
        candidates: To be ranked, or left out by a rule and with the reason.
        rejected: reason -> number of models of the Hub's listing that a filter of the user or
            the choice among them left out; they are no candidates.
        listed: Entries of the Hub's listing that were looked at.
        unseen: Whether the listing goes on after them.
        represents: Id of a candidate -> ids of its copies and of other fine-tunes of its base.
    """

    candidates: tuple[Candidate, ...]
    rejected: Mapping[str, int] = field(default_factory=dict)
    listed: int = 0
    unseen: bool = False
    represents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Target:
    """A labelled sample of a dataset, ready to be run through every candidate.

    Attributes:
        dataset_id: Hub id or path, as given.
        revision: Commit sha of a Hub dataset; ``None`` for local data.
        config: Dataset configuration (subset) name, if any.
        split: Split the sample was drawn from.
        modality: What a backbone will receive.
        task: Hub task name, e.g. ``"image-classification"``.
        label_kind: What the labels are.
        input_column: Column with the image, the text or the sound; two names separated by a comma
            for pairs of texts; the column with the words of each sentence for tags of words.
        label_column: Column holding the label.
        samples: The inputs: RGB ``PIL.Image.Image``, ``str``, :class:`TextPair`, :class:`Word` or
            :class:`Sound`. Indexing may decode lazily but never fails: what cannot be read was left
            out before.
        sample_ids: Stable id of each sample: ``"<split>/<row>"``, a relative path, or
            ``"<split>/<row>/<position>"`` for a word.
        labels: Single-label and token: (N,) int64 in ``0..C-1``, indexing ``class_names``.
            Regression: (N,) float64. Multi-label: (N, C) int64 zeros and ones.
        class_names: C names; none for regression.
        n_available: Rows in the split before sampling.
        left_out: reason -> number of rows or files left out, the same for every candidate.
        inputs_fingerprint: sha256 over the inputs in order; features are keyed by it.
        fingerprint: sha256 over inputs, ids and labels: the identity of this target.
        seed: Seed of the stratified sample.
        warnings: What was taken for granted when the data was read, in plain words.
        task_reason: Why the labels are of this kind, as a clause; empty for single-label, and if
            the user said so.
        class_numbers: C numbers that the label column holds, as texts, if another column gives
            their names; otherwise empty.
    """

    dataset_id: str
    revision: str | None
    config: str | None
    split: str
    modality: Modality
    task: str
    label_kind: LabelKind
    input_column: str
    label_column: str
    samples: Sequence[Any]
    sample_ids: tuple[str, ...]
    labels: LabelArray
    class_names: tuple[str, ...]
    n_available: int
    left_out: Mapping[str, int]
    inputs_fingerprint: str
    fingerprint: str
    seed: int
    warnings: tuple[str, ...] = ()
    task_reason: str = ""
    class_numbers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = ("dataset_id", "config", "split", "input_column", "label_column", "task_reason")
        _clean_fields(self, (*texts, "sample_ids", "left_out"))
        object.__setattr__(self, "class_names", _distinct(clean_all(self.class_names)))

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    def describe(self) -> dict[str, Any]:
        """The ``dataset`` object of the JSON document."""
        return {
            "id": self.dataset_id,
            "revision": self.revision,
            "config": self.config,
            "split": self.split,
            "task": self.task,
            "input_column": self.input_column,
            "label_column": self.label_column,
            "n_samples": len(self),
            "n_available": self.n_available,
            "n_classes": self.n_classes,
            "class_names": list(self.class_names),
            "left_out": dict(self.left_out),
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            **self._describe_labels(),
        }

    def _describe_labels(self) -> dict[str, Any]:
        """What single-label targets do not have."""
        facts: dict[str, Any] = {"task_reason": self.task_reason} if self.task_reason else {}
        if self.label_kind == "regression":
            facts["label_range"] = [float(self.labels.min()), float(self.labels.max())]
        if self.label_kind == "multi-label":
            facts["labels_per_sample"] = float(self.labels.sum(1).mean())
        return facts


@dataclass(frozen=True, eq=False)
class Features:
    """What one forward pass over the target leaves behind.

    Attributes:
        layers: name -> (N, D_s) float32, in the order of depth. The last entry is always called
            ``"last"``: the representation a classification head would sit on. A final stage whose
            pooled output *is* that representation is not stored twice.
        source_logits: (N, C_source) float32 from the checkpoint's own classification head, or
            ``None`` if it has none (LEEP and NCE need it).
        measured: The same layers after the statistics of all batch norms were measured on the
            target; empty for networks without batch norm, and if this was not asked for.
        params: Number of parameters that took part.
        seconds: Wall time of preprocessing and forward passes, without download and loading, and
            without those for ``measured``.
        meta: Provenance: library versions, dtype, device, pooling, model class.
    """

    layers: Mapping[str, npt.NDArray[np.float32]]
    source_logits: npt.NDArray[np.float32] | None = None
    measured: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    params: int | None = None
    seconds: float = 0.0
    meta: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.last)

    @property
    def last(self) -> npt.NDArray[np.float32]:
        """(N, D) features a classification head would sit on."""
        return self.layers["last"]

    @property
    def samples_per_second(self) -> float | None:
        """Throughput of the extraction, or ``None`` if it was not timed."""
        return len(self) / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, eq=False)
class Score:
    """One metric on one (features, labels) pair.

    Attributes:
        metric: Registered name.
        value: The score; higher is better for every metric (lower-is-better ones are negated).
        per_sample: (N,) float64 whose mean is ``value``, or ``None`` where the metric does not
            decompose over samples. This is what the bootstrap resamples.
        details: Numbers worth showing (shrinkage, chosen regularisation, folds used).
        warnings: Hazards met, in plain words.
    """

    metric: str
    value: float
    per_sample: npt.NDArray[np.float64] | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class RowWarning:
    """A warning about one model of a ranking.

    Attributes:
        metric: The metric that warned or failed; ``None`` for a hazard of the model's place, which
            depends on the metric that sorts the rows.
        text: As it is shown.
    """

    metric: str | None
    text: str

    def __post_init__(self) -> None:
        _clean_fields(self, ("metric", "text"))

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of_text(cls, text: str, metrics: Collection[str]) -> RowWarning:
        """Find the metric of a warning of which only the text was stored.

        Only for documents of earlier versions, and for the columns of a results dataset.

        Args:
            text: A metric's own warning starts with the metric's name.
            metrics: The metrics that may have warned.
        """
        named = [metric for metric in metrics if text.startswith(metric)]
        return cls(max(named, key=len, default=None), text)


_OF_CANDIDATE = (
    "model_id", "revision", "params", "download_bytes", "license", "downloads", "library",
)  # fmt: skip
"""Fields that a row has from its candidate."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of the ranking. Every candidate has one: ranked, skipped or failed.

    Attributes:
        model_id: As in :class:`Candidate`, as are the other fields with a name of its fields.
        status: ``ok`` if it is ranked.
        reason: Why it is not ranked; ``None`` if it is.
        rank: Place by the chosen metric, 1 is best; ``None`` unless ``status == "ok"``.
        tie_group: Number of the group, 1 is best; models of a group do not differ significantly
            from the first of the group.
        scores: metric -> value.
        intervals: metric -> (low, high); metrics without an interval are absent.
        rank_interval: (low, high) rank, as sure as ``p_best`` is: of fine-tuned accuracy or of the
            score.
        p_best: Probability that this model is the best of the run after fine-tuning, where the
            score is calibrated (:mod:`hf_sfda.uncertainty.calibration`); otherwise the share of
            resamples in which its score is the highest.
        expected_regret: Fine-tuned accuracy, in points, that it is expected to stay behind the best
            of the run; ``None`` if the score is not calibrated.
        noise_floor: The chosen metric on shuffled labels.
        params: Number of parameters.
        feature_dim: Width D of the scored features.
        samples_per_second: Throughput of the extraction; ``None`` if it was not timed.
        feature_key: Key of the features in the store.
        warnings: Hazards of this row, then what the metrics warned of.
    """

    model_id: str
    revision: str | None
    status: Status
    reason: str | None = None
    rank: int | None = None
    tie_group: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rank_interval: tuple[int, int] | None = None
    p_best: float | None = None
    expected_regret: float | None = None
    noise_floor: float | None = None
    params: int | None = None
    feature_dim: int | None = None
    download_bytes: int | None = None
    samples_per_second: float | None = None
    license: str | None = None
    downloads: int | None = None
    library: str | None = None
    feature_key: str | None = None
    warnings: tuple[RowWarning, ...] = ()

    def __post_init__(self) -> None:
        _clean_fields(self, ("model_id", "reason", "license", "library"))

    @classmethod
    def of(cls, candidate: Candidate, status: Status, **values: Any) -> ModelRow:
        """The row of a candidate.

        Args:
            candidate: The fields that a row shares with it are copied.
            status: ``ok``, ``skipped`` or ``failed``.
            **values: The other fields, or better values of the shared ones.
        """
        shared = {name: getattr(candidate, name) for name in _OF_CANDIDATE}
        return cls(status=status, **{**shared, **values})


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model reached when it was fine-tuned.

    Attributes:
        model_id: As in :class:`ModelRow`.
        revision: As in :class:`ModelRow`.
        value: The measure on the test part, by the weights that the validation part chose.
        interval: (low, high) of ``value`` at 95%. It covers the sampling of the test part, not the
            seed of the training.
        probe_value: The measure of a linear model of the frozen features.
        learning_rate: Chosen on the validation part.
        epoch: Chosen on the validation part; 0 is the fitted head before any training.
        samples_trained: Training samples processed, over all epochs and learning rates: the cost.
        seconds: Wall time, without download and without earlier, interrupted attempts.
        device: Where it ran.
        per_sample: The measure on each test sample; 0 or 1 for an accuracy. The mean is ``value``.
            The order is that of the test part, the same for every model, so that models can be
            compared in pairs.
        measure: What the model is measured by; :mod:`hf_sfda.finetune.objectives` defines it.
        versions: Library versions.
    """

    model_id: str
    revision: str | None
    value: float
    interval: tuple[float, float]
    probe_value: float
    learning_rate: float
    epoch: int
    samples_trained: int
    seconds: float
    device: str
    per_sample: tuple[float, ...]
    measure: Measure = "accuracy"
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _clean_fields(self, ("model_id", "device", "versions"))
        numbers = (self.value, *self.per_sample)
        lowest = -math.inf if self.measure == "R²" else 0
        if (
            self.measure not in get_args(Measure)
            or not all(math.isfinite(n) and lowest <= n <= 1 for n in numbers)
            or (self.measure == "accuracy" and set(self.per_sample) - {0, 1})
        ):
            raise ValueError(f"the measurement of {self.model_id} is no {self.measure:.20}")

    @property
    def n_test(self) -> int:
        """Number of test samples."""
        return len(self.per_sample)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON.

        An accuracy has the keys ``accuracy``, ``probe_accuracy`` and ``correct`` (a text with ``1``
        for each sample whose class was right, else ``0``). Other measures have ``measure``,
        ``value``, ``probe_value`` and ``per_sample``.
        """
        plain: dict[str, Any] = _plain(asdict(self))
        if self.measure != "accuracy":
            return plain
        del plain["measure"]
        correct = "".join("01"[int(right)] for right in plain.pop("per_sample"))
        renamed = {_OF_ACCURACY.get(key, key): value for key, value in plain.items()}
        versions = renamed.pop("versions")
        return {**renamed, "correct": correct, "versions": versions}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Measurement:
        """Read back what :meth:`to_dict` wrote.

        Raises:
            ValueError: The values are none of the measure.
            KeyError: A part is missing.
            TypeError: A part is of the wrong kind.
        """
        plain = {**document, "interval": tuple(document["interval"])}
        if "correct" in plain:
            if set(plain["correct"]) - {"0", "1"}:
                raise ValueError(f"the measurement of {plain['model_id']} is no accuracy")
            plain |= {key: plain.pop(old) for key, old in _OF_ACCURACY.items()}
            plain["per_sample"] = [int(right) for right in plain.pop("correct")]
        return cls(**{**plain, "per_sample": tuple(plain["per_sample"])})


_OF_ACCURACY = {"value": "accuracy", "probe_value": "probe_accuracy"}


@dataclass(frozen=True, slots=True)
class BriefMeasurement:
    """What one model reached on the validation part in one round of successive halving.

    It is no estimate of what the model reaches with the whole recipe, and is never shown as one.

    Attributes:
        model_id: As in :class:`ModelRow`.
        revision: As in :class:`ModelRow`.
        n_train: Training samples.
        epochs: Most passes over them.
        validation_value: The measure (accuracy, F1 or R²) of the best epoch at the best learning
            rate. The key in documents is ``validation_accuracy``, as before there were others.
        learning_rate: The best one.
        samples_trained: Training samples processed, over all epochs and learning rates.
        seconds: Wall time.
    """

    model_id: str
    revision: str | None
    n_train: int
    epochs: int
    validation_value: float
    learning_rate: float
    samples_trained: int
    seconds: float

    def __post_init__(self) -> None:
        _clean_fields(self, ("model_id",))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        plain = asdict(self)
        return {("validation_accuracy" if k == "validation_value" else k): plain[k] for k in plain}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> BriefMeasurement:
        """Read back what :meth:`to_dict` wrote."""
        plain = dict(document)
        return cls(validation_value=plain.pop("validation_accuracy"), **plain)


@dataclass(frozen=True, eq=False)
class Finetuned:
    """The models of a run that were fine-tuned, all on the same parts by the same recipe.

    Attributes:
        ranked: Fingerprint of the samples that the run ranked. Measurements belong to a ranking of
            the same samples only.
        data: What the models were trained and measured on: ``fingerprint`` of the sample,
            ``test`` (``held out`` or ``test split``), ``test_fingerprint`` of a test split, and
            the sizes ``n_train``, ``n_validation`` and ``n_test``.
        recipe: The fields of :class:`~hf_sfda.config.FinetuneConfig`.
        measurements: One per fine-tuned model, in the order in which they were measured.
        rounds: Measurements of successive halving, in the order in which they were made.
    """

    ranked: str
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    measurements: tuple[Measurement, ...] = ()
    rounds: tuple[BriefMeasurement, ...] = ()

    @property
    def measure(self) -> Measure:
        """What the models are measured by."""
        return self.measurements[0].measure if self.measurements else "accuracy"

    def of(self, row: ModelRow) -> Measurement | None:
        """The measurement of a model at the revision that was ranked."""
        keys = (row.model_id, row.revision)
        return next((m for m in self.measurements if (m.model_id, m.revision) == keys), None)

    def has_settings_of(self, other: Finetuned) -> bool:
        """Whether the measurements of both can be compared."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("ranked", "data", "recipe")
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        plain: dict[str, Any] = _plain(asdict(self))
        for name in ("measurements", "rounds"):
            plain[name] = [measured.to_dict() for measured in getattr(self, name)]
        return plain

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Finetuned:
        """Read back what :meth:`to_dict` wrote.

        Raises:
            ValueError: A measurement has an accuracy that is none.
            KeyError: A part is missing.
            TypeError: A part is of the wrong kind.
        """
        measurements = tuple(Measurement.from_dict(plain) for plain in document["measurements"])
        rounds = tuple(map(BriefMeasurement.from_dict, document.get("rounds", ())))
        return cls(
            str(document["ranked"]),
            dict(document["data"]),
            dict(document["recipe"]),
            measurements,
            rounds,
        )


@dataclass(frozen=True)
class LearningCurve:
    """How the order changes with the number of samples.

    Attributes:
        sizes: S sample sizes, rising; at most half of the sample.
        reproducibility: (S, R) weighted tau between the orders on two disjoint samples of a size,
            for R pairs. Unlike agreement with the full sample it is not flattered by shared
            samples. NaN where the models score alike.
        agreement: (S,) mean weighted tau with the order on the full sample.
        top_kept: (S,) share of samples whose best model is the best on the full sample.
        settled: Whether two disjoint samples of the largest size give the same order. The full
            sample is twice as large, so this errs on the side of asking for more.
    """

    sizes: tuple[int, ...]
    reproducibility: tuple[tuple[float, ...], ...]
    agreement: tuple[float, ...]
    top_kept: tuple[float, ...]
    settled: bool


@dataclass(frozen=True, eq=False)
class Ranking:
    """The answer: rows in order (ranked first, then skipped and failed) and how it was got.

    Attributes:
        config: The run's settings, as plain values (no token).
        dataset: :meth:`Target.describe`.
        rows: Every candidate.
        warnings: What the reader must know before trusting the order.
        agreement: metric -> weighted Kendall tau with the chosen metric, over the ranked rows.
        learning_curve: Whether the order settles with more samples; ``None`` if not measured.
        tool_version: Version of hf-sfda.
        versions: Versions of the libraries that took part.
        created_at: UTC time, ISO 8601.
        finetuned: Accuracies of models that were fine-tuned after the run; ``None`` if none was.
    """

    config: Mapping[str, Any]
    dataset: Mapping[str, Any]
    rows: tuple[ModelRow, ...]
    warnings: tuple[str, ...] = ()
    agreement: Mapping[str, float] = field(default_factory=dict)
    tool_version: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""
    finetuned: Finetuned | None = None
    learning_curve: LearningCurve | None = None

    def __post_init__(self) -> None:
        _clean_fields(self, ("config", "dataset", "warnings", "versions"))

    @property
    def metric(self) -> str:
        """The metric the rows are sorted by."""
        return str(self.config["metric"])

    @property
    def ranked(self) -> tuple[ModelRow, ...]:
        """Only the rows that have a rank, best first."""
        return tuple(row for row in self.rows if row.status == "ok")

    def measurement(self, row: ModelRow) -> Measurement | None:
        """What a model reached when it was fine-tuned; ``None`` if it was not."""
        return self.finetuned.of(row) if self.finetuned else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``hf-sfda rank --json`` (plain values only)."""
        curve = self.learning_curve
        return {
            "schema_version": SCHEMA_VERSION,
            "tool_version": self.tool_version,
            "created_at": self.created_at,
            "versions": dict(self.versions),
            "config": dict(self.config),
            "dataset": dict(self.dataset),
            "rows": [_plain_row(row) for row in self.rows],
            "agreement": dict(self.agreement),
            "warnings": list(self.warnings),
            **({"finetuned": self.finetuned.to_dict()} if self.finetuned else {}),
            **({} if curve is None else {"learning_curve": _plain(asdict(curve))}),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Ranking:
        """Read back what :meth:`to_dict` wrote.

        Raises:
            ValueError: The document has another schema version, or lacks what others read.
            KeyError: It lacks a part.
            TypeError: A part is of the wrong kind.
        """
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"This ranking has schema version {version!r}; this hf-sfda reads "
                f"{SCHEMA_VERSION}. Use the hf-sfda version that wrote it, or run "
                "`hf-sfda rank` again (features are reused)."
            )
        _require(document, "config", ("dataset", "metric"))
        _require(document, "dataset", ("id", "fingerprint", "n_samples"))
        return cls(
            config=document["config"],
            dataset=document["dataset"],
            rows=tuple(_row(row, document["config"]) for row in document["rows"]),
            warnings=tuple(document["warnings"]),
            agreement=document["agreement"],
            tool_version=document["tool_version"],
            versions=document["versions"],
            created_at=document["created_at"],
            finetuned=Finetuned.from_dict(measured)
            if (measured := document.get("finetuned"))
            else None,
            learning_curve=_learning_curve(document.get("learning_curve")),
        )

    def to_pandas(self) -> pd.DataFrame:
        """One row per candidate; see :meth:`flat_rows`."""
        import pandas as pd

        return pd.DataFrame(self.flat_rows())

    def flat_rows(self) -> list[dict[str, Any]]:
        """One dictionary per candidate, without nesting.

        Scores and intervals become ``score.<metric>``, ``low.<metric>`` and ``high.<metric>``. If
        models were fine-tuned, there are ``finetuned.accuracy`` (or ``finetuned.f1``,
        ``finetuned.r_squared``), ``finetuned.low`` and ``finetuned.high`` too.
        """
        rows = [flat_row(row) for row in self.rows]
        if self.finetuned and self.finetuned.measurements:
            name = MEASURE_IDS[self.finetuned.measure]
            for flat, row in zip(rows, self.rows, strict=True):
                measured = self.measurement(row)
                low, high = measured.interval if measured else (None, None)
                flat[f"finetuned.{name}"] = measured.value if measured else None
                flat |= {"finetuned.low": low, "finetuned.high": high}
        return rows


@dataclass(frozen=True, slots=True)
class Update:
    """How a leaderboard stood after a run was added to it.

    Attributes:
        run: Digest of the run.
        created_at: UTC time, ISO 8601; empty where it is not known.
        places: Model -> place, 1 is best.
        comparable: Whether its scores mean the same as today's: the same samples and settings.
    """

    run: str
    created_at: str
    places: Mapping[str, int]
    comparable: bool = True


def first_classes(names: Sequence[str]) -> str:
    """The first few class names for a line of text.

    Example:
        >>> first_classes(["cat", "dog"]), first_classes(list("abcdef"))
        ('cat, dog', 'a, b, c, d, ...')
    """
    few = [clean(name) for name in names[:_CLASSES_SHOWN]]
    return ", ".join(cut(name, 24) for name in few) + (", ..." if len(names) > len(few) else "")


def flat_row(row: ModelRow) -> dict[str, Any]:
    """A row without nesting, for data frames, CSV and parquet."""
    flat = _plain_row(row)
    del flat["warning_metrics"]
    scores, intervals = flat.pop("scores"), flat.pop("intervals")
    flat["rank_low"], flat["rank_high"] = flat.pop("rank_interval") or (None, None)
    flat["warnings"] = "; ".join(flat["warnings"])
    flat |= {f"score.{metric}": value for metric, value in scores.items()}
    for metric, (low, high) in intervals.items():
        flat |= {f"low.{metric}": low, f"high.{metric}": high}
    return flat


def _require(document: Mapping[str, Any], part: str, keys: Sequence[str]) -> None:
    if not isinstance(document[part], Mapping):
        raise TypeError(f"its {part} is a {type(document[part]).__name__}, not an object")
    if missing := [key for key in keys if key not in document[part]]:
        raise ValueError(f"its {part} lacks {missing[0]}")


def _plain_row(row: ModelRow) -> dict[str, Any]:
    """A row of the JSON document: ``warnings`` holds the texts, ``warning_metrics`` the metrics."""
    plain: dict[str, Any] = _plain(asdict(row))
    plain["warnings"] = [warning.text for warning in row.warnings]
    plain["warning_metrics"] = [warning.metric for warning in row.warnings]
    return plain


def _row(plain: Mapping[str, Any], config: Mapping[str, Any]) -> ModelRow:
    values = dict(plain)
    if values["status"] not in get_args(Status):
        raise ValueError(f"a row has the status {values['status']!r}")
    numbers = [*values["scores"].values(), *chain(*values["intervals"].values())]
    if not all(isinstance(number, (int, float, NoneType)) for number in numbers):
        raise TypeError("a score is no number")
    values["rank_interval"] = tuple(values["rank_interval"]) if values["rank_interval"] else None
    values["intervals"] = {metric: tuple(pair) for metric, pair in values["intervals"].items()}
    # A metric that failed has no score.
    known = (config["metric"], *(config.get("metrics") or ()), *values["scores"])
    values["warnings"] = read_warnings(
        values["warnings"], values.pop("warning_metrics", None), known
    )
    return ModelRow(**values)


def read_warnings(
    texts: Sequence[str], metrics: Sequence[str | None] | None, known: Collection[str]
) -> tuple[RowWarning, ...]:
    """Read a model's warnings that were stored as two lists.

    Args:
        texts: The texts.
        metrics: The metric of each, or ``None`` in a document of an earlier version.
        known: The metrics that may have warned, for such a document.

    Raises:
        ValueError: The lists differ in length.
    """
    if metrics is None:
        return tuple(RowWarning.of_text(text, known) for text in texts)
    return tuple(RowWarning(*pair) for pair in zip(metrics, texts, strict=True))


def _learning_curve(plain: Mapping[str, Any] | None) -> LearningCurve | None:
    if plain is None:
        return None

    def numbers(values: Sequence[float | None]) -> tuple[float, ...]:
        return tuple(math.nan if value is None else float(value) for value in values)

    return LearningCurve(
        sizes=tuple(int(size) for size in plain["sizes"]),
        reproducibility=tuple(numbers(taus) for taus in plain["reproducibility"]),
        agreement=numbers(plain["agreement"]),
        top_kept=numbers(plain["top_kept"]),
        settled=bool(plain["settled"]),
    )


def _plain(value: Any) -> Any:
    """Tuples to lists and numpy scalars to Python ones, so that ``json.dumps`` takes it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    # A number of numpy has come from a numpy that is imported; `--help` needs none.
    if (numpy := sys.modules.get("numpy")) and isinstance(value, numpy.generic):
        return value.item()
    return value


def _clean_fields(instance: Any, names: Sequence[str]) -> None:
    """Free the texts in these fields from hidden characters: they come from strangers, and end in
    files and on terminals.
    """
    for name in names:
        value = getattr(instance, name)
        if (cleaned := clean_all(value)) != value:
            object.__setattr__(instance, name, cleaned)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names that became equal when they were cleaned get a number."""
    counts: dict[str, int] = {}
    numbered = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        numbered.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return tuple(numbered)
