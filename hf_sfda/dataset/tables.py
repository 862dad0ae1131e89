"""Tables as people save them: read as they are meant, or refused with the line that is wrong.

Pandas repairs a csv file without a word: it takes the first column for an index where rows are
longer than the header, fills short rows, joins what follows a closing quote, renames columns of the
same name. Each of these changes what is ranked, so the file is checked before pandas reads it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_sfda.errors import TargetError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

MISSING_CELLS: Mapping[str, Any] = {"keep_default_na": False, "na_values": [""]}
"""Only an empty cell is a missing one: "NA" is also Namibia, and "None" may be a class."""

_SEPARATORS = ",;\t|"
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MAGIC = (
    (b"\x1f\x8b", "a gzip archive", "Name it .gz at the end (x.csv.gz), or unpack it"),
    (
        b"PK\3\4",
        "a zip archive or an Excel workbook",
        "Unpack it, or save the sheet as CSV in UTF-8",
    ),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save the sheet as CSV in UTF-8"),
    (b"PAR1", "a parquet file", "Name it .parquet at the end"),
    (b"ARROW1", "an arrow file", "Name it .arrow at the end"),
    (b"BZh", "a bzip2 archive", "Unpack it"),
    (b"\xfd7zXZ", "an xz archive", "Unpack it"),
    (b"(\xb5/\xfd", "a zstandard archive", "Unpack it"),
    (b"%PDF", "a PDF", "Save its table as CSV in UTF-8"),
)
_HEAD = 1 << 16
_LONGEST_NUMBER = 18  # digits that surely fit into 64 bits
_SAMPLE = 200  # rows that are looked at to guess
_MANY_COLUMNS = 50
_MANY_BYTES = 0.2  # share of non-ASCII bytes above which a text is not Western European
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMON_NAMES = frozenset(
    "id idx index text texts sentence content title body document label labels class class_name "
    "category target y intent image file file_name filename path name value score split".split()
)


@dataclass(frozen=True)
class CsvFormat:
    """How a csv file is written.

    Attributes:
        sep: What separates the fields.
        encoding: Of the text.
        skip: Lines before the header.
        header: The column names.
        as_text: Columns with numbers such as ``007`` or of many digits, which are names.
        skip_spaces: Whether spaces before a field do not count: quotes follow them.
        notes: What was taken for granted.
    """

    sep: str
    encoding: str
    skip: int
    header: tuple[str, ...]
    as_text: frozenset[str] = frozenset()
    skip_spaces: bool = False
    notes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What ``datasets`` and pandas must be told."""
        return {
            **MISSING_CELLS,
            "sep": self.sep,
            "encoding": self.encoding,
            "skiprows": self.skip or None,
            "skipinitialspace": self.skip_spaces,
            "converters": dict.fromkeys(sorted(self.as_text), str) or None,
        }


@dataclass
class _Rows:
    """What is noticed while the rows are counted."""

    header: list[str] = field(default_factory=list)
    sample: list[list[str]] = field(default_factory=list)
    as_text: set[int] = field(default_factory=set)


def read_csv_files(files: Sequence[Path], shown: str) -> tuple[Dataset, tuple[str, ...]]:
    """The rows of csv or tsv files of one table, and what was taken for granted.

    Args:
        files: All of them with the same header.
        shown: The data set, for messages.

    Raises:
        TargetError: A file would have to be repaired; the message names the line.
    """
    from datasets import load_dataset

    formats = [csv_format(file) for file in files]
    first = formats[0]
    for file, other in zip(files, formats, strict=True):
        if other.header != first.header or other.options | {"converters": None} != (
            first.options | {"converters": None}
        ):
            raise TargetError(
                f"{shown}: {files[0].name} and {file.name} differ in their header, separator or "
                "encoding; save the parts of one table alike, or pass one file."
            )
    as_text = frozenset(name for each in formats for name in each.as_text)
    options = first.options | {"converters": dict.fromkeys(sorted(as_text), str) or None}
    data = load_dataset("csv", data_files=[str(file) for file in files], split="train", **options)
    return data, tuple(dict.fromkeys(note for each in formats for note in each.notes))


def csv_format(file: Path) -> CsvFormat:
    """Find out how a csv file is written, and read it once to see that every row is whole.

    Separators other than the suffix says, ``sep=;`` in the first line, a byte order mark, UTF-16
    and gzip are recognised. A text that is not UTF-8 is taken for Windows-1252 where it looks
    Western European, with a note.

    Raises:
        TargetError: It is not text, or a row does not fit the header.
    """
    check_is_text(file)
    encoding = text_encoding(file)
    try:
        return _format(file, encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise TargetError(f"{file.name} is not {encoding}: {error.reason}.") from error
    if not _is_western(file):
        raise TargetError(f"{file.name} is not UTF-8 text. Save it as CSV in UTF-8.")
    found = _format(file, "cp1252")
    note = (
        f"{file.name} is not UTF-8 and was read as Windows-1252. If letters look wrong, save it as "
        "UTF-8."
    )
    return replace(found, notes=(note, *found.notes))


def check_metadata(file: Path) -> None:
    """Refuse a ``metadata.csv`` that ``datasets`` would repair: it reads this file itself.

    Raises:
        TargetError: A row does not fit the header, or commas are not what separates the fields.
    """
    found = csv_format(file)
    if found.sep != "," or found.skip or not found.encoding.startswith("utf-8"):
        raise TargetError(
            f"{file.name} is separated by {_name(found.sep)} and encoded as {found.encoding}. "
            "Save it as CSV with commas, in UTF-8."
        )


# -- text


def check_is_text(file: Path) -> None:
    """Refuse a file of another kind, by its first bytes.

    Raises:
        TargetError: It is an archive, a workbook or the like.
    """
    packed = file.suffix.lower() == ".gz"
    with file.open("rb") as raw:
        head = raw.read(8)
    if packed and head and not head.startswith(_MAGIC[0][0]):
        raise TargetError(f"{file.name} is called .gz and is no gzip archive. Rename it.")
    if packed:
        try:
            with _raw(file) as raw:
                head = raw.read(8)
        except (OSError, EOFError, zlib.error) as error:
            raise TargetError(f"{file.name} is a damaged gzip archive ({error}).") from error
    for magic, kind, advice in _MAGIC:
        if head.startswith(magic):
            raise TargetError(f"{file.name} is {kind}, not text. {advice}.")


def _raw(file: Path) -> BinaryIO:
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    return file.open("rb")


def text_encoding(file: Path) -> str:
    """The encoding that the first bytes of a file show; UTF-8 where they show none."""
    with _raw(file) as raw:
        head = raw.read(_HEAD)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if len(head) > 3 and b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if odd > 0.3 * len(head[1::2]) and even < 0.1 * odd:
            return "utf-16-le"
        if even > 0.3 * len(head[::2]) and odd < 0.1 * even:
            return "utf-16-be"
    return "utf-8"


def _is_western(file: Path) -> bool:
    with _raw(file) as raw:
        content = raw.read(1 << 24)
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high = sum(map(content.count, (bytes([byte]) for byte in range(128, 256))))
    return high < _MANY_BYTES * max(1, len(content))


# -- rows


def _format(file: Path, encoding: str) -> CsvFormat:
    declared, skip = _declared_separator(file, encoding)
    sep = declared or _separator(file, encoding)
    skip_spaces = _has_quotes_after_spaces(file, encoding, sep)
    rows = _check_rows(file, encoding, sep, skip, skip_spaces)
    if not rows.header:
        raise TargetError(f"{file.name} is empty.")
    header = [name or f"Unnamed: {i}" for i, name in enumerate(rows.header)]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise TargetError(
            f"{file.name} has several columns called {twice[0]!r}. Give each column a name of its "
            "own."
        )
    notes = []
    if _looks_like_data(header, rows.sample) or _is_nameless(rows):
        notes.append(
            f"The first line of {file.name} looks like data and was read as the column names: "
            f"{', '.join(_short(name) for name in header[:5])}. If it is data, put a line with "
            "names before it."
        )
    if len(header) == 1:
        notes.append(
            f"{file.name} has only one column, {_short(header[0])}. Columns must be separated by "
            "a comma, semicolon, tab or '|'."
        )
    as_text = frozenset(header[i] for i in rows.as_text)
    return CsvFormat(sep, encoding, skip, tuple(header), as_text, skip_spaces, tuple(notes))


def _declared_separator(file: Path, encoding: str) -> tuple[str | None, int]:
    """What Excel writes into the first line, ``sep=;``, and the lines to skip for it."""
    with _text(file, encoding) as lines:
        match = re.fullmatch(r"sep=(.)\s*", next(lines, ""))
    return (match[1], 1) if match else (None, 0)


def _separator(file: Path, encoding: str) -> str:
    """The suffix's own separator where it divides the header; the only other one where that divides
    all rows alike, and the suffix's does not.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    default = "\t" if ".tsv" in suffixes else ","
    if _width(file, encoding, default) > 1 and _is_even(file, encoding, default):
        return default
    others = [sep for sep in _SEPARATORS if sep != default]
    fitting = [sep for sep in others if _is_even(file, encoding, sep)]
    return fitting[0] if len(fitting) == 1 else default


def _width(file: Path, encoding: str, sep: str) -> int:
    with _text(file, encoding) as lines:
        return next((len(row) for row in csv.reader(lines, delimiter=sep) if row), 0)


def _is_even(file: Path, encoding: str, sep: str) -> bool:
    widths: set[int] = set()
    with _text(file, encoding) as lines:
        reader = csv.reader(lines, delimiter=sep)
        for _, row in zip(range(_SAMPLE), (row for row in reader if row), strict=False):
            widths.add(len(row))
    return len(widths) == 1 and widths.pop() > 1


def _has_quotes_after_spaces(file: Path, encoding: str, sep: str) -> bool:
    """Whether fields begin with a space and a double quote, which csv readers take for text."""
    with _text(file, encoding) as lines:
        reader = csv.reader(lines, delimiter=sep)
        rows = (row for row, _ in zip(reader, range(_SAMPLE), strict=False))
        return any(re.match(r' +"', cell) for row in rows for cell in row[1:])


def _check_rows(file: Path, encoding: str, sep: str, skip: int, skip_spaces: bool) -> _Rows:
    """Read every row.

    Raises:
        TargetError: One does not fit the header.
    """
    rows = _Rows()
    with _text(file, encoding) as lines:
        for _ in range(skip):
            next(lines, None)
        reader = csv.reader(lines, delimiter=sep, skipinitialspace=skip_spaces, strict=True)
        line = 1 + skip
        try:
            for row in reader:
                if row and not rows.header:
                    rows.header = row
                elif row:
                    if len(row) != len(rows.header):
                        raise TargetError(_misfit(file, line, row, rows.header, sep))
                    _notice(rows, row)
                line = reader.line_num + 1 + skip
        except csv.Error as error:
            raise TargetError(
                f"{file.name}, line {line}: {error}. A field in double quotes must end before the "
                f"next {_name(sep)}, with double quotes inside it doubled."
            ) from error
    return rows


def _notice(rows: _Rows, row: list[str]) -> None:
    if len(rows.sample) < _SAMPLE:
        rows.sample.append(row)
    if len(row) <= _MANY_COLUMNS:
        for i, cell in enumerate(row):
            if cell.isdecimal() and (cell[0] == "0" < cell[1:] or len(cell) > _LONGEST_NUMBER):
                rows.as_text.add(i)


def _misfit(file: Path, line: int, row: list[str], header: list[str], sep: str) -> str:
    names = ", ".join(_short(name) for name in header[:5])
    start = (
        f"{file.name}, line {line}: {len(row)} field{'s' if len(row) != 1 else ''}, but the header "
        f"has {len(header)} ({names})."
    )
    if len(header) == 1 < len(row):
        return (
            f"{start} Remove the lines before the column names, or put fields that hold a "
            f"{_name(sep)} into double quotes."
        )
    if len(row) > len(header):
        return (
            f"{start} Put fields that hold a {_name(sep)} into double quotes, or name all columns "
            "in the header."
        )
    return f"{start} Fill the row up, or remove it."


def _looks_like_data(header: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Whether the names occur among the values, are numbers, or are as long as texts."""
    if len(header) > _MANY_COLUMNS or {name.strip().lower() for name in header} & _COMMON_NAMES:
        return False
    columns = list(zip(*sample, strict=True)) or [()] * len(header)
    repeated = any(name and name in column for name, column in zip(header, columns, strict=True))
    numbers = [name for name in header if _NUMBER.fullmatch(name.strip())]
    whole = [int(name) for name in numbers if name.strip().isdecimal()]
    counted = 1 < len(whole) == len(numbers) and whole == list(
        range(whole[0], whole[0] + len(whole)) if whole else []
    )
    long = any(len(name) > 60 or len(name.split()) > 5 for name in header)
    return repeated or (bool(numbers) and not counted) or long


def _is_nameless(rows: _Rows) -> bool:
    """Whether a column with values has no name; the first one may be an index."""
    columns = list(zip(*rows.sample, strict=True))[1:]
    return any(
        any(cells) and not name for name, cells in zip(rows.header[1:], columns, strict=False)
    )


@contextmanager
def _text(file: Path, encoding: str) -> Iterator[Iterator[str]]:
    """The lines of a file, for ``csv.reader``.

    Raises:
        TargetError: One holds a NUL.
    """
    before = csv.field_size_limit(1 << 30)  # by default a long text is an error
    try:
        with _raw(file) as raw, io.TextIOWrapper(raw, encoding, newline="") as text:
            yield _without_nul(file, text)
    finally:
        csv.field_size_limit(before)


def _without_nul(file: Path, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise TargetError(
                f"{file.name}, line {number}: a NUL character. This is no text file, or it was "
                "damaged; save it again as CSV in UTF-8."
            )
        yield line


def _name(sep: str) -> str:
    return {"\t": "tab", ",": "comma"}.get(sep, repr(sep))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


# -- arrow


def plain_type(kind: pa.DataType) -> pa.DataType:
    """An arrow type with views replaced by what they are views of, at any depth, and with other
    types that ``datasets`` does not know replaced by the nearest one.

    Example:
        >>> import pyarrow as pa
        >>> plain_type(pa.list_view(pa.string_view()))
        ListType(list<item: string>)
    """
    import pyarrow as pa

    types = pa.types
    if (simple := _simple_type(kind)) is not None:
        return simple
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, plain_type(f.type), f.nullable) for f in kind])
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_dictionary(kind) and has_views(kind.value_type):
        return plain_type(kind.value_type)
    return kind


def _simple_type(kind: pa.DataType) -> pa.DataType | None:
    """What stands for a type that needs no look inside."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_string_view(kind):
        return pa.string()
    return pa.binary() if types.is_binary_view(kind) else None


def has_views(kind: pa.DataType) -> bool:
    """Whether a type holds views at any depth: ``polars`` writes them, ``datasets`` knows none."""
    return "_view" in str(kind)


def needs_conversion(kind: pa.DataType) -> bool:
    """Whether ``datasets`` does not read a column of this type."""
    return has_views(kind) or not _is_known(kind)


def _is_known(kind: pa.DataType) -> bool:
    from datasets.features.features import generate_from_arrow_type

    try:
        generate_from_arrow_type(kind)
    except (ValueError, TypeError, NotImplementedError):
        return False
    return True


def without_views(table: pa.Table) -> pa.Table:
    """The same table in types that ``datasets`` knows; columns of others are left out."""
    import pyarrow as pa

    arrays, fields = [], []
    for column, entry in zip(table.columns, table.schema, strict=True):
        if needs_conversion(entry.type):
            kind = plain_type(entry.type)
            if not _is_known(kind):
                continue
            fields.append(pa.field(entry.name, kind))
            arrays.append(_converted(column, kind))
        else:
            fields.append(entry)
            arrays.append(column)
    return pa.table(arrays, schema=pa.schema(fields, _plain_metadata(table.schema.metadata)))


def _plain_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """Where ``datasets`` wrote the features, they name the types, too."""
    if metadata is None:
        return None
    views = (b"string_view", b"string"), (b"binary_view", b"binary")
    plain = dict(metadata)
    for view, kind in views:
        plain = {key: value.replace(view, kind) for key, value in plain.items()}
    return plain


def _converted(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return _converted(pa.chunked_array(storage, column.type.storage_type), kind)
    if column.type == kind:
        return column
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        try:
            return column.cast(kind)
        except pa.ArrowException:
            pass
    # Casts of nested views are missing or wrong in pyarrow 26, but values come out whole.
    return pa.chunked_array([pa.array(c.to_pylist(), kind) for c in column.chunks], kind)


def read_arrow_files(files: Sequence[Path]) -> tuple[Dataset, tuple[str, ...]] | None:
    """The rows of parquet or arrow files with types that ``datasets`` does not know, and which
    columns are left out for their type; ``None`` where ``datasets`` knows them all.
    """
    import pyarrow as pa
    from datasets import Dataset

    if not any(holds_unknown_types(file) for file in files):
        return None
    stored = [_table(file) for file in files]
    table = pa.concat_tables([without_views(t) for t in stored], promote_options="permissive")
    lost = {name for each in stored for name in each.column_names} - set(table.column_names)
    note = f"Columns of a type that is not read were left out: {', '.join(sorted(lost)[:5])}."
    return Dataset(table), (note,) if lost else ()


def holds_unknown_types(file: Path) -> bool:
    """Whether a parquet or arrow file holds a column that ``datasets`` does not read."""
    return any(map(needs_conversion, _schema(file).types))


def _schema(file: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    return pq.read_schema(file) if file.suffix.lower() == ".parquet" else _table(file).schema


def _table(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix.lower() == ".parquet":
        return pq.read_table(file)
    with pa.memory_map(str(file)) as source:
        try:
            return pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source).read_all()


# -- json


def check_json_file(file: Path) -> None:
    """Refuse what the readers of json repair, quote or crash at.

    Raises:
        TargetError: The file is no UTF-8 text, is empty, or does not begin like rows.
    """
    check_is_text(file)
    encoding = text_encoding(file)
    if encoding not in ("utf-8", "utf-8-sig"):
        raise TargetError(f"{file.name} is {encoding.upper()}. Save it as UTF-8.")
    begins, line = "", 1
    decoder = codecs.getincrementaldecoder(encoding)()
    with _raw(file) as raw:
        while True:
            chunk = raw.read(1 << 20)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise TargetError(
                    f"{file.name}, line {line}: not UTF-8. Save it as UTF-8."
                ) from error
            begins = begins or text.lstrip()[:20]
            line += text.count("\n")
            if not chunk:
                break
    if not begins:
        raise TargetError(f"{file.name} is empty.")
    if begins[0] not in "{[":
        raise TargetError(f"{file.name} begins with {_short(begins.split()[0])}. {JSON_ROWS}")


def check_json_rows(data: Dataset, shown: str) -> None:
    """Refuse one object around all rows: ``datasets`` makes one row of it.

    Raises:
        TargetError: The only row holds lists or objects.
    """
    from datasets import List

    kinds = data.features.values()
    if len(data) == 1 and any(isinstance(kind, (List, Mapping)) for kind in kinds):
        names = ", ".join(_short(name) for name in data.column_names[:5])
        raise TargetError(f"{shown} holds one object ({names}). {JSON_ROWS}")


JSON_ROWS = "A json file must hold a list of objects, or one object a line: each is a row."


def with_plain_strings(data: Dataset) -> Dataset:
    """The same rows, with strings where ``datasets`` keeps JSON text: one NaN among class names
    makes it quote all of them.
    """
    from datasets import Json, Value

    for name in [name for name, feature in data.features.items() if isinstance(feature, Json)]:
        values = [_scalar(value) for value in data.with_format("arrow")[:][name].to_pylist()]
        if all(value is None or isinstance(value, str) for value in values):
            features = Value("string")
            data = data.remove_columns(name).add_column(name, values, feature=features)
    return data


def _scalar(value: str | None) -> Any:
    parsed = None if value is None else json.loads(value)
    return None if parsed != parsed else parsed  # NaN


# -- webdataset


def without_shard_columns(data: Dataset) -> Dataset:
    """A WebDataset without the columns that say where a row lay, and with the fields of its
    ``json`` files as columns of their own, where no other column has their name.
    """
    if not {"__key__", "__url__"} <= set(data.column_names):
        return data
    data = data.remove_columns(["__key__", "__url__"])
    if isinstance(data.features.get("json"), Mapping):
        data = data.flatten()
        inner = [name for name in data.column_names if name.startswith("json.")]
        names = {name: name.removeprefix("json.") for name in inner}
        free = {old: new for old, new in names.items() if new not in data.column_names}
        data = data.rename_columns(free)
    return data
