"""Read csv, json, parquet and arrow files, and refuse malformed ones with the number of the line.

Pandas repairs a csv file silently: if rows are longer than the header, it uses the first column as
an index; it fills short rows, appends text that follows a closing quote, and renames columns with
equal names. Each repair can change the ranking, so the file is checked before pandas reads it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.format import cut

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

MISSING_CELLS: Mapping[str, Any] = {"keep_default_na": False, "na_values": [""]}
"""Only an empty cell is a missing value: "NA" can mean Namibia, and "None" can be a class."""

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
_LONGEST_NUMBER = 18  # digits that always fit into 64 bits
_PANDAS_MISSING = frozenset(
    "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan "
    "null".split()
)
"""Cells that pandas reads as missing values where :data:`MISSING_CELLS` does not apply."""
_AS_JSON = "If these are names, save the file as metadata.jsonl, with the names in quotes."
_CHUNK = 10_000  # rows that `datasets` reads at a time; the first ones decide on the types
_SAMPLE = 200  # rows on which guesses are based
_MANY_COLUMNS = 50
_MANY_BYTES = 0.2  # share of non-ASCII bytes above which a text is not Western European
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMERIC = frozenset(("whole", "fractional"))
_TRUTHS = frozenset("True TRUE true False FALSE false".split())
_STARTS = frozenset("0123456789+-. iI")
_COMMON_NAMES = frozenset(
    "id idx index text texts sentence content title body document label labels class class_name "
    "category target y intent image file file_name filename path name value score split".split()
)


@dataclass(frozen=True)
class CsvFormat:
    """How a csv file is written.

    Attributes:
        sep: Separator of the fields.
        encoding: Encoding of the text.
        skip: Number of lines before the header.
        header: The column names.
        as_text: Columns that are read as text because they hold numbers such as ``007``, or numbers
            with many digits. Such numbers are names.
        kinds: What the cells of each column hold: whole or fractional numbers, truth values, texts.
            Empty for tables of very many columns.
        first_kinds: The same of the first rows, from which ``datasets`` takes the types.
        skip_spaces: Whether spaces before a field are ignored, because quotes follow them.
        notes: Warnings about assumptions that were made.
    """

    sep: str
    encoding: str
    skip: int
    header: tuple[str, ...]
    as_text: frozenset[str] = frozenset()
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    first_kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    skip_spaces: bool = False
    notes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The options with which pandas reads the file, without those for single columns."""
        return {
            **MISSING_CELLS,
            "sep": self.sep,
            "encoding": self.encoding,
            "skiprows": self.skip or None,
            "skipinitialspace": self.skip_spaces,
        }


@dataclass
class _Rows:
    """What a pass over all rows collects: the header, the first rows, and what the columns hold.

    The kinds are those of :class:`CsvFormat`, by the number of the column.
    """

    header: list[str] = field(default_factory=list)
    sample: list[list[str]] = field(default_factory=list)
    as_text: set[int] = field(default_factory=set)
    kinds: list[set[str]] = field(default_factory=list)
    first_kinds: list[set[str]] = field(default_factory=list)
    n_rows: int = 0


def read_files(
    loader: str, files: Sequence[Path], dataset: str
) -> tuple[Dataset, tuple[str, ...]] | None:
    """Read csv files, and parquet and arrow files with unsupported types; check json files.

    Returns:
        The rows, and warnings; ``None`` if ``datasets`` should read the files.

    Raises:
        TargetError: A csv or json file is malformed.
    """
    if loader == "csv":
        return _read_csv_files(files, dataset)
    if loader in ("parquet", "arrow"):
        return _read_arrow_files(files)
    if loader == "json":
        for file in files:
            _check_json_file(file)
    return None


def _read_csv_files(files: Sequence[Path], dataset: str) -> tuple[Dataset, tuple[str, ...]]:
    """The rows of the csv or tsv files of one table, and warnings about assumptions.

    Raises:
        TargetError: A file is malformed, and the message names the line; or headers differ.
    """
    from datasets import load_dataset

    formats = [csv_format(file) for file in files]
    first = formats[0]
    for file, other in zip(files, formats, strict=True):
        if (other.header, other.options) != (first.header, first.options):
            raise TargetError(
                f"{dataset}: {files[0].name} and {file.name} differ in their header, separator or "
                "encoding. Save all files of a table in the same format, or pass one file."
            )
    data = load_dataset(
        "csv",
        data_files=[str(file) for file in files],
        split="train",
        converters=_converters(formats) or None,
        **first.options,
    )
    return data, tuple(dict.fromkeys(note for each in formats for note in each.notes))


def _converters(formats: Sequence[CsvFormat]) -> dict[str, Callable[[str], Any]]:
    """How to read the columns whose types pandas would guess wrongly: column -> function of a cell.

    Pandas guesses anew for each part of a file, and ``datasets`` casts each part to the types of
    the first one. A column of names and numbers would have ``1.50`` in one part and ``1.5`` in the
    next, and one of truth values and numbers would lose the numbers.
    """
    converters: dict[str, Callable[[str], Any]] = {}
    for name in formats[0].header:
        kinds = frozenset[str]().union(*(each.kinds.get(name, ()) for each in formats))
        first = formats[0].first_kinds.get(name, kinds)
        if any(name in each.as_text for each in formats):
            converters[name] = str
        elif kinds <= _NUMERIC:
            if "fractional" in kinds and first == {"whole"}:
                converters[name] = _as_number
        elif not first:
            converters[name] = _as_text
        elif kinds not in ({"truth"}, {"text"}):
            converters[name] = str
    return converters


def _as_text(cell: str) -> str:
    """The cell; a space if it is empty. A part of missing values alone has the type of numbers."""
    return cell or " "


def _as_number(cell: str) -> float:
    return float(cell) if cell else math.nan


def csv_format(file: Path) -> CsvFormat:
    """Detect the format of a csv file, and read it once to check every row.

    The suffix gives the default separator. Other separators, ``sep=;`` in the first line, a byte
    order mark, UTF-16 and gzip are detected. A text that is not UTF-8 but looks Western European is
    read as Windows-1252, with a warning.

    Raises:
        TargetError: The file is not text, or a row does not fit the header.
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
    western = _format(file, "cp1252")
    note = (
        f"{file.name} is not UTF-8 and was read as Windows-1252. If letters look wrong, save it as "
        "UTF-8."
    )
    return replace(western, notes=(note, *western.notes))


def check_metadata(file: Path) -> tuple[str, ...]:
    """Refuse a malformed ``metadata.csv``. ``datasets`` reads this file itself and would repair it.

    Returns:
        Warnings about names of missing values, which ``datasets`` does not read as names.

    Raises:
        TargetError: A row does not fit the header, the file is not separated by commas, or
            ``datasets`` would make one number of different cells.
    """
    actual = csv_format(file)
    if actual.sep != "," or actual.skip or not actual.encoding.startswith("utf-8"):
        raise TargetError(
            f"{file.name} is separated by {_name(actual.sep)} and encoded as {actual.encoding}. "
            "Save it as CSV with commas, in UTF-8."
        )
    missing: Counter[str] = Counter()
    numeric = [
        i for i, name in enumerate(actual.header) if actual.kinds.get(name, set()) == {"whole"}
    ]
    spellings: dict[tuple[int, int], str] = {}
    with _text(file, actual.encoding) as lines:
        rows = csv.reader(lines, skipinitialspace=actual.skip_spaces)
        next(rows, None)
        for row in filter(None, rows):
            missing.update(
                f"{cell!r} in {cut(name, 40)!r}"
                for name, cell in zip(actual.header, row, strict=True)
                if cell in _PANDAS_MISSING
            )
            for i in numeric:
                cell = row[i].strip()
                other = spellings.setdefault((i, int(cell)), cell) if cell else cell
                if other != cell:
                    raise TargetError(
                        f"{file.name}: {cut(other, 40)!r} and {cut(cell, 40)!r} in the column "
                        f"{cut(actual.header[i], 40)!r} would be read as one number. {_AS_JSON}"
                    )
    if not missing:
        return ()
    counts = listing((f"{what} ({count:,} rows)" for what, count in missing.items()), 5)
    return (f"{file.name} has cells that are read as missing values: {counts}. {_AS_JSON}",)


# -- text


def check_is_text(file: Path) -> None:
    """Refuse a file whose first bytes show that it is not text.

    Raises:
        TargetError: It is an archive, a workbook or another binary file.
    """
    packed = file.suffix.lower() == ".gz"
    with file.open("rb") as raw:
        head = raw.read(8)
    if packed and head and not head.startswith(_MAGIC[0][0]):
        raise TargetError(f"{file.name} ends with .gz but is not a gzip archive. Rename it.")
    if packed:
        try:
            with _raw(file) as raw:
                head = raw.read(8)
        except (OSError, EOFError, zlib.error) as error:
            raise TargetError(f"{file.name} is a damaged gzip archive ({error}).") from error
    for magic, file_type, advice in _MAGIC:
        if head.startswith(magic):
            raise TargetError(f"{file.name} is {file_type}, not text. {advice}.")


def _raw(file: Path) -> BinaryIO:
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    return file.open("rb")


def text_encoding(file: Path) -> str:
    """Guess the encoding of a file from its first bytes; the default is UTF-8."""
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
    with _text(file, encoding) as lines:
        declared = re.fullmatch(r"sep=(.)\s*", next(lines, ""))  # Excel writes such a line
    sep, skip = (declared[1], 1) if declared else (_separator(file, encoding), 0)
    first = _first_rows(file, encoding, sep)
    # csv readers treat double quotes after a space as text
    skip_spaces = any(re.match(r' +"', cell) for row in first for cell in row[1:])
    rows = _check_rows(file, encoding, sep, skip, skip_spaces)
    if not rows.header:
        raise TargetError(f"{file.name} is empty.")
    header = [name or f"Unnamed: {i}" for i, name in enumerate(rows.header)]
    if duplicates := sorted({name for name in header if header.count(name) > 1}):
        raise TargetError(
            f"{file.name} has several columns called {duplicates[0]!r}. Give each column a "
            "different name."
        )
    notes = []
    if _looks_like_data(header, rows.sample) or _is_nameless(rows):
        notes.append(
            f"The first line of {file.name} looks like data and was read as the column names: "
            f"{_first_names(header)}. If it is data, put a line with names before it."
        )
    if len(header) == 1:
        notes.append(
            f"{file.name} has only one column, {cut(header[0], 40)!r}. Columns must be separated "
            "by a comma, semicolon, tab or '|'."
        )
    return CsvFormat(
        sep,
        encoding,
        skip,
        tuple(header),
        as_text=frozenset(header[i] for i in rows.as_text),
        kinds=dict(zip(header, map(frozenset, rows.kinds), strict=False)),
        first_kinds=dict(zip(header, map(frozenset, rows.first_kinds or rows.kinds), strict=False)),
        skip_spaces=skip_spaces,
        notes=tuple(notes),
    )


def _separator(file: Path, encoding: str) -> str:
    """Guess the separator.

    It is the default of the suffix, unless another one is the only separator that divides all rows
    into the same number of fields.
    """
    default = "\t" if ".tsv" in map(str.lower, file.suffixes) else ","
    if _is_even(file, encoding, default):
        return default
    fitting = [sep for sep in _SEPARATORS if _is_even(file, encoding, sep)]
    return fitting[0] if len(fitting) == 1 else default


def _is_even(file: Path, encoding: str, sep: str) -> bool:
    widths = {len(row) for row in _first_rows(file, encoding, sep)}
    return len(widths) == 1 and widths != {1}


def _first_rows(file: Path, encoding: str, sep: str) -> list[list[str]]:
    with _text(file, encoding) as lines:
        return list(islice(filter(None, csv.reader(lines, delimiter=sep)), _SAMPLE))


def _check_rows(file: Path, encoding: str, sep: str, skip: int, skip_spaces: bool) -> _Rows:
    """Read every row and check its number of fields.

    Raises:
        TargetError: A row does not fit the header.
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
                    _inspect(rows, row)
                line = reader.line_num + 1 + skip
        except csv.Error as error:
            raise TargetError(
                f"{file.name}, line {line}: {error}. A field in double quotes must end before the "
                f"next {_name(sep)}, with double quotes inside it doubled."
            ) from error
    return rows


def _inspect(rows: _Rows, row: list[str]) -> None:
    if len(rows.sample) < _SAMPLE:
        rows.sample.append(row)
    if len(row) <= _MANY_COLUMNS:
        rows.kinds = rows.kinds or [set() for _ in row]
        if rows.n_rows == _CHUNK:
            rows.first_kinds = [*map(set, rows.kinds)]
        for i, (cell, kinds) in enumerate(zip(row, rows.kinds, strict=True)):
            if cell.isdecimal():
                if cell[0] == "0" < cell[1:] or len(cell) > _LONGEST_NUMBER:
                    rows.as_text.add(i)
                kinds.add("whole" if cell.isascii() else "text")
            elif cell:
                kinds.add(_kind(cell))
    rows.n_rows += 1


def _kind(cell: str) -> str:
    """What pandas reads a cell as that is not empty."""
    if cell[0] in _STARTS:
        number = cell.strip()
        if _WHOLE.fullmatch(number):
            return "whole"
        if _NUMBER.fullmatch(number) or number.lower().lstrip("+-") in ("inf", "infinity"):
            return "fractional"
    return "truth" if cell in _TRUTHS else "text"


def _first_names(columns: Sequence[str]) -> str:
    return ", ".join(repr(cut(name, 40)) for name in columns[:5])


def _misfit(file: Path, line: int, row: list[str], header: list[str], sep: str) -> str:
    start = (
        f"{file.name}, line {line}: {len(row)} field{'s' if len(row) != 1 else ''}, but the header "
        f"has {len(header)} ({_first_names(header)})."
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
    return f"{start} Add the missing fields, or remove the row."


def _looks_like_data(header: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Whether column names also occur as values, are numbers, or are as long as texts."""
    if len(header) > _MANY_COLUMNS or {name.strip().lower() for name in header} & _COMMON_NAMES:
        return False
    columns = list(zip(*sample, strict=True)) or [()] * len(header)
    repeated = any(name and name in column for name, column in zip(header, columns, strict=True))
    numbers = [name for name in header if _NUMBER.fullmatch(name.strip())]
    whole = [int(name) for name in numbers if name.strip().isdecimal()]
    consecutive = 1 < len(whole) == len(numbers) and whole == list(
        range(whole[0], whole[0] + len(whole))
    )
    long = any(len(name) > 60 or len(name.split()) > 5 for name in header)
    return repeated or (bool(numbers) and not consecutive) or long


def _is_nameless(rows: _Rows) -> bool:
    """Whether a column with values has no name. The first one may be an index."""
    columns = list(zip(*rows.sample, strict=True))[1:]
    return any(
        any(cells) and not name for name, cells in zip(rows.header[1:], columns, strict=False)
    )


@contextmanager
def _text(file: Path, encoding: str) -> Iterator[Iterator[str]]:
    """Open a file and yield its lines for ``csv.reader``.

    Raises:
        TargetError: A line holds a NUL character.
    """
    before = csv.field_size_limit(1 << 30)  # the default limit rejects long texts
    try:
        with _raw(file) as raw, io.TextIOWrapper(raw, encoding, newline="") as text:
            yield _without_nul(file, text)
    finally:
        csv.field_size_limit(before)


def _without_nul(file: Path, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise TargetError(
                f"{file.name}, line {number}: a NUL character. The file is not a text file, or "
                "it is damaged. Save it again as CSV in UTF-8."
            )
        yield line


def _name(sep: str) -> str:
    return {"\t": "tab", ",": "comma"}.get(sep, repr(sep))


# -- arrow


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """Replace view types in an arrow type by plain types, at any depth.

    Some other types that ``datasets`` does not support are replaced by the nearest supported one.

    Example:
        >>> import pyarrow as pa
        >>> plain_type(pa.list_view(pa.string_view()))
        ListType(list<item: string>)
    """
    import pyarrow as pa

    types = pa.types
    if (simple := _simple_type(data_type)) is not None:
        return simple
    if types.is_list(data_type) or types.is_list_view(data_type):
        return pa.list_(plain_type(data_type.value_type))
    if types.is_large_list(data_type) or types.is_large_list_view(data_type):
        return pa.large_list(plain_type(data_type.value_type))
    if types.is_fixed_size_list(data_type):
        return pa.list_(plain_type(data_type.value_type), data_type.list_size)
    if types.is_struct(data_type):
        return pa.struct([pa.field(f.name, plain_type(f.type), f.nullable) for f in data_type])
    if types.is_map(data_type):
        return pa.map_(plain_type(data_type.key_type), plain_type(data_type.item_type))
    if types.is_dictionary(data_type) and has_views(data_type.value_type):
        return plain_type(data_type.value_type)
    return data_type


def _simple_type(data_type: pa.DataType) -> pa.DataType | None:
    """The plain type for a type without nested types; ``None`` if it is not to be replaced."""
    import pyarrow as pa

    types = pa.types
    if isinstance(data_type, pa.BaseExtensionType):
        return plain_type(data_type.storage_type)
    if types.is_run_end_encoded(data_type):
        return plain_type(data_type.value_type)
    if types.is_decimal32(data_type) or types.is_decimal64(data_type):
        return pa.decimal128(data_type.precision, data_type.scale)
    if types.is_string_view(data_type):
        return pa.string()
    return pa.binary() if types.is_binary_view(data_type) else None


def has_views(data_type: pa.DataType) -> bool:
    """Whether a type contains view types. ``polars`` writes them; ``datasets`` cannot read them."""
    return "_view" in str(data_type)


def needs_conversion(data_type: pa.DataType) -> bool:
    """Whether ``datasets`` cannot read a column of this type."""
    return has_views(data_type) or not _is_known(data_type)


def _is_known(data_type: pa.DataType) -> bool:
    from datasets.features.features import generate_from_arrow_type

    try:
        generate_from_arrow_type(data_type)
    except (ValueError, TypeError, NotImplementedError):
        return False
    return True


def without_views(table: pa.Table) -> pa.Table:
    """Convert a table to types that ``datasets`` supports; other columns are left out."""
    import pyarrow as pa

    arrays, fields = [], []
    for column, entry in zip(table.columns, table.schema, strict=True):
        if not needs_conversion(entry.type):
            fields.append(entry)
            arrays.append(column)
        elif _is_known(data_type := plain_type(entry.type)):
            fields.append(pa.field(entry.name, data_type))
            arrays.append(_converted(column, data_type))
    return pa.table(arrays, schema=pa.schema(fields, _plain_metadata(table.schema.metadata)))


def _plain_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """Replace the view types in the features that ``datasets`` stores in the metadata."""
    if metadata is None:
        return None
    return {
        key: value.replace(b"string_view", b"string").replace(b"binary_view", b"binary")
        for key, value in metadata.items()
    }


def _converted(column: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return _converted(pa.chunked_array(storage, column.type.storage_type), data_type)
    if column.type == data_type:
        return column
    if pa.types.is_string(data_type) or pa.types.is_binary(data_type):
        try:
            return column.cast(data_type)
        except pa.ArrowException:
            pass
    # pyarrow 26 cannot cast nested views, or casts them wrongly. Python values are correct.
    return pa.chunked_array([pa.array(c.to_pylist(), data_type) for c in column.chunks], data_type)


def _read_arrow_files(files: Sequence[Path]) -> tuple[Dataset, tuple[str, ...]] | None:
    """Read parquet or arrow files with types that ``datasets`` does not support.

    Returns:
        The rows, and a warning if columns were left out for their type; ``None`` if ``datasets``
        supports all types.
    """
    import pyarrow as pa
    from datasets import Dataset

    if not any(holds_unknown_types(file) for file in files):
        return None
    stored = [_table(file) for file in files]
    table = pa.concat_tables([without_views(t) for t in stored], promote_options="permissive")
    dropped = {name for each in stored for name in each.column_names} - set(table.column_names)
    note = f"Columns of unsupported types were left out: {', '.join(sorted(dropped)[:5])}."
    return Dataset(table), (note,) if dropped else ()


def holds_unknown_types(file: Path) -> bool:
    """Whether a parquet or arrow file has a column that ``datasets`` cannot read."""
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


def _check_json_file(file: Path) -> None:
    """Refuse json files that the readers would repair or fail to read.

    Raises:
        TargetError: The file is not UTF-8 text, is empty, or does not begin with a list or an
            object.
    """
    check_is_text(file)
    encoding = text_encoding(file)
    if encoding not in ("utf-8", "utf-8-sig"):
        raise TargetError(f"{file.name} is {encoding.upper()}. Save it as UTF-8.")
    start, line = "", 1
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
            start = start or text.lstrip()[:20]
            line += text.count("\n")
            if not chunk:
                break
    if not start:
        raise TargetError(f"{file.name} is empty.")
    if start[0] not in "{[":
        raise TargetError(f"{file.name} begins with {cut(start.split()[0], 40)!r}. {JSON_ROWS}")


def check_json_rows(data: Dataset, dataset: str) -> None:
    """Refuse a single object that contains all rows; ``datasets`` reads it as one row.

    Raises:
        TargetError: The only row holds lists or objects.
    """
    from datasets import List

    features = data.features.values()
    if len(data) == 1 and any(isinstance(feature, (List, Mapping)) for feature in features):
        names = _first_names(data.column_names)
        raise TargetError(f"{dataset} holds one object ({names}). {JSON_ROWS}")


JSON_ROWS = "A json file must hold a list of objects, or one object per line. Each object is a row."


def with_plain_strings(data: Dataset) -> Dataset:
    """Convert columns of JSON text to strings, if all their values are strings.

    ``datasets`` stores class names as JSON text, in quotes, if one of them is NaN.
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
    """Remove the columns of a WebDataset that say in which file a row is stored.

    The fields of its ``json`` files become columns, unless another column has the same name.
    """
    if not {"__key__", "__url__"} <= set(data.column_names):
        return data
    data = data.remove_columns(["__key__", "__url__"])
    if isinstance(data.features.get("json"), Mapping):
        data = data.flatten()
        names = {name: name.removeprefix("json.") for name in data.column_names}
        data = data.rename_columns(
            {old: new for old, new in names.items() if new not in data.column_names}
        )
    return data
