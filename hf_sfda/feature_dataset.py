"""A features dataset: a dataset repository with features, to rank without weights and GPU.

It holds entries of a feature store as they are (:mod:`hf_sfda.store`), and an index with one line
an entry that says whose features these are. :mod:`hf_sfda.publish.features` writes it.

Features are keyed as in a local store, by the revision of the model and the inputs. So they are
only used for exactly the same samples. Nobody can check from here whether this model computed
them: a ranking says where they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, PublishError, StoreError
from hf_sfda.extract.run import feature_key
from hf_sfda.foreign import ForeignError, clean, listing, read_json
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, download_files, find_head, read_file
from hf_sfda.secrets import redact
from hf_sfda.session import Session
from hf_sfda.store import FeatureKey
from hf_sfda.typed import typed
from hf_sfda.types import Candidate, Scan, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi

INDEX = "features.jsonl"
FOLDER = "features"
TARGETS = "targets"


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One line of the index: whose features an entry holds.

    Attributes:
        feature_key: Name of the entry, :attr:`hf_sfda.store.FeatureKey.digest`.
        model: Hub id of the model, or the name of its folder.
        revision: Commit of the model, or ``sha256:...`` of a folder.
        library: Library of the model.
        params: Number of parameters.
        weights_bytes: Size of its weights.
        license: Its licence.
        dataset: Hub id of the dataset, or its name.
        dataset_revision: Commit of the dataset; ``None`` if it was local.
        split: Split of the samples.
        samples: Number of samples.
        seed: Seed of the sample.
        target: Fingerprint of samples and labels; ``targets/TARGET.json`` has the labels.
        bytes: Size of the features.
        sha256: Checksum of the features.
        key: The fields of the :class:`~hf_sfda.store.FeatureKey`.
    """

    feature_key: str
    model: str
    revision: str
    library: str | None
    params: int | None
    weights_bytes: int | None
    license: str | None
    dataset: str
    dataset_revision: str | None
    split: str
    samples: int
    seed: int
    target: str
    bytes: int
    sha256: str
    key: Mapping[str, Any]

    def candidate(self) -> Candidate:
        """The model as a candidate, without a place to load its weights from if it was local."""
        return Candidate(
            self.model,
            source="local" if self.revision.startswith("sha256:") else "hub",
            revision=self.revision,
            library=self.library,
            params=self.params,
            download_bytes=self.weights_bytes,
            license=self.license,
        )


@dataclass(frozen=True)
class FeatureDataset:
    """A features dataset at a commit.

    Attributes:
        repo: The repository.
        sha: The commit.
        rows: The index.
    """

    repo: Repo
    sha: str
    rows: tuple[IndexRow, ...]

    @property
    def name(self) -> str:
        """The repository at its commit, as ``--features`` takes it."""
        return f"{self.repo.id}@{self.sha}"

    def candidates(self, target: Target, config: RankConfig) -> list[Candidate]:
        """The models that have features of these samples, with these options.

        Raises:
            ConfigError: No model has any.
        """
        candidates = [
            candidate
            for row in self.rows
            if feature_key(candidate := row.candidate(), target, config).digest == row.feature_key
        ]
        if not candidates:
            raise ConfigError(
                f"{self.repo.id} holds no features of these {len(target):,} samples. It has: "
                f"{self._samples()}. Use the same dataset, --revision, --samples, --seed, --dtype, "
                "--max-length and --batch-norms, or leave out --features."
            )
        return candidates

    def _samples(self) -> str:
        kinds = dict.fromkeys(
            f"{row.dataset}{f' @ {row.dataset_revision[:7]}' if row.dataset_revision else ''} "
            f"({row.samples:,} samples of {row.split}, seed {row.seed})"
            for row in self.rows
        )
        return listing(kinds, most=3) or "nothing"

    def find(self, keys: Sequence[FeatureKey]) -> dict[str, IndexRow]:
        """The rows of these features, by the name of the entry."""
        wanted = {key.digest for key in keys}
        return {row.feature_key: row for row in self.rows if row.feature_key in wanted}

    def copy_missing(
        self, scan: Scan, target: Target, config: RankConfig, session: Session
    ) -> Scan:
        """Copy the features of candidates that a store lacks.

        Args:
            scan: The candidates.
            target: The samples.
            config: The options that features depend on.
            session: Token, feature store and progress.

        Returns:
            The scan; a candidate whose features are damaged has failed, with the reason.
        """
        keys = {c: feature_key(c, target, config) for c in scan.candidates if c.skip is None}
        rows = self.find([key for key in keys.values() if not session.feature_store.has(key)])
        total = sum(row.bytes for row in rows.values())
        candidates = []
        with session.progress.task("download", "features", total=total, unit="B") as advance:
            for candidate in scan.candidates:
                row = rows.get(keys[candidate].digest) if candidate in keys else None
                if row is not None:
                    try:
                        self._copy(keys[candidate], session)
                    except (PublishError, StoreError) as error:
                        reason = redact(str(error))
                        candidate = replace(candidate, skip=reason, status="failed")
                    advance(row.bytes)
                candidates.append(candidate)
        return replace(scan, candidates=tuple(candidates))

    def _copy(self, key: FeatureKey, session: Session) -> None:
        paths = entry_paths(key.digest)
        folder = download_files(hub_api(session.token), self.repo, paths, self.sha)
        try:
            marker, content = ((folder / path).read_bytes() for path in paths)
            session.feature_store.add(key, marker, content)
        except FileNotFoundError as error:
            raise StoreError(f"{self.repo.id} lacks its features, {paths[1]}") from error
        except StoreError as error:
            raise StoreError(f"its features in {self.repo.id} cannot be used: {error}") from error

    def warnings(self, keys: Sequence[FeatureKey]) -> list[str]:
        """What a ranking with these features should warn of."""
        return [features_warning(self.name)] if self.find(keys) else []


def features_warning(source: str) -> str:
    """A warning of a ranking: what others computed cannot be checked here.

    Args:
        source: The features dataset at its commit.
    """
    return (
        f"Features come from {source}. Whether the models computed them cannot be checked without "
        "running them."
    )


def entry_paths(digest: str) -> tuple[str, str]:
    """The paths of an entry in the repository: its marker and its features."""
    return f"{FOLDER}/{digest}.json", f"{FOLDER}/{digest}.safetensors"


def open_features(name: str, token: str | None = None) -> FeatureDataset:
    """Read the index of a features dataset.

    Args:
        name: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        token: Hub token.

    Raises:
        ConfigError: The repository does not exist, or is no features dataset.
        PublishError: The Hub refuses or fails.
    """
    repo_id, _, revision = name.partition("@")
    api, repo = hub_api(token), Repo(repo_id, "dataset")
    sha = find_head(api, repo, revision or "main")
    if sha is None:
        raise ConfigError(f"The {repo} does not exist, or your token may not read it.")
    return FeatureDataset(repo, sha, tuple(read_index(api, repo, sha)))


def read_index(api: HfApi, repo: Repo, sha: str) -> list[IndexRow]:
    """The index of a features dataset at a commit.

    Raises:
        ConfigError: The repository has no index, or an invalid one.
        PublishError: The Hub refuses or fails.
    """
    content = read_file(api, repo, INDEX, sha)
    if content is None:
        raise ConfigError(
            f"The {repo} is no features dataset: it has no {INDEX}. `hf-sfda cache export` "
            "makes one."
        )
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(_parse(read_json(line)))
        except (ForeignError, ConfigError) as error:
            raise ConfigError(f"{INDEX} of {repo} is damaged in line {number}: {error}") from error
    return rows


def dump_index(rows: Sequence[IndexRow]) -> bytes:
    """The index as it is stored."""
    return "".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows).encode()


def _parse(values: object) -> IndexRow:
    """A line of the index. Fields that a newer version may have added are passed over.

    Raises:
        ConfigError: A field is missing, has another type, or does not fit the key.
    """
    if not isinstance(values, dict):
        raise ConfigError("it is no object")
    kinds = _kinds()
    missing = [name for name in kinds if name not in values]
    if missing:
        raise ConfigError(f"{missing[0]} is missing")
    texts: dict[str, Any] = {
        name: clean(value) if isinstance(value := typed(values[name], kind, name), str) else value
        for name, kind in kinds.items()
        if name != "key"
    }
    key = values["key"]
    try:
        digest = FeatureKey(**key).digest
    except TypeError as error:
        raise ConfigError("key is not the key of a feature store") from error
    row = IndexRow(**texts, key=key)
    if (digest, key["model"]) != (row.feature_key, row.revision):
        raise ConfigError("feature_key and revision do not fit the key")
    return row


@cache
def _kinds() -> dict[str, Any]:
    hints = get_type_hints(IndexRow)
    return {field.name: hints[field.name] for field in fields(IndexRow)}
