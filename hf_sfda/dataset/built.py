"""Open what the library ``datasets`` builds out of data files, in a folder or on the Hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import remote
from hf_sfda.dataset.one_split import (
    LOADERS,
    OpenedDataset,
    narrow_to_split,
    open_prepared,
    remember,
    remembered,
    stands_alone,
)
from hf_sfda.dataset.remote import RemoteSplit, SplitFiles
from hf_sfda.dataset.sources import FILES, Source, as_target_error, choose_split, loader_of
from hf_sfda.dataset.tables import check_json_rows, holds_unknown_types, read_files
from hf_sfda.dataset.walk import is_system_name
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.hub import hub_api, load_verified, retry_download

if TYPE_CHECKING:
    from datasets import Dataset

_PACKED = (".zip", ".bz2", ".xz", ".zst", ".lz4", ".7z", ".tar", ".tgz")
"""What ``datasets`` unpacks by itself. Files in ``.gz`` are not among these: they are checked."""

_ON_HUB = re.compile(r"hf://datasets/(?P<repo>[^@]+)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


def open_built(
    dataset: str, split: str | None, loader: str, *, notes_on_files: bool = False, **options: Any
) -> Source:
    """Open anything that ``load_dataset`` reads. The split is chosen before data is downloaded.

    Args:
        dataset: Name of the dataset, for messages.
        split: The requested split.
        loader: A Hub id, a folder, or the name of a loader of ``datasets``.
        notes_on_files: Add notes about a folder: which tables are not read, and which files are
            read although their names are not those of tables.
        options: Options of ``load_dataset``.
    """
    from datasets import load_dataset_builder

    with as_target_error(dataset):
        try:
            builder = retry_download(load_dataset_builder, loader, **options)
        except (OSError, ValueError) as error:  # without a network, both mean: not in the cache
            if (source := _prepared(dataset, split, loader, **options)) is not None:
                return source
            if isinstance(error, ValueError):
                raise _config_error(dataset, loader, options) or error from error
            raise
        if _packaged(builder) == "cache":  # there is no network
            source = _prepared(dataset, split, loader, **options)
            if source is not None:
                return source
    wanted = options.get("revision")
    # If the Hub fails, `datasets` silently loads any cached commit.
    if wanted is not None and builder.hash not in (None, wanted):
        raise other_commit(dataset, builder.hash, wanted)
    with as_target_error(dataset):
        name, data, notes = _read(builder, dataset, split, loader, options)
    config = _shown_config(str(builder.config.name), loader, options)
    notes = (*_note_on_configs(builder, dataset, loader, options), *notes)
    if notes_on_files:
        notes = (*notes, *_note_on_files(builder, Path(loader)))
    return Source(data, wanted, config, name, notes=notes)


def _read(
    builder: Any, dataset: str, split: str | None, loader: str, options: Mapping[str, Any]
) -> tuple[str, Dataset | RemoteSplit, tuple[str, ...]]:
    """The name of the split that is chosen, its rows, and warnings about them."""
    names = _names(builder.info.splits or builder.config.data_files or ())
    chosen = choose_split(dataset, names, split) if names else ""
    others = _other_configs(builder)
    opened = OpenedDataset(builder.config.name, tuple(names), str(builder.config.version), others)
    from_hub = options.get("revision") is not None
    folder = None
    if from_hub:
        parts = in_parts(builder, dataset, loader, chosen, options.get("token"))
        if parts is not None:
            remember(loader, builder.hash, options.get("name"), opened)
            return chosen, parts, ()
        if _stands_alone(builder, chosen):
            folder = narrow_to_split(builder, chosen)

    def load() -> tuple[str, Dataset, tuple[str, ...]]:
        rows = _read_files(builder, chosen, dataset, options.get("token"))
        if rows is not None:
            return (chosen, *rows)
        place = None if folder is None else str(folder)
        retry_download(builder.download_and_prepare, output_dir=place)
        if from_hub and _packaged(builder) != "cache":
            remember(loader, builder.hash, options.get("name"), opened)
        name = choose_split(dataset, _names(builder.info.splits), split)
        data = builder.as_dataset(split=name)
        if _packaged(builder) == "json":
            check_json_rows(data, dataset)
        return name, data, _note_on_packed(builder, chosen)

    if not from_hub:
        return load()
    prepared = folder or Path(builder.cache_dir)
    return load_verified(loader, load, partial(shutil.rmtree, prepared, ignore_errors=True))


def _read_files(
    builder: Any, split: str, dataset: str, token: str | None
) -> tuple[Dataset, tuple[str, ...]] | None:
    """Read csv files, and parquet and arrow files with types that ``datasets`` does not support.

    Json files are only checked here.

    Returns:
        The rows and warnings; ``None`` if ``datasets`` should read the files, because it supports
        them or because the dataset declares reading options.
    """
    loader = _packaged(builder)
    if loader not in ("csv", "json", "parquet", "arrow") or not _has_default_options(builder):
        return None
    places = [str(place) for place in (builder.config.data_files or {}).get(split, ())]
    # `zip://a.csv::hf://...` is a file inside a file. `datasets` reads files of other servers.
    plain = all("://" not in place or _ON_HUB.fullmatch(place) for place in places)
    if not places or not plain or any(loader_of(Path(place)) != loader for place in places):
        return None
    first = fetched(places[0], token)
    if loader in ("parquet", "arrow") and not holds_unknown_types(first):
        return None
    rows = read_files(loader, [first, *(fetched(place, token) for place in places[1:])], dataset)
    if loader != "csv" or rows is None:
        return rows
    data, notes = rows
    return _as_declared(data, builder.info.features), notes


def _as_declared(data: Dataset, features: Any) -> Dataset:
    """Cast the rows to the features that the README declares, such as named classes."""
    if features is None or set(features) != set(data.column_names):
        return data
    return data.select_columns(list(features)).cast(features)


def _is_packed(name: str) -> bool:
    return name.lower().endswith(_PACKED)


def _note_on_packed(builder: Any, split: str) -> tuple[str, ...]:
    """Say that csv files in archives are read without a check of each row."""
    places = [str(place) for place in (builder.config.data_files or {}).get(split, ())]
    packed = [place.split("::")[-1].rsplit("/", 1)[-1] for place in places]
    packed = list(dict.fromkeys(name for name in packed if _is_packed(name)))
    if _packaged(builder) != "csv" or not packed:
        return ()
    return (
        f"The csv files in {listing(packed, 5)} were read without the checks of csv files: cells "
        "such as NA are missing values, and names such as 01 may be read as numbers. Unpack them "
        "to have these read as names.",
    )


def _note_on_files(builder: Any, folder: Path) -> tuple[str, ...]:
    """Say which files ``datasets`` leaves out for their format, and which it takes for tables.

    It reads files of one format only, and a backup such as ``train.csv.bak`` as well.
    """
    places = [Path(str(p)) for files in (builder.config.data_files or {}).values() for p in files]
    read = {place.resolve() for place in places}
    tables = [place for place in sorted(folder.rglob("*")) if loader_of(place) is not None]
    unread = [
        str(place.relative_to(folder))
        for place in tables
        if place.resolve() not in read
        and not any(is_system_name(part) for part in place.relative_to(folder).parts)
        and place.name not in ("dataset_info.json", "dataset_infos.json")
    ]
    notes = []
    if unread and _packaged(builder) in set(FILES.values()):
        notes.append(
            f"These data files in {folder} were not read: {listing(unread, 5)}. Files of one "
            "format are read, and those named after splits if there are any."
        )
    if odd := [p.name for p in places if loader_of(p) is None and not _is_packed(p.name)]:
        notes.append(
            f"These files were read as tables, too: {listing(odd, 5)}. If they are copies, move "
            "them out of the folder."
        )
    return tuple(notes)


def split_to_read(builder: Any, dataset: str, split: str | None) -> tuple[str, list[str]]:
    """The split of a dataset on the Hub that is chosen, and the data files that it needs.

    Raises:
        TargetError: The split does not exist, or the choice is ambiguous.
    """
    files = builder.config.data_files or {}
    names = _names(builder.info.splits or files)
    chosen = choose_split(dataset, names, split) if names else ""
    wanted = [chosen] if _stands_alone(builder, chosen) else list(files)
    return chosen, [str(file) for name in wanted for file in files[name]]


def in_parts(
    builder: Any, dataset: str, repo: str, split: str, token: str | None
) -> RemoteSplit | None:
    """Open a split of a dataset on the Hub in parts, if it consists of very large parquet files.

    This depends only on the dataset, not on what is in the cache: the sample is drawn otherwise.

    Returns:
        The split; ``None`` if it must be downloaded.
    """
    from huggingface_hub import get_cached_repo_tree

    if _packaged(builder) != "parquet" or not _has_default_options(builder):
        return None
    data_files = builder.config.data_files or {}
    places = [_ON_HUB.fullmatch(str(place)) for place in data_files.get(split, ())]
    paths = tuple(match["path"] for match in places if match is not None)
    commit = builder.hash
    tree = get_cached_repo_tree(repo, repo_type="dataset", revision=commit)
    sizes = {file.path: file.size for file in tree}
    if len(paths) < len(places) or not set(paths) <= set(sizes):
        return None
    files = SplitFiles(
        dataset, repo, commit, builder.config.name, split, paths, tuple(sizes[p] for p in paths)
    )
    if files.weight <= remote.LARGE:
        return None
    declared = builder.info.features
    first = _ON_HUB.fullmatch(str(next(iter(data_files.values()))[0]))
    if declared is None and first is not None:
        # `datasets` takes the features of all splits from the first file
        path = first["path"]
        head = replace(files, paths=(path,), sizes=(sizes[path],))
        declared = RemoteSplit(head, None, token).features
    parts = RemoteSplit(files, declared, token)
    if not parts.is_supported():
        return None
    remote.remember_files(files, declared)
    return parts


def _stands_alone(builder: Any, split: str) -> bool:
    return _packaged(builder) in LOADERS and stands_alone(builder, split)


def _shown_config(config: str, loader: str, options: Mapping[str, Any]) -> str | None:
    """The name of a configuration; ``None`` if there is only a default one."""
    unnamed = options.get("name") is None and (config == "default" or loader == "imagefolder")
    return None if unnamed else config


def _prepared(dataset: str, split: str | None, repo: str, **options: Any) -> Source | None:
    """Open a split that an earlier run has prepared, without a network; ``None`` if it has not."""
    commit, name = options.get("revision"), options.get("name")
    opened = remembered(repo, commit, name) if commit is not None else None
    if commit is None or opened is None:
        return None
    chosen = choose_split(dataset, opened.splits, split)
    shown_config = _shown_config(opened.config, repo, options)
    token = options.get("token")
    notes = () if name else _default_note(dataset, opened.config, opened.others)
    parts = remote.remembered_split(dataset, repo, commit, opened.config, chosen, token)
    if parts is not None:
        return Source(parts, commit, shown_config, chosen, notes=notes)
    builder = open_prepared(repo, commit, opened, chosen)
    if builder is None:
        return None
    data = builder.as_dataset(split=chosen)
    if builder.info.builder_name == "json":
        check_json_rows(data, dataset)
    return Source(data, commit, shown_config, chosen, notes=notes)


def _packaged(builder: Any) -> str:
    """The loader of ``datasets`` that a builder belongs to, such as ``csv``."""
    modules = (base.__module__ for base in type(builder).__mro__)
    prefix = "datasets.packaged_modules."
    return next((name.split(".")[-1] for name in modules if name.startswith(prefix)), "")


def _has_default_options(builder: Any) -> bool:
    """Whether the dataset declares no reading options, such as a separator."""
    from datasets import BuilderConfig

    config = builder.config
    plain = type(config)()
    general = {f.name for f in fields(BuilderConfig)}
    names = [f.name for f in fields(config) if f.name not in general and f.name != "features"]
    return all(getattr(config, name) == getattr(plain, name) for name in names)


def fetched(place: str, token: str | None) -> Path:
    """Path of a data file, which is downloaded first if it is on the Hub."""
    match = _ON_HUB.fullmatch(place)
    if match is None:
        return Path(place)
    repo, commit, path = match["repo"], match["commit"], match["path"]
    api = hub_api(token)
    download = partial(api.hf_hub_download, repo, path, repo_type="dataset", revision=commit)
    return Path(load_verified(repo, lambda: retry_download(download), lambda: None))


def other_commit(dataset: str, loaded: str, wanted: str) -> TargetError:
    """The error that only another commit of a dataset can be read here."""
    return TargetError(
        f"{dataset} cannot be read at {wanted}: the Hub cannot be reached or fails, and the local "
        f"cache holds another commit, {loaded}. Try later, or pass --revision {loaded}."
    )


def _note_on_configs(
    builder: Any, dataset: str, loader: str, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Say that the default configuration is read and others are not, unless the user chose it."""
    if options.get("name") is not None:
        return ()
    known = remembered(loader, builder.hash, None) if _packaged(builder) == "cache" else None
    others = known.others if known is not None else _other_configs(builder)
    return _default_note(dataset, str(builder.config.name), others)


def _other_configs(builder: Any) -> tuple[str, ...]:
    """The names of the configurations that are not read, if the one that is read is one of them."""
    names = _names(config.name for config in builder.BUILDER_CONFIGS)
    chosen = str(builder.config.name)
    return tuple(name for name in names if name != chosen) if chosen in names else ()


def _default_note(dataset: str, chosen: str, others: Sequence[str]) -> tuple[str, ...]:
    if not others:
        return ()
    return (
        f"The configuration {chosen!r} is read, the default one. To read another one, pass "
        f"{dataset}:NAME: {listing(others, most=10)}.",
    )


def _names(splits: Iterable[Any]) -> list[str]:
    return [str(name) for name in splits]  # datasets uses a subclass of str


def _config_error(dataset: str, loader: str, options: Mapping[str, Any]) -> TargetError | None:
    """The error if a configuration is missing or unknown, with the allowed names."""
    from datasets import get_dataset_config_names

    names = get_dataset_config_names(
        loader, revision=options.get("revision"), token=options.get("token")
    )
    config = options.get("name")
    if config in names or (config is None and len(names) < 2):
        return None
    what = "has several configurations" if config is None else f"has no configuration {config!r}"
    return TargetError(
        f"{dataset} {what}; pass one as {dataset}:NAME. Allowed: {', '.join(names)}."
    )
