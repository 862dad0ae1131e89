"""What a visitor asks for: checked here, before any process is started.

What a visitor types is never a place on this machine: a dataset and a model are Hub ids, and an
upload is known by where the job unpacked it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError
from hf_sfda.space.limits import Limits, show_bytes, show_count
from hf_sfda.space.uploads import safe_name

_PAGE = re.compile(r"^(?:https?://)?[\w.-]+(?::\d+)?/(?=[^/]+/[^/]+)", re.IGNORECASE)
_IN_PAGE = re.compile(r"/(?:tree|blob|resolve|commit)/(?P<revision>[^/]+).*$")
_SEPARATORS = re.compile(r"[\s,;]+")
_REVISION = re.compile(r"\w[\w./-]*")
_NAMES = re.compile(r"[^\w.-]+")
_DEFAULT = RankConfig(dataset="-")


@dataclass(frozen=True)
class RankRequest:
    """What is to be ranked on what. It holds no token, so it can be written anywhere.

    Attributes:
        dataset: Hub id, ``name`` or ``org/name``, each with an optional ``:config``.
        upload: The file as it was received, instead of ``dataset``.
        models: Hub ids, each with an optional ``@revision``; empty asks the Hub.
        top: How many candidates to ask the Hub for.
        samples: Sample size.
        metric: What to sort by.
        seed: Random seed for sampling, folds, bootstrap and permutations.
        split: Split to sample; ``None`` takes ``train``.
        input_column: Column with the picture or text; ``None`` infers it.
        label_column: Column with the class; ``None`` infers it.
        max_params: Leave larger models out; ``None`` is the limit.
    """

    dataset: str | None = None
    upload: Path | None = None
    models: tuple[str, ...] = ()
    top: int = 8
    samples: int = 1_000
    metric: str = _DEFAULT.metric
    seed: int = 0
    split: str | None = None
    input_column: str | None = None
    label_column: str | None = None
    max_params: int | None = None

    def validate(self, limits: Limits) -> None:
        """Refuse what cannot be done, in words for the visitor.

        Raises:
            ConfigError: Says what was given, what is allowed and what to do.
        """
        self._check(limits)
        from hf_sfda.pipeline import check_metrics

        check_metrics(self._config("-", limits))

    def _check(self, limits: Limits) -> None:
        """All but the metric, which takes torch to know."""
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
        """The settings of the run.

        Args:
            job_dir: Where :func:`hf_sfda.space.uploads.unpack` put the upload, and nothing else;
                the run has it as its working directory.
            limits: Candidates above ``limits.params`` parameters are left out.

        Raises:
            ConfigError: As :meth:`validate` (but for the metric, which is known to exist by
                then), or there is no upload in ``job_dir``.
        """
        self._check(limits)
        if self.dataset is not None:
            return self._config(self.dataset, limits)
        there = sorted(path.name for path in job_dir.iterdir()) if job_dir.is_dir() else []
        if len(there) != 1:
            raise ConfigError("The uploaded file is no longer there. Upload it again.")
        return self._config(there[0], limits)

    @property
    def upload_name(self) -> str | None:
        """What the uploaded data is called: the file's name without suffix, made harmless."""
        if self.upload is None:
            return None
        name = safe_name(self.upload)
        # A folder of that name would be taken for the model, which it would stand in front of.
        taken = {model.partition("@")[0] for model in self.models}
        return f"{name}-data" if name in taken else name

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        plain = asdict(self) | {"models": list(self.models)}
        return plain | {"upload": None if self.upload is None else str(self.upload)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RankRequest:
        """Read back what :meth:`to_dict` wrote."""
        given = {field.name: values[field.name] for field in fields(cls)}
        given["models"] = tuple(given["models"])
        given["upload"] = Path(given["upload"]) if given["upload"] is not None else None
        return cls(**given)

    def _config(self, dataset: str, limits: Limits) -> RankConfig:
        return RankConfig(
            dataset=dataset,
            models=self.models,
            top=self.top,
            samples=self.samples,
            metric=self.metric,
            seed=self.seed,
            split=self.split,
            input_column=self.input_column,
            label_column=self.label_column,
            max_params=self.max_params or limits.params,
        )

    def _check_data(self, limits: Limits) -> None:
        if (self.dataset is None) == (self.upload is None):
            given = "neither was" if self.dataset is None else "both were"
            raise ConfigError(
                f"A dataset on the Hub or an uploaded file is needed; {given} given. "
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
    """Refuse anything but ``name`` or ``org/name``, each with an optional ``:config``.

    Raises:
        ConfigError: It is something else, such as a path.
    """
    name, colon, config = dataset.partition(":")
    if not _is_hub_id(name) or (colon and not config) or _NAMES.search(config):
        raise ConfigError(
            f"The dataset {_short(dataset)} is no Hub id. Give it as org/name or org/name:config, "
            "as on its page on the Hub, or upload a file."
        )


def check_model(model: str) -> None:
    """Refuse anything but ``name`` or ``org/name``, each with an optional ``@revision``.

    Raises:
        ConfigError: It is something else, such as a path.
    """
    name, at, revision = model.partition("@")
    if not _is_hub_id(name) or (at and not _is_revision(revision)):
        raise ConfigError(
            f"The model {_short(model)} is no Hub id. Give models as org/name or "
            "org/name@revision, one a line, as on their pages on the Hub."
        )


def parse_models(text: str) -> tuple[str, ...]:
    r"""Hub ids out of what a visitor typed: one a line, or between commas; each once.

    The address of a model's page stands for its id, with the revision it shows.

    Example:
        >>> parse_models("acme/vit, acme/bert@v2\nhttps://hub.example/acme/vit/tree/main")
        ('acme/vit', 'acme/bert@v2', 'acme/vit@main')
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    words = (word for line in lines for word in _SEPARATORS.split(line) if word)
    return tuple(dict.fromkeys(_model_id(word) for word in words))


def command(request: RankRequest, limits: Limits | None = None) -> str:
    """The command line that repeats a request; for an upload, with the name of its folder.

    Args:
        request: What was asked for.
        limits: Those that were in force: the largest model is then stated, too.
    """
    dataset = request.dataset
    if request.upload is not None:
        table = request.upload.suffix.lower() in (".csv", ".tsv")
        suffix = request.upload.suffix.lower() if table else "/"
        dataset = f"./{request.upload_name}{suffix}"
    words = ["hf-sfda", "rank", "--dataset", dataset or ""]
    if request.models:
        words += ["--models", *request.models]
    else:
        words += ["--top", str(request.top)]
    largest = request.max_params or (limits.params if limits else None)
    if largest is not None:
        words += ["--max-params", str(largest)]
    words += ["--samples", str(request.samples)]
    for option in ("metric", "seed", "split", "input_column", "label_column"):
        value = getattr(request, option)
        if value != getattr(_DEFAULT, option):
            words += [f"--{option.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _is_hub_id(name: str) -> bool:
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    try:
        utils.validate_repo_id(name)  # type: ignore[attr-defined]  # public, not typed so
    except HFValidationError:
        return False
    # What the Hub's own rule lets through, and a shell or `pathlib` would take for a place.
    return not name.startswith(("~", "/", ".")) and ".." not in name and "\\" not in name


def _is_revision(text: str) -> bool:
    return bool(_REVISION.fullmatch(text)) and ".." not in text and "//" not in text


def _model_id(word: str) -> str:
    if "://" not in word and word.count("/") < 2:
        return word
    rest = _PAGE.sub("", word.partition("?")[0].rstrip("/"), count=1)
    if shown := _IN_PAGE.search(rest):
        return f"{rest[: shown.start()]}@{shown['revision']}"
    return rest


def _within(what: str, advice: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"{value:,} {what} are asked for; here it may be {low:,} to {high:,}. "
            + (f"{advice}, or use the command line." if value > high else "Take more.")
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:99] + "…")
