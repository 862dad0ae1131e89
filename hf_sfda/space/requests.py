"""A visitor's request, which is checked before a process is started.

A visitor can never name a path on this machine: datasets and models must be Hub ids, and an upload
is found in the job's own directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hf_sfda.config import DEFAULTS, RankConfig, option_types, rank_command
from hf_sfda.errors import ConfigError
from hf_sfda.format import cut, show_bytes, show_count
from hf_sfda.space.settings import Limits
from hf_sfda.space.uploads import safe_name

_PAGE = re.compile(r"^(?:https?://)?[\w.-]+(?::\d+)?/(?=[^/]+/[^/]+)", re.IGNORECASE)
_IN_PAGE = re.compile(r"/(?:tree|blob|resolve|commit)/(?P<revision>[^/]+).*$")
_SEPARATORS = re.compile(r"[\s,;]+")
_REVISION = re.compile(r"\w[\w./-]*")
_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class RankRequest:
    """The request of a ranking. It contains no token, so it can be logged or written to disk.

    Attributes:
        dataset: Hub id: ``name`` or ``org/name``, with an optional ``:config``.
        upload: The uploaded file, instead of ``dataset``.
        models: Hub ids with an optional ``@revision``; if empty, the Hub is queried.
        top: How many candidates the query returns.
        samples: Size of the sample.
        metric: Metric to sort by.
        seed: Random seed for sampling, folds, bootstrap and permutations.
        split: The split to sample from; ``None`` for ``train``.
        input_column: Column with the image, the text or the sound; ``first,second`` for pairs of
            texts; ``None`` infers it.
        label_column: Column with the class; ``None`` infers it.
        max_params: Models with more parameters are skipped; ``None`` for the server's limit.
    """

    dataset: str | None = None
    upload: Path | None = None
    models: tuple[str, ...] = ()
    top: int = 8
    samples: int = 1_000
    metric: str = DEFAULTS.metric
    seed: int = 0
    split: str | None = None
    input_column: str | None = None
    label_column: str | None = None
    max_params: int | None = None

    def validate(self, limits: Limits) -> None:
        """Check the request against the limits.

        Raises:
            ConfigError: A value is not allowed; the message says what is allowed and what to do.
        """
        self._check(limits)
        from hf_sfda.pipeline import check_metrics

        check_metrics(self._config("-", limits))

    def _check(self, limits: Limits) -> None:
        """Check all values but the metric, which needs torch to be imported."""
        self._check_data(limits)
        for model in self.models:
            check_model(model)
        _within("models", "Name fewer models", len(self.models), 0, limits.candidates)
        if not self.models:
            _within(
                "candidates to ask the Hub for", "Ask for fewer", self.top, 1, limits.candidates
            )
        _within("samples", "Take fewer", self.samples, 2, limits.samples)
        if self.max_params is not None and not 1 <= self.max_params <= limits.params:
            raise ConfigError(
                f"The largest model is set to {show_count(self.max_params)} parameters; here it "
                f"may be 1 to {show_count(limits.params)}. Set it lower, or leave it out."
            )

    def to_config(self, job_dir: Path, limits: Limits) -> RankConfig:
        """Convert the request to the configuration of a run.

        Args:
            job_dir: The run's working directory. For an upload it contains only the result of
                :func:`hf_sfda.space.uploads.unpack`.
            limits: Candidates with more than ``limits.params`` parameters are skipped.

        Raises:
            ConfigError: A value is not allowed, or ``job_dir`` contains no upload. The metric is
                not checked again.
        """
        self._check(limits)
        if self.dataset is not None:
            return self._config(self.dataset, limits)
        names = sorted(path.name for path in job_dir.iterdir()) if job_dir.is_dir() else []
        if len(names) != 1:
            raise ConfigError("The uploaded file is no longer there. Upload it again.")
        return self._config(names[0], limits)

    @property
    def upload_name(self) -> str | None:
        """The name of the uploaded data: the file's name without suffix and unsafe characters."""
        if self.upload is None:
            return None
        name = safe_name(self.upload)
        # A folder with the name of a model would be used as a local checkpoint.
        model_names = {model.partition("@")[0] for model in self.models}
        return f"{name}-data" if name in model_names else name

    def to_dict(self) -> dict[str, Any]:
        """The request as a JSON document."""
        plain = asdict(self) | {"models": list(self.models)}
        return plain | {"upload": None if self.upload is None else str(self.upload)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RankRequest:
        """Parse a document that :meth:`to_dict` wrote."""
        arguments = {field.name: values[field.name] for field in fields(cls)}
        arguments["models"] = tuple(arguments["models"])
        upload = arguments["upload"]
        arguments["upload"] = Path(upload) if upload is not None else None
        return cls(**arguments)

    def _config(self, dataset: str, limits: Limits) -> RankConfig:
        options = {name: value for name, value in asdict(self).items() if name in option_types()}
        options |= {"dataset": dataset, "max_params": self.max_params or limits.params}
        return RankConfig(**options)

    def _check_data(self, limits: Limits) -> None:
        if (self.dataset is None) == (self.upload is None):
            count = "neither was" if self.dataset is None else "both were"
            raise ConfigError(
                f"A dataset on the Hub or an uploaded file is needed; {count} given. "
                "Give one of the two."
            )
        if self.dataset is not None:
            check_dataset(self.dataset)
            return
        size = self.upload.stat().st_size if self.upload and self.upload.is_file() else None
        if size is None:
            raise ConfigError("The uploaded file is no longer there. Upload it again.")
        if size > limits.upload_bytes:
            raise ConfigError(
                f"The uploaded file has {show_bytes(size)}; at most "
                f"{show_bytes(limits.upload_bytes)} are taken here. Upload a sample of the data, "
                "or push it to the Hub and give its id."
            )


def check_dataset(dataset: str) -> None:
    """Check that a dataset is a Hub id: ``name`` or ``org/name``, with an optional ``:config``.

    Raises:
        ConfigError: It is something else, such as a path.
    """
    name, colon, config = dataset.partition(":")
    if not _is_hub_id(name) or (colon and not config) or _NAMES.search(config):
        raise ConfigError(
            f"The dataset {cut(dataset, 100)!r} is not a Hub id. Give it as org/name or "
            "org/name:config, as on its page on the Hub, or upload a file."
        )


def check_model(model: str) -> None:
    """Check that a model is a Hub id: ``name`` or ``org/name``, with an optional ``@revision``.

    Raises:
        ConfigError: It is something else, such as a path.
    """
    name, at, revision = model.partition("@")
    if not _is_hub_id(name) or (at and not _is_revision(revision)):
        raise ConfigError(
            f"The model {cut(model, 100)!r} is not a Hub id. Give models as org/name or "
            "org/name@revision, one a line, as on their pages on the Hub."
        )


def parse_models(text: str) -> tuple[str, ...]:
    r"""Parse Hub ids, one per line or separated by commas; remove duplicates.

    The address of a model's page is converted to its id, with the revision in the address.

    Example:
        >>> parse_models("acme/vit, acme/bert@v2\nhttps://hub.example/acme/vit/tree/main")
        ('acme/vit', 'acme/bert@v2', 'acme/vit@main')
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    words = (word for line in lines for word in _SEPARATORS.split(line) if word)
    return tuple(dict.fromkeys(_model_id(word) for word in words))


def command(request: RankRequest, limits: Limits | None = None) -> str:
    """The command that repeats a request; for an upload, with the name of its folder.

    Args:
        request: The request.
        limits: The server's limits; if set, the command contains the largest model size.
    """
    dataset = request.dataset
    if request.upload is not None:
        table = request.upload.suffix.lower() in (".csv", ".tsv")
        suffix = request.upload.suffix.lower() if table else "/"
        dataset = f"./{request.upload_name}{suffix}"
    values = asdict(request) | {
        "dataset": dataset,
        "top": None if request.models else request.top,
        "max_params": request.max_params or (limits.params if limits else None),
    }
    return rank_command(values, always=("samples", "top"))


def _is_hub_id(name: str) -> bool:
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    try:
        utils.validate_repo_id(name)  # type: ignore[attr-defined]  # public, not typed so
    except HFValidationError:
        return False
    # The Hub's rule allows some names that a shell or `pathlib` would use as a path.
    return not name.startswith(("~", "/", ".")) and ".." not in name and "\\" not in name


def _is_revision(text: str) -> bool:
    return bool(_REVISION.fullmatch(text)) and ".." not in text and "//" not in text


def _model_id(word: str) -> str:
    if "://" not in word and word.count("/") < 2:
        return word
    rest = _PAGE.sub("", word.partition("?")[0].rstrip("/"), count=1)
    if match := _IN_PAGE.search(rest):
        return f"{rest[: match.start()]}@{match['revision']}"
    return rest


def _within(noun: str, advice: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"{value:,} {noun} are asked for; here it may be {low:,} to {high:,}. "
            + (f"{advice}, or use the command line." if value > high else "Take more.")
        )
