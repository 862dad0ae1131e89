"""Publish the features of a run as a features dataset: the plan of ``hf-sfda cache export``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.config import rank_command, with_current_names
from hf_sfda.errors import PublishError
from hf_sfda.feature_dataset import (
    FOLDER,
    INDEX,
    TARGETS,
    IndexRow,
    dump_index,
    entry_paths,
    read_index,
)
from hf_sfda.foreign import read_json_file
from hf_sfda.format import megabytes
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import (
    Repo,
    find_head,
    is_private,
    is_repo_id,
    list_files,
    read_file,
    require_own,
    who_am_i,
)
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.names import private_sources, public_dataset, public_model
from hf_sfda.ranking.runs import RESTORE, load_ranked_target, read_ranking
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.types import ModelRow, Ranking, Target
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_README = "README.md"
_OF_THE_SAMPLES = (
    "split", "input_column", "label_column", "task", "samples", "max_length", "dtype",
    "batch_norms",
)  # fmt: skip
"""Options that decide which samples are drawn, and what their features are."""

REVEALS = (
    "Features reveal something about the samples: with the same model, others can find out whether "
    "a sample of theirs is among yours, search for similar ones, and in part reconstruct images, "
    "texts and sounds. The labels are published, too."
)


def plan_features(
    run_dir: str | Path,
    *,
    to: str,
    private: bool = False,
    session: Session | None = None,
) -> Plan:
    """Plan the publication of the features of all ranked models of a run; write nothing.

    What a dataset holds already stays as it is: only missing features are added.

    Args:
        run_dir: The run directory.
        to: ``OWNER/NAME`` of the features dataset; created if it does not exist.
        private: Whether a new repository is private.
        session: A token with write access, the feature store, and the progress of the reading.

    Raises:
        ConfigError: The run cannot be read.
        TargetError: Its samples cannot be loaded again; the labels are among them.
        PublishError: Features are no longer stored, the token may not write there, or the
            repository holds something else.
    """
    if not is_repo_id(to):
        raise PublishError(f"--to is {to!r}; give a dataset as OWNER/NAME, such as me/features.")
    session = session or Session()
    api, repo = hub_api(session.token), Repo(to, "dataset")
    ranking, store = read_ranking(run_dir), session.feature_store
    account = who_am_i(api)
    instead = f"Publish features to a dataset of your own: --to {account.name}/features"
    require_own(api, account, repo, instead)
    files = _entries(ranking, store)
    target = load_ranked_target(ranking, session)
    commit = _plan_commit(api, repo, ranking, target, files, private=private)
    warnings = [REVEALS]
    if not is_private(api, repo, if_new=private):
        warnings += [
            f"{source} is private, and {repo} is public: everybody could see its features. Publish "
            "to a private dataset (--private) if that is not meant."
            for source in private_sources(api, account, ranking, ranking.rows)
        ]
    if commit is None:
        line = f"{repo} holds the features of all {len(files)} models of this run"
        return Plan(Path(run_dir), account.name, (), (line,))
    return Plan(Path(run_dir), account.name, (commit,), (), tuple(warnings))


def _entries(ranking: Ranking, store: FeatureStore) -> list[tuple[ModelRow, Path, Path]]:
    """The ranked models with the files of their features.

    Raises:
        PublishError: Nothing is ranked, or features are gone.
    """
    entries, gone = [], []
    for row in ranking.ranked:
        paths = store.files_of(row.feature_key or "")
        if paths is None:
            gone.append(public_model(row))
        else:
            entries.append((row, *paths))
    if gone:
        raise PublishError(f"The features of {gone[0]} are no longer stored. {RESTORE}")
    if not entries:
        raise PublishError("The run has no ranked model, so there are no features to publish.")
    return entries


def _plan_commit(
    api: HfApi,
    repo: Repo,
    ranking: Ranking,
    target: Target,
    entries: Sequence[tuple[ModelRow, Path, Path]],
    *,
    private: bool,
) -> Commit | None:
    head = find_head(api, repo)
    paths = list_files(api, repo, head) if head else []
    rows = read_index(api, repo, head) if head and _is_ours(repo, paths) else []
    known = {row.feature_key for row in rows}
    files, new = [], []
    for model, marker, data in entries:
        row = _index_row(model, ranking, marker)
        if row.feature_key in known:
            continue
        known.add(row.feature_key)  # of models with the same weights one entry is enough
        new.append(row)
        for path, file in zip(entry_paths(row.feature_key), (marker, data), strict=True):
            preview = f"{file.stat().st_size:,} bytes, {row.model}"
            files.append(FileChange(path, None, file, preview=(preview,)))
    if not new:
        return None
    labels = f"{TARGETS}/{target.fingerprint}.json"
    if labels not in paths:
        content = json.dumps(_describe(ranking, target)).encode()
        preview = f"{len(target):,} labels, {len(content):,} bytes"
        files.append(FileChange(labels, None, content, preview=(preview,)))
    rows += new
    card = render_card("features_dataset", **card_values(repo, ranking))
    for path, after in ((INDEX, dump_index(rows)), (_README, card.encode())):
        before = read_file(api, repo, path, head) if head and path in paths else None
        if path == _README and before is not None:
            continue  # its owner may have changed it; the index has what is new
        files.append(FileChange(path, before, after))
    size = sum(row.bytes for row in new)
    return Commit(
        repo=repo,
        parent=head,
        files=tuple(files),
        message=f"Add features of {len(new)} models on {new[0].dataset}",
        description=f"{megabytes(size)} MB, written by hf-sfda {__version__}.",
        private=private,
        rebuild=lambda api: _plan_commit(api, repo, ranking, target, entries, private=private),
    )


def _is_ours(repo: Repo, paths: Sequence[str]) -> bool:
    """Whether a repository is a features dataset; an empty one is not yet.

    Raises:
        PublishError: It holds something else.
    """
    if INDEX in paths:
        return True
    others = [path for path in paths if path not in (".gitattributes", _README)]
    if others:
        raise PublishError(
            f"{repo} is no features dataset: it holds {others[0]}. It is left as it is; publish to "
            f"a repository of its own, such as --to {repo.namespace}/features"
        )
    return False


def _index_row(model: ModelRow, ranking: Ranking, marker: Path) -> IndexRow:
    facts = read_json_file(marker)
    return IndexRow(
        feature_key=str(model.feature_key),
        model=public_model(model),
        revision=facts["key"]["model"],
        library=model.library,
        params=model.params,
        weights_bytes=model.download_bytes,
        license=model.license,
        dataset=public_dataset(ranking.dataset),
        dataset_revision=ranking.dataset.get("revision"),
        split=ranking.dataset["split"],
        samples=facts["n_samples"],
        seed=ranking.dataset["seed"],
        target=ranking.dataset["fingerprint"],
        bytes=facts["bytes"],
        sha256=facts["sha256"],
        key=facts["key"],
    )


def _describe(ranking: Ranking, target: Target) -> dict[str, Any]:
    """The labels, for those who add a metric. The ids of samples may be names of files."""
    return {
        "dataset": public_dataset(ranking.dataset),
        "revision": target.revision,
        "config": target.config,
        "split": target.split,
        "seed": target.seed,
        "task": target.task,
        "class_names": list(target.class_names),
        "labels": target.labels.tolist(),
    }


def card_values(repo: Repo, ranking: Ranking) -> dict[str, Any]:
    """The variables of the card of a features dataset; a run gives the example."""
    dataset = ranking.dataset
    # Of the samples that were asked for, some could not be read. Who asks for as many as were read
    # draws others.
    config = with_current_names(ranking.config)
    options = {name: config.get(name) for name in _OF_THE_SAMPLES}
    options |= {
        "dataset": public_dataset(dataset) if dataset.get("revision") else "DATASET",
        "revision": dataset.get("revision"),
        "seed": dataset["seed"],
        "features": repo.id,
    }
    return {
        "repo": repo.id,
        "command": rank_command(options, always=("samples", "seed")),
        "index": INDEX,
        "folder": FOLDER,
        "targets": TARGETS,
    }
