"""The rows of a manifest, read as a stream and cut into the parts that shards are made of."""

import csv
import hashlib
import json
import re
import reprlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mmzoo.data.manifest import ManifestError
from mmzoo.files import write_json

MODALITIES = ("image", "text", "audio")
COLUMNS = ("id", "label", *MODALITIES)


def make_plan(manifest: Path, work: Path, rows_per_shard: int, columns: dict, classes) -> dict:
    """Cuts a manifest into `rows-00000.json`, …, and says what is to be done with them.

    Args:
        manifest: A `.csv`, `.jsonl` or `.parquet` file.
        work: Folder to write to.
        rows_per_shard: Positive int.
        columns: Dict of our column name to the manifest's, where they differ.
        classes: Class names that are known, or None: those found, sorted.

    Returns:
        Dict of `rows`, `shards`, `classes`, `modalities`, and `repeated`: dict of an id that came
        before to the rows that repeat it.

    Raises:
        ManifestError: If the manifest can't be read, or lacks what is needed.
    """
    names = {ours: columns.get(ours, ours) for ours in COLUMNS}
    labels: set[str] = set()
    modalities: set[str] = set()
    digests = array("Q")  # 8 bytes a row, if any has an id
    part: list[dict] = []
    count = shards = 0
    for count, cells in enumerate(stream_rows(manifest, names, set(columns)), 1):
        row = _row(count, cells, names)
        modalities.update(m for m in MODALITIES if names[m] in cells)
        if "label" in row:
            labels.add(str(row["label"]))
        if "id" in row and not digests:
            digests.extend(_digest(str(before)) for before in range(1, count))
        if "id" in row or digests:
            digests.append(_digest(identity(row)))
        part.append(row)
        if len(part) == rows_per_shard:
            write_json(work / f"rows-{shards:05d}.json", part)
            part, shards = [], shards + 1
    if part:
        write_json(work / f"rows-{shards:05d}.json", part)
        shards += 1
    if not count:
        raise ManifestError(f"{manifest}: the manifest is empty. Expected at least one data row.")
    plan = {
        "rows": count,
        "shards": shards,
        "classes": _sorted(labels) if classes is None else list(classes),
        "modalities": [m for m in MODALITIES if m in modalities],
        "repeated": _repeated(work, shards, digests),
    }
    write_json(work / "plan.json", plan)
    return plan


def identity(row: dict) -> str:
    """The row's `id`, or its number where it has none."""
    return str(row.get("id", row["row"]))


def stream_rows(manifest: Path, names: dict[str, str], needed: set[str]) -> Iterator[dict]:
    """Yields a dict of column to cell a row, without reading the manifest whole.

    A row that does not fit its header, or is no JSON object, has the key None, with what is wrong.

    Args:
        manifest: A `.csv`, `.jsonl` or `.parquet` file.
        names: Dict of our column name to the manifest's.
        needed: Which of ours must be there.

    Raises:
        ManifestError: If it can't be read, no column is a modality, or one is missing or repeated.
    """
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    reader = readers.get(manifest.suffix.lower())
    if reader is None:
        raise ManifestError(f"{manifest}: unknown extension. Expected one of {', '.join(readers)}.")

    def check(found):
        for ours, theirs in names.items():
            if found.count(theirs) > 1 or (ours in needed and theirs not in found):
                fault = "duplicate" if theirs in found else "missing"
                raise ManifestError(
                    f"{manifest}: {fault} column {theirs!r}. Columns found: {found}."
                )
        if not {names[m] for m in MODALITIES} & set(found):
            raise ManifestError(
                f"{manifest}: no image, text or audio column. Columns found: {found}."
            )

    try:
        yield from reader(manifest, set(names.values()), check)
    except ManifestError:
        raise
    except (OSError, ValueError) as error:
        raise ManifestError(f"{manifest}: it can't be read ({error}). Write it again.") from error


def _csv_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)  # a quote that nobody closes would hide what follows
        try:
            header = next(lines, None)
            if header is None:
                return
            check(header)
            for cells in lines:
                if len(cells) == len(header):
                    yield dict(zip(header, cells, strict=True))
                elif cells:  # an empty line is none
                    fault = f"Expected {len(header)} cells. Received: {len(cells)}."
                    yield {None: fault}
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from error


def _jsonl_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    found: dict[str, None] = {}
    number = 0
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line, object_pairs_hook=_distinct)
                if not isinstance(cells, dict):
                    raise ValueError(f"received {reprlib.repr(cells)}")
            except (ValueError, RecursionError) as error:
                fault = f"Line {number}: expected a JSON object ({error})."
                if not found:
                    raise ManifestError(f"{path}: it can't be read. {fault}") from error
                yield {None: fault}
            else:
                found.update(dict.fromkeys(cells))
                yield cells
    if number:  # any row may bring a column
        check(list(found))


def _distinct(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"a name comes twice in {[name for name, _ in pairs]}")
    return dict(pairs)


def _parquet_rows(path: Path, wanted: set[str], check: Callable) -> Iterator[dict]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        found = file.schema_arrow.names
        check(found)
        for batch in file.iter_batches(4096, columns=[name for name in found if name in wanted]):
            yield from batch.to_pylist()


def _row(number: int, cells: dict, names: dict[str, str]) -> dict:
    """Our columns that are not empty, the row's number, and maybe its `fault`: column and reason.

    A cell that can't be what it should is left out.
    """
    row: dict = {"row": number}
    if None in cells:
        row["fault"] = ["", cells[None]]
    for ours, theirs in names.items():
        cell = cells.get(theirs)
        if cell in (None, "") or cell != cell:  # NaN
            continue
        try:
            row[ours] = _checked(ours, cell)
        except ValueError as error:
            row.setdefault("fault", [ours, str(error)])
    return row


def _checked(ours, cell):
    allowed = (str, int) if ours in ("id", "label") else (str,)
    if type(cell) not in allowed:  # a bool is no label
        kinds = "a string or an int" if int in allowed else "a string"
        raise ValueError(f"Expected {kinds}. Received: {reprlib.repr(cell)}.")
    if isinstance(cell, str):
        cell.encode()  # JSON can hold half a character
    return cell


def _sorted(labels):
    integers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", label) for label in labels)
    return sorted(labels, key=int if integers else None)


def _digest(name):
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _repeated(work, shards, digests):
    """Rows whose id an earlier row has: dict of row to id. Few bytes a row are in memory."""
    found, counts = np.unique(np.frombuffer(digests, "uint64"), return_counts=True)
    suspects = set(found[counts > 1].tolist())
    if not suspects:
        return {}
    seen: set[str] = set()
    repeated = {}
    for k in range(shards):
        for row in json.loads((work / f"rows-{k:05d}.json").read_text(encoding="utf-8")):
            name = identity(row)
            if _digest(name) in suspects:
                if name in seen:
                    repeated[str(row["row"])] = name
                seen.add(name)
    return repeated
