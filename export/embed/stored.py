"""Vectors that were written: read with their checksums, and no id twice."""

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmzoo.io.files import sha256

EMBEDDINGS = "embeddings.json"


def load_embeddings(folder) -> tuple[list[str], dict[str, np.ndarray]]:
    """Reads what `embed_corpus` wrote, checked.

    Args:
        folder: Its `out`.

    Returns:
        The ids, and dict of column to float32 array `(records, dim)`, NaN where there is none.

    Raises:
        ValueError: If the folder is not whole, or a file was changed.
    """
    import pyarrow.parquet

    folder = Path(folder)
    path = folder / EMBEDDINGS
    if not path.is_file():
        raise ValueError(
            f"Expected vectors that `mmzoo embed` made. Received: {folder}, without {EMBEDDINGS}. "
            "Run it again if it was cut off."
        )
    described = json.loads(path.read_text(encoding="utf-8"))
    ids: list[str] = []
    empty = {c["name"]: np.zeros((0, c["dim"]), "float32") for c in described["columns"]}
    parts = {name: [value] for name, value in empty.items()}
    for part in described["parts"]:
        found = sha256(folder / part["name"]) if (folder / part["name"]).is_file() else "no file"
        if found != part["sha256"]:
            raise ValueError(
                f"Expected SHA-256 {part['sha256']} of {folder / part['name']}. Received: {found}. "
                "Make it again with `mmzoo embed`, in another folder."
            )
        table = pyarrow.parquet.read_table(folder / part["name"])
        ids += table["id"].to_pylist()
        for column in described["columns"]:
            values = table[column["name"]].combine_chunks()
            made = np.full((len(values), column["dim"]), np.nan, "float32")
            made[np.asarray(values.is_valid())] = (
                values.flatten().to_numpy().reshape(-1, column["dim"])
            )
            parts[column["name"]].append(made)
    return ids, {name: np.concatenate(values) for name, values in parts.items()}


def repeated_ids(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Ids that come more than once: dict of id to the names of the parts that have it.

    Args:
        paths: The parts. 16 bytes an id are in memory at a time.
    """
    digests = array("q")
    for _, name in _ids(paths):
        digests.append(hash(name))  # differs from process to process, which none sees
    hashes, counts = np.unique(np.frombuffer(digests, "int64"), return_counts=True)
    suspects = set(hashes[counts > 1].tolist())
    found: dict[str, list[str]] = {}
    for part, name in _ids(paths) if suspects else ():
        if hash(name) in suspects:
            found.setdefault(name, []).append(part)
    return {name: parts for name, parts in found.items() if len(parts) > 1}


def _ids(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    import pyarrow.parquet

    for path in paths:
        for name in pyarrow.parquet.read_table(path, columns=["id"])["id"].to_pylist():
            yield path.name, name
