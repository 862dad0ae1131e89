"""Every default in one place, each with its reason."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from hf_sfda.errors import ConfigError
from hf_sfda.foreign import clean
from hf_sfda.typed import display, expanded, read_settings, typed, unknown_keys
from hf_sfda.types import LabelKind, Layers

DEFAULT_METRICS = ("three_heads", "sfda_cv", "sfda", "logme", "hscore", "knn", "logistic_probe")
"""Metrics computed by default: the score that sorts, SFDA cross-fitted and as released, two other
scores, and the two baselines that most users compute themselves."""

Choice = Literal["popular", "diverse", "all"]

METRICS_OF: Mapping[LabelKind, tuple[str, ...]] = {
    "single-label": DEFAULT_METRICS,
    "multi-label": ("logme", "linear_probe", "knn"),
    "regression": ("logme", "linear_probe", "knn", "sfda_cv"),
    "token": DEFAULT_METRICS,
}
"""Metrics computed by default for each kind of label; the first one sorts. ``three_heads`` and its
calibration are for one class a sample; tags of words are classes, too. For the others LogME, the
ridge probe's R^2 and that of the nearest neighbours are native. SFDA scores slices of the values;
each label against the rest is left to ``--metrics``: 40 labels take over a minute a model (1,000
samples, 768 dimensions)."""

Task = Literal["single-label", "multi-label", "regression", "token"]
"""Kinds of label that ``--task`` takes."""

Work = Literal["auto", "models", "samples"]
Dtype = Literal["float32", "bfloat16", "float16"]
BatchNorms = Literal["both", "published"]


_FORMER_NAMES = {"view": "layers"}

_HUB_ID = re.compile(r"[\w][\w.-]*(?:/[\w][\w.-]*)?(?::[^/]+)?", re.ASCII)
_FEATURES = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(?:@[^\s@]+)?", re.ASCII)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNFIT = re.compile(r"[/\\:]")  # in the name of a directory
_LONGEST_NAME = 150  # bytes; file systems take 255


PERMISSIVE_LICENSES = (
    "0bsd", "afl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "ecl-2.0", "isc", "mit", "ms-pl", "ncsa", "pddl",
    "postgresql", "unlicense", "wtfpl", "zlib",
)  # fmt: skip
"""What ``license: permissive`` stands for: the Hub's ids of licences that allow commercial use and
changed copies under other terms, and ask for no more than that the author is named."""


@dataclass(frozen=True, kw_only=True)
class CandidateOptions:
    """Which checkpoints of the Hub take part. Where an option has several values, one must hold.

    The first sentence of each entry is the help text on the command line.

    Attributes:
        candidates: The most downloaded, different ones first, or all that pass the filters.
            ``popular``: the most downloaded. ``diverse``: the most downloaded of each family, size
            and pre-training before a second of the same, one for all fine-tunes of a base. ``all``:
            all that pass the filters, whatever ``top`` says.
        top: Number of candidates to query from the Hub.
        pipeline_tag: Tasks as the Hub tags them, instead of those that fit the dataset.
        library: Only of these libraries: ``transformers``, ``timm``, ``sentence-transformers``.
        license: Licence ids of the Hub; ``permissive`` stands for those that allow nearly all uses.
            They are :data:`PERMISSIVE_LICENSES`.
        author: Only by these users or organisations.
        collection: Slug of a collection; its models take the place of the Hub query.
        language: Language codes that the card names.
        created_after: Leave out older repositories; a date such as ``2024-06-30``.
        min_downloads: Least downloads in the last 30 days.
        search: Only ids that hold this text.
        exclude: Leave out these ids, or patterns such as ``acme/*``.
        min_params: Leave out models with fewer parameters.
        max_params: Leave out models with more parameters.
        trained_on: Only models whose card names one of these datasets.
        base_model: Only models that were made from these.
    """

    top: int = 20
    candidates: Choice = "popular"
    pipeline_tag: tuple[str, ...] = ()
    library: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    author: tuple[str, ...] = ()
    collection: str | None = None
    language: tuple[str, ...] = ()
    created_after: str | None = None
    min_downloads: int | None = None
    search: str | None = None
    exclude: tuple[str, ...] = ()
    min_params: int | None = None
    max_params: int | None = None
    trained_on: tuple[str, ...] = ()
    base_model: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            raw = getattr(self, name)
            value = typed(raw, kind, name)
            if value is not raw:
                object.__setattr__(self, name, value)
        _at_least("top", self.top, 1)
        for name in ("min_params", "max_params", "min_downloads"):
            if (value := getattr(self, name)) is not None:
                _at_least(name, value, 1)
        if (self.min_params or 0) > (self.max_params or math.inf):
            raise ConfigError(
                f"min_params is {self.min_params} and max_params is {self.max_params}; "
                "no model has both sizes."
            )
        if self.collection is not None and self.candidates == "diverse":
            raise ConfigError(
                "candidates is diverse and a collection is given; diverse chooses from the Hub's "
                "listing. Leave one of them out."
            )
        if self.created_after is not None:
            try:
                date.fromisoformat(self.created_after)
            except ValueError:
                raise ConfigError(
                    f"created_after is {display(self.created_after)}; give a date such as "
                    "2024-06-30."
                ) from None

    @property
    def candidate_options(self) -> dict[str, Any]:
        """The options of this class alone, by name."""
        return {field.name: getattr(self, field.name) for field in fields(CandidateOptions)}


NOT_IN_FINGERPRINT = (
    "out", "batch_size", "workers", "work", "learning_curve", "ask_above", "features",
    "shards", "shard", "race", "keep", "time_budget",
    *(field.name for field in fields(CandidateOptions)),
)  # fmt: skip
"""Options that change how or where a run is done, or which models take part, but not the scores."""


_NEW_OPTIONS = ("task", "features", "race", "keep", "time_budget", "shards", "shard")
"""Options that the documents of earlier versions do not have; defaults are not written."""


@dataclass(frozen=True)
class RankConfig(CandidateOptions):
    """Settings of one run. It never holds a token, so it can be written anywhere.

    Those of :class:`CandidateOptions` belong to it, too. The first sentence of each entry is the
    help text on the command line.

    Attributes:
        dataset: Hub id, ``id:config``, folder of images or sounds, parquet/csv file or
            ``save_to_disk`` folder.
        models: Hub ids, folders, or text files with one of these a line; without it, candidates are
            queried from the Hub.
        revision: Revision of the dataset.
        split: Split to sample; by default the training split, never the test split.
        input_column: Column with the image, text or sound, inferred by default; two text columns,
            separated by a comma, for pairs of texts. For tags of words: the column with the words
            of each sentence.
        label_column: Column with the label, inferred by default; several columns of 0 and 1 are
            separated by commas.
        task: What the labels are, inferred by default; ``token`` is a tag for each word of a
            sentence.
        samples: Size of the stratified sample. 2,000 gives a standard error near .01 on a
            probability and takes seconds a model; the sample keeps every class.
        metric: Metric to sort by; labels other than one class a sample have their own default.
            ``three_heads`` orders checkpoints most like fine-tuning does, by the measurements in
            benchmarks/zoo/README.md; ``auto`` means the default.
        metrics: Metrics to compute beside ``metric``, separated by commas.
        layers: Score the features of all layers together, or of the last one. Full fine-tuning
            changes every layer, so a checkpoint is more than its last one.
        batch_norms: Statistics of batch norms: the published ones, or both these and those measured
            on the dataset, for which convolutional networks take twice as long. ``three_heads``
            averages over both. It lowers the regret of the first pick (benchmarks/zoo/README.md;
            the time is in benchmarks/README.md).
        folds: Folds of cross-fitted metrics. 5 is the usual compromise of bias and cost.
        resamples: Bootstrap resamples. 1,000 puts the Monte Carlo error of a 95% limit near one
            resample in a hundred.
        permutations: Number of label shuffles that give the noise floor. Each one already averages
            over all held-out samples, so a few are enough.
        confidence: Confidence level of intervals and ties.
        learning_curve: Also measure whether the order still changes with more samples; scoring
            takes about ten times as long. It scores each model on 50 smaller samples.
        seed: Random seed for sampling, folds, bootstrap and permutations.
        max_length: Texts are cut to this many tokens. 128 covers sentences and snippets; longer
            costs more than linear time.
        dtype: Data type of the forward pass. With float32, CPU and GPU agree.
        batch_size: Samples per forward pass; halved when memory runs out. A CPU takes 16 whatever
            this says: then activations stay in its cache, which is up to 1.9 times as fast
            (benchmarks/README.md).
        workers: Preprocessing workers per process; by default 0 on a CPU, up to 8 on a GPU. On a
            CPU they would compete with the model for cores.
        work: How processes divide the work: whole models, or the samples of each model. ``auto``
            splits samples only when there are fewer models than processes.
        ask_above: Ask before more gigabytes are downloaded, unless ``--yes`` is given. Where nobody
            can be asked, the run stops. Twenty checkpoints of usual size stay below the default.
        features: Features dataset on the Hub, made by ``hf-sfda cache export``: what it holds needs
            no weights; without ``models``, its models are the candidates. ``OWNER/NAME`` or
            ``OWNER/NAME@REVISION``.
        race: Drop models early, on small samples, that cannot be among the first ``keep``. See
            :mod:`hf_sfda.ranking.race`.
        keep: Number of first models that ``race`` must not lose. On all eleven targets of the
            zoo, the best checkpoint was among the first three.
        time_budget: Start no model after this time: ``30m``, ``2h``, ``1h30m``; cached and small
            ones are first. So a run that ends early has an answer.
        shards: Number of jobs that share the candidates; see ``hf-sfda merge``. Each takes every
            ``shards``-th one.
        shard: Number of this job, from 0.
        out: Run directory; by default ``runs/DATASET``.
    """

    dataset: str
    models: tuple[str, ...] = ()
    revision: str | None = None
    split: str | None = None
    input_column: str | None = None
    label_column: str | None = None
    task: Task | None = None
    samples: int = 2000
    metric: str = DEFAULT_METRICS[0]
    metrics: tuple[str, ...] = DEFAULT_METRICS
    layers: Layers = "all"
    batch_norms: BatchNorms = "both"
    folds: int = 5
    resamples: int = 1000
    permutations: int = 5
    confidence: float = 0.95
    learning_curve: bool = False
    seed: int = 0
    max_length: int = 128
    dtype: Dtype = "float32"
    batch_size: int = 64
    workers: int | None = None
    work: Work = "auto"
    ask_above: float = 20.0
    features: str | None = None
    race: bool = False
    keep: int = 3
    time_budget: str | None = None
    shards: int = 1
    shard: int = 0
    out: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.dataset, str) and not self.dataset.strip():
            raise ConfigError("No dataset given. Pass a Hub id, a folder or a file: --dataset ID")
        super().__post_init__()
        _at_least("samples", self.samples, 2)
        _at_least("folds", self.folds, 2)
        _at_least("resamples", self.resamples, 100)
        _at_least("permutations", self.permutations, 0)
        _at_least("batch_size", self.batch_size, 1)
        _at_least("max_length", self.max_length, 1)
        _at_least("seed", self.seed, 0)
        if self.workers is not None:
            _at_least("workers", self.workers, 0)
        _at_least("keep", self.keep, 1)
        parse_duration(self.time_budget)
        _at_least("shards", self.shards, 1)
        _at_least("shard", self.shard, 0)
        if self.shard >= self.shards:
            raise ConfigError(
                f"shard is {self.shard}; with {self.shards} shards they are 0 to {self.shards - 1}."
            )
        if self.features is not None and not _FEATURES.fullmatch(self.features):
            raise ConfigError(
                f"features is {display(self.features)}; give a dataset of the Hub, such as "
                "me/features or me/features@main."
            )
        if not self.ask_above >= 0:
            raise ConfigError(f"ask_above is {self.ask_above}; it must be at least 0 gigabytes.")
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence is {self.confidence}; it must lie in [0.5, 1).")
        if self.metric == "auto":
            object.__setattr__(self, "metric", DEFAULT_METRICS[0])
        if self.metric not in self.metrics:
            object.__setattr__(self, "metrics", (self.metric, *self.metrics))

    @property
    def run_directory(self) -> Path:
        """Where the run writes its files: ``out``, or a folder in ``runs``.

        A dataset on the Hub gives its owner and whole name (``acme/plants`` -> ``acme--plants``,
        ``acme/plants:large`` -> ``acme--plants--large``; ids on the Hub hold no ``--``), a folder
        or file on this machine gives its own whole name (``data/train.csv`` -> ``train.csv``).
        """
        if self.out is not None:
            return expanded(self.out)
        shard = f"--shard-{self.shard}-of-{self.shards}" if self.shards > 1 else ""
        return Path("runs") / f"{_run_name(self.dataset)}{shard}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON and YAML."""
        values = asdict(self)
        return {
            name: list(value) if isinstance(value := values[name], tuple) else value
            for name in option_types()
            # The documents of earlier versions do not have these.
            if name not in _NEW_OPTIONS or values[name] != getattr(RankConfig, name)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RankConfig:
        """Build from plain values. Former names of options are accepted.

        Raises:
            ConfigError: An unknown option, or a value that is not allowed.
        """
        values = with_current_names(values)
        if unknown := unknown_keys(values, sorted(option_types())):
            raise ConfigError(f"Unknown option {unknown}")
        if "dataset" not in values:
            raise ConfigError("The configuration names no dataset. Add `dataset: ID`.")
        return cls(**values)

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> RankConfig:
        """Read ``config.yaml`` of a run, with ``overrides`` on top.

        Raises:
            ConfigError: The file is missing, is not YAML, or holds an unknown option or a value
                that is not allowed.
        """
        name = f"The configuration {path}"
        try:
            content = expanded(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from error
        except ValueError as error:  # a NUL character
            raise ConfigError(f"Cannot read the configuration {display(path)}: no path.") from error
        values = read_settings(content, name)
        values.pop("fingerprint", None)  # written by a finished run; it is not an option
        try:
            return cls.from_dict({**with_current_names(values), **overrides})
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error

    def to_yaml(self) -> str:
        """The text of ``config.yaml``."""
        import yaml

        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))

    def fingerprint(self) -> str:
        """Short digest of all options that scores depend on. Two runs with equal fingerprints can
        be compared, even if they ranked other candidates.
        """
        excluded = (*NOT_IN_FINGERPRINT, "models")
        settings = {key: value for key, value in self.to_dict().items() if key not in excluded}
        # Earlier versions hashed the former name. Their runs stay comparable with new ones.
        settings["view"] = settings.pop("layers")
        if settings["batch_norms"] == "published":  # all that earlier versions had
            del settings["batch_norms"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def for_labels(self, kind: LabelKind) -> RankConfig:
        """The same with the default metrics of a kind of label, where the user left the default."""
        default = METRICS_OF[kind]
        if default == DEFAULT_METRICS:
            return self
        metric = default[0] if self.metric == DEFAULT_METRICS[0] else self.metric
        if set(DEFAULT_METRICS) <= set(self.metrics):
            own = [name for name in self.metrics if name not in DEFAULT_METRICS]
            metrics = (*own, *(name for name in default if name not in own))
        else:
            metrics = tuple(name for name in self.metrics if name != DEFAULT_METRICS[0])
        return replace(self, metric=metric, metrics=metrics)

    def replace(self, **changes: Any) -> RankConfig:
        """A copy with other values."""
        return replace(self, **changes)


@dataclass(frozen=True)
class FinetuneConfig:
    """The fine-tuning recipe. :mod:`hf_sfda.finetune` describes its steps.

    Attributes:
        learning_rates: Grid of peak learning rates. Convolutional networks do best near 3e-4 to
            1e-3, vision transformers are destroyed by that and want 1e-5 to 3e-5
            (benchmarks/zoo/README.md). The search begins in the middle of the sorted grid and
            climbs towards better validation accuracy, so three or four of five are tried.
        epochs: Most passes over the training part. More where it is small, see ``min_steps``.
        min_steps: A small training part gets as many epochs as this many steps need, because a few
            dozen steps leave a network half trained (benchmarks/zoo/README.md).
        patience: Stop after this many epochs without a better one on the validation part; the
            start, epoch 0, is not counted. It grows in proportion to the epochs.
        batch_size: Samples per training step. Small, so that a few hundred samples give a few
            hundred steps.
        weight_decay: Of AdamW; not applied to biases and norms.
        warmup: Share of the steps in which the learning rate rises; then it falls as a cosine.
        label_smoothing: Of the training loss.
        augment: Random crops of 80 to 100% of the side (images only).
        flip: Mirror images at random; not where a mirror image has another class: letters, digits,
            arrows. Only with ``augment``.
        test_share: Share of the target that is kept for the test, where no test part is given.
        validation_share: Share of the rest that is kept for validation, where none is given.
        max_length: Tokens kept of a text.
        seed: Random seed of batches, augmentation and dropout. The division into parts follows
            the seed of the target.
    """

    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    epochs: int = 8
    min_steps: int = 300
    patience: int = 3
    batch_size: int = 16
    weight_decay: float = 0.01
    warmup: float = 0.1
    label_smoothing: float = 0.1
    augment: bool = True
    flip: bool = True
    test_share: float = 0.3
    validation_share: float = 0.25
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ConfigError(
                f"learning_rates is {self.learning_rates}; give one or more positive numbers."
            )
        _at_least("epochs", self.epochs, 1)
        _at_least("min_steps", self.min_steps, 0)
        _at_least("patience", self.patience, 1)
        _at_least("batch_size", self.batch_size, 1)
        _at_least("max_length", self.max_length, 1)
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in (0, 1).")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in [0, 1).")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay is {self.weight_decay}; it must not be negative.")

    def for_samples(self, samples: int) -> FinetuneConfig:
        """The same recipe with the epochs and the patience that so many training samples get."""
        steps = math.ceil(samples / self.batch_size)
        epochs = max(self.epochs, math.ceil(self.min_steps / steps))
        patience = math.ceil(self.patience * epochs / self.epochs)
        return replace(self, epochs=epochs, patience=patience, min_steps=0)


@dataclass(frozen=True)
class ShortlistConfig:
    """Which models of a run `hf-sfda finetune` takes, on which samples, and for how long.

    Attributes:
        top: Number of models, from the first of the ranking. On all eleven targets of the zoo
            the best checkpoint is among the first three of the default order
            (benchmarks/zoo/scores.csv and truth.csv).
        models: Ranked models instead, named as in the table.
        samples: Size of the stratified sample; by default the samples that were ranked.
        test_split: Measure on the dataset's test split; by default on held-out samples of the
            split that was ranked. So the test split stays unseen until the end.
        time_budget: Stop training after this time: ``30m``, ``2h``, ``1h30m``; what is unfinished
            resumes later. In seconds; ``None`` for no limit.
        halving: Begin with all ranked models (or those named) and little training; the better half
            goes on, until ``top`` are left. These get the whole recipe.
        save: Keep the network of the best model in ``RUN/model``, for its own library.
    """

    top: int = 3
    models: tuple[str, ...] = ()
    samples: int | None = None
    test_split: bool = False
    time_budget: float | None = None
    halving: bool = False
    save: bool = False

    def __post_init__(self) -> None:
        _at_least("top", self.top, 1)
        if self.samples is not None:
            _at_least("samples", self.samples, 2)
        if self.time_budget is not None and self.time_budget <= 0:
            raise ConfigError(f"time_budget is {self.time_budget}; it must be more than 0 seconds.")


def rank_command(values: Mapping[str, Any], *, always: Collection[str] = ()) -> str:
    """The ``hf-sfda rank`` command with these options.

    Args:
        values: Option -> value; ``None`` leaves an option out.
        always: Options to name even if they have their default value. The others are left out then.
    """
    words = ["hf-sfda", "rank"]
    defaults = {field.name: field.default for field in fields(RankConfig)}
    for name in option_types():
        value = values.get(name)
        if value is None or value is False:
            continue
        plain = tuple(value) if isinstance(value, list) else value
        if plain == defaults[name] and name not in always:
            continue
        words.append("--" + name.replace("_", "-"))
        if name == "models":
            words += [str(model) for model in plain]
        elif plain is not True:
            words.append(",".join(plain) if isinstance(plain, tuple) else str(plain))
    return shlex.join(words)


def parse_duration(text: str | None) -> float | None:
    """Seconds of a duration such as ``30m``, ``2h``, ``1h30m`` or ``90s``.

    Raises:
        ConfigError: The text is no duration.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise ConfigError(f"time_budget is {text!r}; give a duration such as 30m, 2h or 1h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace former names of options in saved settings by the current ones.

    Raises:
        ConfigError: An option is given by both names.
    """
    renamed = dict(values)
    for former, current in _FORMER_NAMES.items():
        if former in renamed and current in renamed:
            raise ConfigError(f"{former} is the former name of {current}. Keep one of them.")
        if former in renamed:
            renamed[current] = renamed.pop(former)
    return renamed


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{name} is {value}; it must be at least {low}.")


@cache
def option_types(config: type = RankConfig) -> Mapping[str, Any]:
    """Option -> its type; in a run, which candidates take part comes last.

    Args:
        config: The class with the options; by default those of a run.
    """
    hints = get_type_hints(config)
    return {name: hints[name] for name in (*config.__annotations__, *hints)}


def _run_name(dataset: str) -> str:
    """What a run directory is called; see :attr:`RankConfig.run_directory`."""
    path = Path(dataset)
    if _HUB_ID.fullmatch(dataset) and not os.path.exists(dataset):  # noqa: PTH110  (never raises)
        name = dataset.replace("/", "--").replace(":", "--")
    else:
        name = path.name if path.name not in ("", "..") else path.resolve().name
    name = _UNFIT.sub("-", clean(name, instead="-")).strip(" .") or "run"
    if len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(dataset.encode(errors="surrogatepass")).hexdigest()[:8]
        while len(name.encode()) > _LONGEST_NAME:
            name = name[:-1]
        name = f"{name}-{digest}"
    return name


DEFAULTS = RankConfig(dataset="-")
"""A run with the default of every option."""
