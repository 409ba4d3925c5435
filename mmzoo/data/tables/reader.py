"""The one reader of tables: CSV, JSON lines and Parquet as a stream, and a DataFrame."""

import codecs
import csv
import json
import re
import reprlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmzoo.data.tables.labels import class_name

_OTHERS = {
    ".xlsx": "an Excel workbook. Save it as CSV UTF-8 (.csv)",
    ".xls": "an Excel workbook. Save it as CSV UTF-8 (.csv)",
    ".ods": "a spreadsheet. Save it as CSV in UTF-8 (.csv)",
    ".json": "JSON. Write one object a line (.jsonl)",
    ".gz": "compressed. Unpack it",
    ".zip": "compressed. Unpack it",
}
_CONTENTS = {
    b"PK\x03\x04": _OTHERS[".xlsx"],
    b"\xd0\xcf\x11\xe0": _OTHERS[".xls"],
    b"PAR1": "Parquet. Name it .parquet",
    b"\x1f\x8b": _OTHERS[".gz"],
}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
}  # fmt: skip
_SEPARATORS = ",;\t|"


class ManifestError(ValueError):
    """A manifest that can't be loaded: the file, the 1-based data row, the column, the cause."""


def is_frame(source) -> bool:
    """Whether it is a pandas DataFrame, or can become one."""
    return hasattr(source, "iloc") or hasattr(source, "to_pandas")


def read_table(source, wanted: set[str], check: Callable[[list[str]], None]) -> Iterator[dict]:
    """Yields a dict of column to cell a row, without reading the file whole.

    A row that does not fit its header, or is no JSON object, has the key None, with what is wrong.

    Args:
        source: A `.csv`, `.tsv`, `.jsonl` or `.parquet` file, or a DataFrame.
        wanted: Names of the columns that are looked for; others may be left out.
        check: Called with the names of all columns; raises if they don't do.

    Raises:
        ManifestError: If it can't be read.
    """
    if is_frame(source):
        yield from _frame_rows(source, check)
        return
    readers = {
        suffix: {"csv": _csv_rows, "json": _jsonl_rows, "parquet": _parquet_rows}[kind]
        for suffix, kind in SUFFIXES.items()
    }
    kind = source.suffix.lower()
    if kind not in readers:
        is_known = f", which is {_OTHERS[kind]}" if kind in _OTHERS else ""
        raise ManifestError(
            f"{source}: unknown extension. Expected one of {', '.join(readers)}. Received: "
            f"{kind!r}{is_known}."
        )
    if not source.is_file():
        raise ManifestError(f"{source}: there is no such file. Check the path.")
    try:
        yield from readers[kind](source, wanted, check)
    except ManifestError:
        raise
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: {_not_decoded(source, error)}") from error
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{source}: it can't be read ({error}). Correct it or write it again."
        ) from error


def _open_text(path, newline=None):
    with path.open("rb") as file:
        start = file.read(4096)
    for content, what in _CONTENTS.items():
        if start.startswith(content):
            raise ManifestError(f"{path}: expected text. Received: a file that is {what}.")
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")
    if encoding == "utf-8" and start.count(0) > len(start) // 4:  # UTF-16 without its mark
        encoding = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return path.open(encoding=encoding, newline=newline)


def _not_decoded(path, error):
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                byte = line[found.start : found.start + 1]
                return (
                    f"expected UTF-8. Line {number} holds the byte 0x{byte.hex()}, which is "
                    f"{byte.decode('cp1252', 'replace')!r} in Latin-1 (Windows-1252). Save the "
                    "file as UTF-8."
                )
    return f"expected text in {error.encoding} ({error.reason}). Save the file as UTF-8."


def _separator(line, wanted, separators):
    """The one that gives most of the columns that are wanted, then most cells; and the cells."""

    def split(separator):
        return next(csv.reader([line], delimiter=separator), [])

    def score(separator):
        cells = split(separator)
        return len(wanted & {cell.strip() for cell in cells}), len(cells)

    best = max(separators, key=score)  # the first of equals
    return best, split(best)


def _csv_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    with _open_text(path, newline="") as file:
        skipped, line = 0, file.readline()
        while line and not line.strip():
            skipped, line = skipped + 1, file.readline()
        named = re.fullmatch(r'"?sep=(.)"?\s*', line)  # what Excel reads and writes
        if named:
            skipped, line = skipped + 1, file.readline()
        order = "\t" + _SEPARATORS if path.suffix.lower() == ".tsv" else _SEPARATORS
        separator, cells = _separator(line, wanted, named[1] if named else order)
        file.seek(0)
        for _ in range(skipped):
            file.readline()
        spaced = separator != "\t" and any(cell.startswith(" ") for cell in cells)
        # Strict: a quote that nobody closes would hide what follows.
        lines = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=spaced)
        begin = skipped + 1
        try:
            header = next(lines, None)
            if not header:
                return
            header = [class_name(name) for name in header]
            check(header)
            begin = skipped + lines.line_num + 1
            for cells in lines:
                if len(cells) == len(header):
                    yield dict(zip(header, cells, strict=True))
                elif cells:  # an empty line is none
                    yield {None: f"Expected {len(header)} cells. Received: {len(cells)}."}
                begin = skipped + lines.line_num + 1
        except csv.Error as error:
            raise ManifestError(
                f"{path}, line {begin}: it can't be read ({error}). Close the quote that is open "
                'there, and write a quote inside a cell twice (""); JSON lines take cells of more '
                f"than {csv.field_size_limit():,} characters."
            ) from error


def _jsonl_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    found: dict[str, None] = {}
    is_begun = False
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line, object_pairs_hook=_distinct)
                if not isinstance(cells, dict):
                    raise ValueError(f"received {reprlib.repr(cells)}")
            except (ValueError, RecursionError) as error:
                fault = f"Line {number}: expected a JSON object ({error})."
                if not is_begun:
                    raise ManifestError(f"{path}: it can't be read. {fault}") from error
                yield {None: fault}
            else:
                is_begun = True
                found.update(dict.fromkeys(cells))
                yield cells
    if is_begun:  # any row may bring a column
        check(list(found))


def _distinct(pairs):
    named = {class_name(name): value for name, value in pairs}
    if len(named) < len(pairs):
        raise ValueError(f"a name comes twice in {[name for name, _ in pairs]}")
    return named


def _parquet_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    import pyarrow.parquet

    if not path.stat().st_size:
        return
    with pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        found = {name: class_name(name) for name in names}
        check([found[name] for name in names])
        for batch in file.iter_batches(4096, columns=[n for n in names if found[n] in wanted]):
            for row in batch.to_pylist():
                yield {found[name]: cell for name, cell in row.items()}


def _frame_rows(frame, check: Callable) -> Iterator[dict]:
    import pandas as pd

    frame = frame if hasattr(frame, "iloc") else frame.to_pandas()
    if getattr(frame, "ndim", 0) != 2:
        raise ManifestError("DataFrame: expected one. Received: a Series. Call `to_frame()`.")
    names = [class_name(name) for name in frame.columns]
    check(names)
    for cells in zip(*(frame.iloc[:, k] for k in range(len(names))), strict=True):
        yield {name: _plain(cell, pd) for name, cell in zip(names, cells, strict=True)}


def _plain(cell: Any, pd):
    """Python's own value, None where pandas says that there is none."""
    if isinstance(cell, Path):
        return str(cell)
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return None
    return cell.item() if hasattr(cell, "item") and not hasattr(cell, "__len__") else cell
