"""Publish the best fine-tuned model of a run: its weights, and a card with what was measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.finetune.export import BODY_AND_HEAD, HEAD, Exported
from hf_sfda.finetune.kept import NOTE, Kept, kept_folder, read_kept
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import (
    Account,
    Repo,
    find_head,
    is_private,
    is_repo_id,
    list_files,
    read_file,
    require_write,
    who_am_i,
)
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.edits import parse_card
from hf_sfda.publish.names import is_local_model, private_sources, public_dataset, public_model
from hf_sfda.ranking.measurements import read_measurements
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.types import MEASURE_IDS, Finetuned, Measure, Measurement, ModelRow, Ranking
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TAG = "hf-sfda"
_README = "README.md"
_STAYS = re.compile(r"\..*|LICEN[CS]E[^/]*|CITATION[^/]*|.*\.(?:md|png|jpe?g)", re.IGNORECASE)
"""Files beside a model that its owner may have added: a new model leaves them there."""


@dataclass(frozen=True)
class Destination:
    """Where a model will be published.

    Attributes:
        repo: The repository.
        account: Who writes.
        head: Its newest commit; ``None`` if it will be created.
        private: Whether it is or will be private.
    """

    repo: Repo
    account: Account
    head: str | None
    private: bool

    def describe(self) -> str:
        """One line of a plan."""
        kind = "private" if self.private else "public"
        if self.head is None:
            return f"{self.repo}: a new {kind} repository"
        return f"{self.repo}: the {kind} repository, whose model and card are replaced"


def find_destination(to: str, *, private: bool, token: str | None = None) -> Destination:
    """Check that a model may be published in a repository, before anything is trained.

    Args:
        to: ``OWNER/NAME``.
        private: Whether a new repository is private.
        token: Hub token with write access; ``None`` uses the current login.

    Raises:
        PublishError: The name is none, the token may not write there, or the repository holds a
            model that hf-sfda did not publish.
    """
    if not is_repo_id(to):
        raise PublishError(f"--push-to is {to!r}; give a model as OWNER/NAME, such as me/birds.")
    api, repo = hub_api(token), Repo(to)
    account = who_am_i(api)
    head = find_head(api, repo)
    if head is None and repo.namespace not in account.namespaces:
        raise PublishError(
            f"{account.name} cannot make {repo}: it belongs to {repo.namespace}. Use one of "
            f"{', '.join(sorted(account.namespaces))}."
        )
    require_write(api, account, repo, exists=head is not None)
    if head is not None:
        _require_ours(api, repo, head)
        private = is_private(api, repo)
    return Destination(repo, account, head, private)


def _require_ours(api: HfApi, repo: Repo, head: str) -> None:
    files = set(list_files(api, repo, head)) - {".gitattributes"}
    if not files:
        return
    readme = read_file(api, repo, _README, head) if _README in files else None
    tags = parse_card(readme, f"{_README} of {repo}").data.get("tags") if readme else None
    if not isinstance(tags, list) or _TAG not in tags:
        raise PublishError(
            f"{repo} holds a model that hf-sfda did not publish. It is left as it is; push to a "
            "repository of its own."
        )


def plan_model(run_dir: str | Path, destination: Destination, *, token: str | None = None) -> Plan:
    """Plan the publication of the network that ``hf-sfda finetune --save`` kept; write nothing.

    Args:
        run_dir: The run directory.
        destination: Where to.
        token: Hub token.

    Raises:
        PublishError: No network is kept, or its measurement is gone.
    """
    directory, repo = Path(run_dir), destination.repo
    ranking, api = read_ranking(directory), hub_api(token)
    kept = read_kept(directory)
    if kept is None:
        raise PublishError(
            f"{kept_folder(directory)} holds no model. `hf-sfda finetune {directory} --save --yes` "
            "trains the best one and keeps it."
        )
    finetuned, measurement = _measurement_of(directory, kept)
    row = next(row for row in ranking.rows if row.model_id == kept.model_id)
    values = card_values(repo, ranking, row, finetuned, measurement, kept.exported)
    folder = kept_folder(directory)
    wanted = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE
    }
    wanted[_README] = render_card("finetuned_model", **values).encode()
    files = _changes(api, repo, destination.head, wanted)
    warnings = _warnings(api, destination, ranking, row)
    if not files:
        line = f"{repo} holds this model already"
        return Plan(directory, destination.account.name, (), (line,), warnings)
    name = public_model(row)
    commit = Commit(
        repo=repo,
        parent=destination.head,
        files=files,
        message=f"{name} fine-tuned, {measurement.measure} {measurement.value:.3f}",
        description=f"Written by hf-sfda {__version__}.",
        private=destination.private,
    )
    return Plan(directory, destination.account.name, (commit,), (), warnings)


def _measurement_of(directory: Path, kept: Kept) -> tuple[Finetuned, Measurement]:
    for finetuned in reversed(read_measurements(directory)):
        for measurement in finetuned.measurements:
            if kept.is_of(finetuned, measurement):
                return finetuned, measurement
    raise PublishError(
        f"finetuned.json has no measurement of the model in {kept_folder(directory)}, so its card "
        "could say nothing true. Run `hf-sfda finetune` with --save again."
    )


def _changes(
    api: HfApi, repo: Repo, head: str | None, wanted: dict[str, bytes]
) -> tuple[FileChange, ...]:
    """The files that differ from those in the repository; those of the old model are deleted."""
    existing = list_files(api, repo, head) if head else []
    old = {path for path in existing if not _STAYS.fullmatch(path)}
    changes = []
    for path in sorted({*wanted, *old}):
        before = read_file(api, repo, path, head) if head and path in existing else None
        after = wanted.get(path)
        if before != after:
            changes.append(
                FileChange(path, before, after, _preview(path, after), _preview(path, before))
            )
    return tuple(changes)


def _preview(path: str, content: bytes | None) -> tuple[str, ...] | None:
    """One line instead of the content, for all but the card."""
    if content is None or path == _README:
        return None
    return (f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}",)


def warn_before_training(
    destination: Destination, ranking: Ranking, rows: Sequence[ModelRow], token: str | None = None
) -> tuple[str, ...]:
    """What the user should know of a publication while the best model is not known yet.

    Args:
        destination: Where to.
        ranking: The run.
        rows: The models of which one will be published.
        token: Hub token.
    """
    api = hub_api(token)
    texts = [text for row in rows for text in _warnings(api, destination, ranking, row)]
    return tuple(dict.fromkeys(texts))


def _warnings(
    api: HfApi, destination: Destination, ranking: Ranking, row: ModelRow
) -> tuple[str, ...]:
    warnings = []
    if not row.license:
        warnings.append(
            f"The card of {public_model(row)} states no licence, so none is stated for what is "
            "fine-tuned from it. "
            "Ask its author whether you may publish it."
        )
    if not destination.private:
        warnings += [
            f"{repo} is private, and {destination.repo} is public: its name would be seen by "
            "everybody. Push to a private repository (--private) if that is not meant."
            for repo in private_sources(api, destination.account, ranking, [row])
        ]
    return tuple(warnings)


def card_values(
    repo: Repo,
    ranking: Ranking,
    row: ModelRow,
    finetuned: Finetuned,
    measurement: Measurement,
    exported: Exported,
) -> dict[str, Any]:
    """The variables of the card.

    Args:
        repo: Where the model is published.
        ranking: The run.
        row: The row of the checkpoint.
        finetuned: The settings of the measurement, and the others by the same settings.
        measurement: What was measured.
        exported: How the model was saved.
    """
    local, data, recipe = is_local_model(row), finetuned.data, finetuned.recipe
    on_hub = bool(ranking.dataset.get("revision"))
    own_test = data["test"] == "test split"
    low, high = measurement.interval
    return {
        "title": repo.id.split("/")[1],
        "license": row.license,
        "base_model": None if local else row.model_id,
        "base_name": public_model(row),
        "revision": row.revision,
        "library": "timm" if exported.format == "timm" else "transformers",
        "task": f"{exported.modality}-classification",  # the tag of regressions, too
        "dataset_id": ranking.dataset["id"] if on_hub else None,
        "dataset_name": public_dataset(ranking.dataset),
        "dataset_revision": ranking.dataset.get("revision"),
        "split": "test" if own_test else ranking.dataset.get("split"),
        "tested_on": "the test split" if own_test else "held out of the training split",
        "classes": list(ranking.dataset.get("class_names") or ()),
        "measure": measurement.measure,
        "metric": MEASURE_IDS[measurement.measure],
        "value": measurement.value,
        "low": low,
        "high": high,
        "probe_value": measurement.probe_value,
        "among": len(finetuned.measurements),
        "place": row.rank,
        "ranked": len(ranking.ranked),
        "n_train": data["n_train"],
        "n_validation": data["n_validation"],
        "n_test": data["n_test"],
        "learning_rate": f"{measurement.learning_rate:g}",
        "learning_rates": ", ".join(f"{rate:g}" for rate in recipe["learning_rates"]),
        "epoch": measurement.epoch,
        "batch_size": recipe["batch_size"],
        "label_smoothing": recipe["label_smoothing"],
        "device": measurement.device,
        "versions": ", ".join(f"{k} {v}" for k, v in sorted(measurement.versions.items())),
        "label_column": ranking.dataset.get("label_column"),
        "code": usage(repo.id, exported, measurement.measure),
        "modality": exported.modality,
        "own_head": exported.format == BODY_AND_HEAD,
    }


def usage(repo_id: str, exported: Exported, measure: Measure = "accuracy") -> str:
    """Python code that loads the model with its library and predicts one sample."""
    own_head = exported.format == BODY_AND_HEAD
    code = render_card(
        "usage.txt", repo=repo_id, saved=exported, own_head=own_head, head=HEAD, measure=measure
    )
    return code.rstrip("\n")
