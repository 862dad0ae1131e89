"""A very large split of a dataset on the Hub, of which only parts are read, over HTTP ranges.

Parquet files store each column of each row group apart, and say in their footer where. So the
footers, the label column and the row groups of the sample are enough. What was read is stored under
the commit, and a second run needs no network.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.dataset.features import item_feature
from hf_sfda.dataset.tables import needs_conversion
from hf_sfda.errors import TargetError
from hf_sfda.files import write_atomically
from hf_sfda.foreign import ForeignError, listing, read_json_file
from hf_sfda.format import show_bytes
from hf_sfda.hub import explain, hub_api, retry_read
from hf_sfda.types import IntArray

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, Features

LARGE = 1_000_000_000
"""Bytes of the files of a split. Of a larger one, only parts are read; a smaller one is downloaded,
and its sample is drawn from all of its rows."""

LARGEST_COLUMN = 1_000_000_000
"""Bytes of the largest column that is read for all rows, to find labels or to read them."""

_THREADS = 16  # requests at the same time; the Hub answers each in some 50 ms
_IN_FLIGHT = 256_000_000  # bytes of row groups that are in memory at the same time
_GROUPS_AT_ONCE = 512  # row groups whose label columns are in memory before they are decoded
_MAGIC = b"PAR1"
_END = 8  # a parquet file ends with four bytes for the length of its footer, and the magic bytes
_NOT_READ = frozenset({"Json", "Video", "Nifti", "Pdf", "Mesh", "BioSequence", "BioStructure"})


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split.

    Attributes:
        dataset: Name of the dataset, for messages.
        repo: Id of the dataset.
        commit: Commit sha.
        config: Name of the configuration.
        split: Name of the split.
        paths: Paths of the parquet files in the repository, in the order of the rows.
        sizes: Bytes of each file.
    """

    dataset: str
    repo: str
    commit: str
    config: str
    split: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def weight(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes)

    @property
    def folder(self) -> Path:
        """Where parts of the dataset at this commit are stored."""
        return parts_root() / self.repo.replace("/", "--") / self.commit


class RemoteSplit:
    """The rows of a very large split.

    It has those methods of ``datasets.Dataset`` with which columns are chosen and rows are read,
    and reads only what they ask for.

    Args:
        files: The files of the split.
        declared: The features that the README declares; ``None`` if they are those of the files.
        token: User access token; ``None`` uses the saved login.

    Raises:
        TargetError: The footers of the files cannot be read.
    """

    def __init__(self, files: SplitFiles, declared: Features | None, token: str | None) -> None:
        from datasets import Features

        self.files = files
        self._token = token
        with _target_errors(files.dataset):
            self._folder = files.folder
            self._folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_THREADS) as pool:
                self._footers = list(pool.map(self._footer, range(len(files.paths))))
            schema = self._footers[0].schema.to_arrow_schema()
            self.features: Features = declared or Features.from_arrow_schema(schema)
        sizes = {
            (file, number): footer.row_group(number).num_rows
            for file, footer in enumerate(self._footers)
            for number in range(footer.num_row_groups)
        }
        self._groups = [group for group, n_rows in sizes.items() if n_rows]
        self.group_sizes: IntArray = np.array([n for n in sizes.values() if n], dtype=np.int64)
        self._ends = np.cumsum(self.group_sizes)
        self._columns_read: set[str] = set()
        self._parts_read: set[tuple[int, str]] = set()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.features)

    def select_columns(self, names: Sequence[str]) -> View:
        """Choose columns; nothing is read yet."""
        return View(self, tuple(names))

    def is_supported(self) -> bool:
        """Whether the rows are the same as those that ``datasets`` would read.

        If not, the split must be downloaded: the files differ in their columns, or hold types that
        are converted when they are read.
        """
        names = sorted(self.features)
        schemas = [footer.schema.to_arrow_schema() for footer in self._footers]
        return (
            len(self) > 0
            and not any("." in name for name in names)  # parquet names nested columns so
            and not {"__key__", "__url__"} <= set(names)  # a WebDataset, which is rearranged
            and not any(_type_names(feature) & _NOT_READ for feature in self.features.values())
            and all(sorted(schema.names) == names for schema in schemas)
            and not any(needs_conversion(kind) for schema in schemas for kind in schema.types)
        )

    def note(self) -> str:
        """What was read, and what it means for the sample, for people."""
        groups = {g for g, _ in self._parts_read}
        columns = sorted(self._columns_read)
        word = "column" if len(columns) == 1 else "columns"
        return (
            f"The split {self.files.split!r} weighs {show_bytes(self.files.weight)}, so only the "
            f"index of its files, the {word} {listing(map(repr, columns), 5)} and {len(groups):,} "
            f"of {len(self._groups):,} row groups were read: {show_bytes(self.bytes_read)}. The "
            "sample lies in these row groups."
        )

    @property
    def bytes_read(self) -> int:
        """Bytes of the footers, and of all columns and row groups that were used so far."""
        parts = {(g, name) for name in self._columns_read for g in range(len(self._groups))}
        read = sum(int(self._weights[name][g]) for g, name in parts | self._parts_read)
        return read + self._footers_weight

    def estimate(self, samples: int) -> int:
        """Bytes that a sample needs, before it is known which column holds the labels.

        It is counted as if all columns but the heaviest are read, and half of the rows in the row
        groups of the sample are used.
        """
        weights = sorted(int(weights.sum()) for weights in self._weights.values())
        share = min(1.0, 2 * samples / max(len(self), 1))
        heaviest = round(weights.pop() * share) if weights else 0
        return self._footers_weight + sum(weights) + heaviest

    # -- reading

    def is_too_large(self, name: str) -> bool:
        """Whether :meth:`read_column` refuses a column."""
        return int(self._weights[name].sum()) > LARGEST_COLUMN

    def read_column(self, name: str) -> pa.Table:
        """One column of all rows.

        Raises:
            TargetError: The column is too large, or it cannot be read.
        """
        import pyarrow as pa

        if self.is_too_large(name):
            weight = show_bytes(int(self._weights[name].sum()))
            raise TargetError(
                f"The column {name!r} of {self.files.dataset} weighs {weight}, too much to be read "
                "for its labels. Pass the label column with --label-column."
            )
        self._columns_read.add(name)
        place = self._place(name, "column", *self.files.paths)
        with _target_errors(self.files.dataset):
            table = _stored(place)
            if table is None:
                groups = range(len(self._groups))
                parts = [
                    self._cut_out(groups[start : start + _GROUPS_AT_ONCE], name)
                    for start in range(0, len(groups), _GROUPS_AT_ONCE)
                ]
                table = pa.concat_tables(pa.concat_tables(part) for part in parts)
                table = table.combine_chunks()
                _store(place, table)
            return self._cast(table)

    def read_rows(self, rows: IntArray, name: str) -> pa.Table:
        """One column of some rows, in this order; their row groups are read.

        Raises:
            TargetError: They cannot be read.
        """
        import pyarrow as pa

        groups, position = np.unique(
            np.searchsorted(self._ends, rows, side="right"), return_inverse=True
        )
        starts = self._ends[groups] - self.group_sizes[groups]
        largest = max((int(self._weights[name][g]) for g in groups), default=0)
        threads = min(_THREADS, max(1, _IN_FLIGHT // max(1, largest)))

        def rows_of(i: int) -> pa.Table:
            inside = rows[position == i] - starts[i]
            return self._group(int(groups[i]), name).take(pa.array(inside))

        with _target_errors(self.files.dataset):
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(rows_of, range(len(groups))))
            if not parts:
                return self._cast(self._group(0, name).slice(0, 0))
            table = pa.concat_tables(parts)
            by_group = np.argsort(position, kind="stable")
            if np.any(np.diff(by_group) < 0):  # not for a sample, which may have too many bytes
                table = table.take(pa.array(np.argsort(by_group)))
            return self._cast(table)

    def _group(self, group: int, name: str) -> pa.Table:
        """One column of one row group, as it is stored."""
        self._parts_read.add((group, name))
        file, number = self._groups[group]
        place = self._place(name, f"group {number}", self.files.paths[file])
        table = _stored(place)
        if table is None:
            [table] = self._cut_out([group], name)
            _store(place, table)
        return table

    def _cut_out(self, groups: Sequence[int], name: str) -> list[pa.Table]:
        """One column of some row groups, in memory, from the Hub."""
        files = [self._groups[group][0] for group in groups]
        starts, ends = zip(*(self._span(group, name) for group in groups), strict=True)
        with ThreadPoolExecutor(_THREADS) as pool:
            contents = list(pool.map(self._fetch, files, starts, ends))
        return [
            self._decode(group, name, start, content)
            for group, start, content in zip(groups, starts, contents, strict=True)
        ]

    def _decode(self, group: int, name: str, start: int, content: bytes) -> pa.Table:
        import pyarrow.parquet as pq

        file, number = self._groups[group]
        source = _Ranges(self, file, start, content)
        opened = pq.ParquetFile(source, metadata=self._footers[file])
        table = opened.read_row_group(number, columns=[name], use_threads=False)
        if table.num_rows != self.group_sizes[group] or table.column_names != [name]:
            raise OSError(f"row group {number} of {self.files.paths[file]} is damaged")
        return table.replace_schema_metadata(None)

    def _span(self, group: int, name: str) -> tuple[int, int]:
        """First byte of a column of a row group, and the one after its last."""
        file, number = self._groups[group]
        row_group = self._footers[file].row_group(number)
        chunks = [row_group.column(i) for i in self._leaves[file][name]]
        starts = [_start(chunk) for chunk in chunks]
        ends = [s + c.total_compressed_size for s, c in zip(starts, chunks, strict=True)]
        return min(starts), max(ends)

    @cached_property
    def _weights(self) -> Mapping[str, IntArray]:
        """Column -> (G,) bytes in each row group."""
        weights = {name: np.zeros(len(self._groups), dtype=np.int64) for name in self.features}
        for i, (file, number) in enumerate(self._groups):
            row_group = self._footers[file].row_group(number)
            for name, leaves in self._leaves[file].items():
                weights[name][i] = sum(row_group.column(k).total_compressed_size for k in leaves)
        return weights

    @property
    def _footers_weight(self) -> int:
        return sum(footer.serialized_size for footer in self._footers)

    @cached_property
    def _leaves(self) -> list[dict[str, list[int]]]:
        """For each file: column -> numbers of the parquet columns that it consists of."""
        return [_leaves(footer) for footer in self._footers]

    def _cast(self, table: pa.Table) -> pa.Table:
        from datasets import Features
        from datasets.table import table_cast

        features = Features({name: self.features[name] for name in table.column_names})
        return table_cast(table, features.arrow_schema)

    # -- footers, requests and stored parts

    def _footer(self, file: int) -> pq.FileMetaData:
        import pyarrow as pa
        import pyarrow.parquet as pq

        place = self._place("", "footer", self.files.paths[file])
        with suppress(OSError, pa.ArrowException):
            return pq.read_metadata(place)
        footer = pq.read_metadata(io.BytesIO(_MAGIC + self._fetch_footer(file)))
        content = io.BytesIO()
        footer.write_metadata_file(content)
        write_atomically(place, content.getvalue())
        return footer

    def _fetch_footer(self, file: int) -> bytes:
        """The footer of a file, to its end. pyarrow would fetch 64 KB first, and then the rest.

        Raises:
            OSError: It is no parquet file.
        """
        size = self.files.sizes[file]
        end = self._fetch(file, max(0, size - _END), size)
        length = int.from_bytes(end[:4], "little") + _END
        if end[4:] != _MAGIC or length + len(_MAGIC) > size:
            raise OSError(f"{self.files.paths[file]} is no parquet file, or it is damaged")
        return self._fetch(file, size - length, size)

    def _place(self, column: str, what: str, *paths: str) -> Path:
        """The file in which a part is stored."""
        return self._folder / _digest(what, column, *paths)

    def _fetch(self, file: int, start: int, end: int) -> bytes:
        """Bytes of a file on the Hub.

        Raises:
            OSError: The answer has another length.
        """
        content: bytes = retry_read(
            self._hub.cat_file,
            f"datasets/{self.files.repo}@{self.files.commit}/{self.files.paths[file]}",
            start=start,
            end=end,
            cache_type="none",  # otherwise more is fetched, in the hope that it will be needed
        )
        if len(content) != end - start:
            raise OSError(
                f"the Hub sent {len(content):,} bytes of {self.files.paths[file]} where "
                f"{end - start:,} were asked for; try again later"
            )
        return content

    @cached_property
    def _hub(self) -> Any:
        from huggingface_hub import HfFileSystem

        hub_api(self._token)  # so that the token is masked, and waits are logged
        return HfFileSystem(token=self._token, skip_instance_cache=True)


class View:
    """Some columns of a :class:`RemoteSplit`, to be read as ``datasets.Dataset`` is read."""

    def __init__(self, split: RemoteSplit, names: tuple[str, ...], kind: str | None = None) -> None:
        self._split, self._names, self._kind = split, names, kind

    @property
    def features(self) -> Features:
        """The features of these columns."""
        from datasets import Features

        return Features({name: self._split.features[name] for name in self._names})

    def with_format(self, kind: str | None) -> View:
        """Choose the type of what is read, as in ``datasets``."""
        return View(self._split, self._names, kind)

    def select(self, rows: Sequence[int] | IntArray) -> Dataset:
        """Read the row groups of these rows."""
        numbers = np.asarray(rows, dtype=np.int64)
        return self._dataset([self._split.read_rows(numbers, name) for name in self._names])

    def __getitem__(self, rows: slice) -> Any:
        if rows == slice(None):
            return self._dataset([self._split.read_column(name) for name in self._names])[:]
        return self.select(range(len(self._split))[rows])[:]

    def _dataset(self, tables: Sequence[pa.Table]) -> Dataset:
        import pyarrow as pa
        from datasets import Dataset, DatasetInfo
        from datasets.fingerprint import generate_random_fingerprint

        columns = [table.column(0) for table in tables]
        table = pa.table(columns, schema=self.features.arrow_schema)
        info = DatasetInfo(features=self.features)
        data = Dataset(table, info=info, fingerprint=generate_random_fingerprint())
        return data.with_format(self._kind)


class _Ranges(io.RawIOBase):
    """A file on the Hub of which a part is here; others are fetched when they are read."""

    def __init__(self, split: RemoteSplit, file: int, first: int, content: bytes) -> None:
        self._split, self._file, self._first, self._content = split, file, first, content
        self._size, self._position = split.files.sizes[file], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        end = self._size if size is None or size < 0 else min(start + size, self._size)
        if end <= start:
            return b""
        self._position = end
        first = self._first
        if first <= start and end <= first + len(self._content):
            return self._content[start - first : end - first]
        return self._split._fetch(self._file, start, end)


# -- what an earlier run found


def parts_root() -> Path:
    """The folder of all stored parts; it has a folder for each dataset."""
    from huggingface_hub import cached_assets_path

    return Path(cached_assets_path("hf-sfda", namespace="parts", subfolder="v1"))


def remember_files(files: SplitFiles, declared: Features | None) -> None:
    """Store what :func:`remembered_split` needs.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    fields = {
        "paths": files.paths,
        "sizes": files.sizes,
        "features": None if declared is None else declared.to_dict(),
    }
    files.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(_index(files), json.dumps(fields).encode())


def remembered_split(
    dataset: str, repo: str, commit: str, config: str, split: str, token: str | None
) -> RemoteSplit | None:
    """A split that an earlier run has opened in parts; ``None`` if there was none.

    Raises:
        TargetError: Parts of it are missing, and the Hub cannot be reached.
    """
    from datasets import Features

    files = SplitFiles(dataset, repo, commit, config, split, (), ())
    try:
        fields = read_json_file(_index(files))
        paths, sizes = tuple(map(str, fields["paths"])), tuple(map(int, fields["sizes"]))
        declared = fields["features"] and Features.from_dict(fields["features"])
    except (OSError, ForeignError, KeyError, TypeError, ValueError):
        return None
    return RemoteSplit(replace(files, paths=paths, sizes=sizes), declared, token)


def _index(files: SplitFiles) -> Path:
    return files.folder / f"{_digest(files.config, files.split)}.json"


# -- helpers


def _digest(*parts: str) -> str:
    """A name for a file: the parts may hold any letter."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@contextmanager
def _target_errors(dataset: str) -> Iterator[None]:
    try:
        yield
    except TargetError:
        raise
    except Exception as error:  # pyarrow, fsspec and huggingface_hub raise different errors
        raise TargetError(f"Dataset {dataset}: {explain(error)}.") from error


def _stored(place: Path) -> pa.Table | None:
    """A part that is stored; ``None`` if it is not, or if it is damaged."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(place)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException):
        return None


def _store(place: Path, table: pa.Table) -> None:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_atomically(place, sink.getvalue().to_pybytes())


def _start(chunk: Any) -> int:
    """First byte of a column chunk. Some writers give 0 where there is no dictionary."""
    dictionary: int | None = chunk.dictionary_page_offset
    data: int = chunk.data_page_offset
    return min(dictionary, data) if dictionary else data


def _leaves(footer: pq.FileMetaData) -> dict[str, list[int]]:
    leaves: dict[str, list[int]] = {}
    for i in range(footer.num_columns):
        leaves.setdefault(footer.schema.column(i).path.partition(".")[0], []).append(i)
    return leaves


def _type_names(feature: Any) -> set[str]:
    """The names of the feature types in a feature, nested ones, too."""
    parts = list(feature.values()) if isinstance(feature, Mapping) else [item_feature(feature)]
    inner = (_type_names(part) for part in parts if part is not None)
    return {type(feature).__name__}.union(*inner)
