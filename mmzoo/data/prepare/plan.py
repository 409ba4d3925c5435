"""The rows of a manifest, read as a stream and cut into the parts that shards are made of."""

import hashlib
import json
import warnings
from array import array
from pathlib import Path

import numpy as np

from mmzoo.data.tables.labels import Classes, similar_names
from mmzoo.data.tables.rows import COLUMNS, MODALITIES, ManifestWarning, Rows, identity
from mmzoo.io.files import write_json

__all__ = ["COLUMNS", "MODALITIES", "identity", "make_plan"]


def make_plan(manifest: Path, work: Path, rows_per_shard: int, columns: dict, classes) -> dict:
    """Cuts a manifest into `rows-00000.json`, …, and says what is to be done with them.

    Args:
        manifest: A `.csv`, `.jsonl` or `.parquet` file.
        work: Folder to write to.
        rows_per_shard: Positive int.
        columns: Dict of our column name to the manifest's, where they differ.
        classes: Class names that are known, or None: those found, sorted.

    Returns:
        Dict of `rows`, `shards`, `classes`, `modalities`, `warnings` (sentences), and `repeated`:
        dict of an id that came before to the rows that repeat it.

    Raises:
        ManifestError: If the manifest can't be read, or lacks what is needed.
    """
    rows = Rows(manifest, columns)
    labels: set[str] = set()
    digests = array("Q")  # 8 bytes a row, if any has an id
    part: list[dict] = []
    count = shards = 0
    for row in rows:
        count = row["row"]
        if "label" in row:
            labels.add(row["label"])
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
    if classes is None:
        classes = Classes.found(labels).names if labels else []
    remarks = [*rows.unused(), *similar_names(classes)]
    if remarks:
        warnings.warn(f"{manifest}: {' '.join(remarks)}", ManifestWarning, stacklevel=3)
    plan = {
        "rows": count,
        "shards": shards,
        "classes": list(classes),
        "modalities": rows.modalities,
        "warnings": remarks,
        "repeated": _repeated(work, shards, digests),
    }
    write_json(work / "plan.json", plan)
    return plan


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
