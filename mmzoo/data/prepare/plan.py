"""The rows of a manifest, read as a stream and cut into the parts that shards are made of."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmzoo.data.manifest import ManifestError
from mmzoo.files import beside, write_json

MODALITIES = ("image", "text", "audio")
_COLUMNS = ("id", "label", *MODALITIES)


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
    labels: set[str] = set()
    digests, part, count, shards = [], [], 0, 0
    names: dict[str, str] = {}
    for number, cells in enumerate(stream_rows(manifest), 1):
        if not names:
            names = _names(manifest, columns, cells)
        row = {ours: _cell(cells.get(theirs)) for ours, theirs in names.items()}
        if row.get("label") is not None:
            labels.add(str(row["label"]))
        if "id" in names:
            digests.append(_digest(row.get("id")))
        part.append({"row": number, **row, **({"fault": cells[None]} if None in cells else {})})
        count = number
        if len(part) == rows_per_shard:
            write_json(work / f"rows-{shards:05d}.json", part)
            part, shards = [], shards + 1
    if part:
        write_json(work / f"rows-{shards:05d}.json", part)
        shards += 1
    if not count:
        raise ManifestError(f"{manifest}: the manifest is empty. Expected at least one data row.")
    known = sorted(labels, key=_as_number(labels)) if classes is None else list(classes)
    plan = {
        "rows": count,
        "shards": shards,
        "classes": known,
        "modalities": [m for m in MODALITIES if m in names],
        "repeated": _repeated(work, shards, digests),
    }
    with beside(work / "plan.json") as place:
        write_json(place, plan)
    return plan


def stream_rows(manifest: Path) -> Iterator[dict]:
    """Yields a dict of column to cell a row, without reading the manifest whole.

    A row that does not fit its header has the key None, with what is wrong.
    """
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    reader = readers.get(manifest.suffix.lower())
    if reader is None:
        raise ManifestError(f"{manifest}: unknown extension. Expected one of {', '.join(readers)}.")
    if not manifest.is_file():
        raise ManifestError(f"{manifest}: there is no such file. Check the path.")
    try:
        yield from reader(manifest)
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"{manifest}: it can't be read ({error}). Write it again.") from error


def _csv_rows(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for cells in rows:
            if len(cells) != len(header):
                fault = f"Expected {len(header)} cells. Received: {len(cells)}."
                yield {**dict.fromkeys(header), None: fault}
            else:
                yield dict(zip(header, cells, strict=True))


def _jsonl_rows(path):
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                cells = json.loads(line)
                if not isinstance(cells, dict):
                    raise ManifestError(f"{path}, line {number}: expected a JSON object.")
                yield cells


def _parquet_rows(path):
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(4096):
            yield from batch.to_pylist()


def _names(manifest, columns, cells):
    found = [name for name in cells if name is not None]
    names = {ours: columns.get(ours, ours) for ours in _COLUMNS}
    missing = [theirs for ours, theirs in columns.items() if theirs not in found]
    if missing:
        raise ManifestError(f"{manifest}: missing columns {missing}. Columns found: {found}.")
    names = {ours: theirs for ours, theirs in names.items() if theirs in found}
    if not set(names) & set(MODALITIES):
        raise ManifestError(f"{manifest}: no image, text or audio column. Columns found: {found}.")
    return names


def _cell(value):
    """None where a cell is empty."""
    return None if value in (None, "") or value != value else value


def _as_number(labels):
    return int if all(label.lstrip("-").isdecimal() for label in labels) else str


def _digest(value):
    return int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "little")


def _repeated(work, shards, digests):
    """Rows whose id an earlier row has: dict of row to id. Few bytes a row are in memory."""
    found, counts = np.unique(np.array(digests, "uint64"), return_counts=True)
    suspects = set(found[counts > 1].tolist())
    if not suspects:
        return {}
    seen: set[str] = set()
    repeated = {}
    for k in range(shards):
        for row in json.loads((work / f"rows-{k:05d}.json").read_text(encoding="utf-8")):
            name = row.get("id")
            if name is not None and _digest(name) in suspects:
                if str(name) in seen:
                    repeated[str(row["row"])] = str(name)
                seen.add(str(name))
    return repeated
