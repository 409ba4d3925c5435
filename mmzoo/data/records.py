"""Records of a data set that `mmzoo data prepare` made, one by one."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmzoo.files import sha256

SCHEMA = 1
DESCRIPTION = "dataset.json"


def describe_records(folder) -> dict:
    """What `dataset.json` says.

    Raises:
        ValueError: If the folder holds no data set, an unfinished one, or one of another schema.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise ValueError(
            f"Expected a data set that `mmzoo data prepare` made. Received: {folder}, without "
            f"{DESCRIPTION}. Make it, or run it again if it was cut off."
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("schema") != SCHEMA:
        raise ValueError(
            f"Expected a data set of schema {SCHEMA}. Received: {found.get('schema')} in {path}. "
            "Make it again with `mmzoo data prepare`."
        )
    return found


def check_shard(folder, shard: dict) -> Path:
    """The shard's file, when it is what `dataset.json` says.

    Raises:
        ValueError: If it is missing or was changed.
    """
    path = Path(folder) / shard["name"]
    found = sha256(path) if path.is_file() else "no file"
    if found != shard["sha256"]:
        raise ValueError(
            f"Expected SHA-256 {shard['sha256']} of {path}. Received: {found}. Copy it again, or "
            "make it again with `mmzoo data prepare`."
        )
    return path


def read_shard(path) -> Iterator[dict]:
    """Yields each record: `id` (str), `label` (int) and bytes; what is absent is left out."""
    import tensorflow as tf

    for content in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(content).features.feature
        values = {n: (f.bytes_list.value or f.int64_list.value)[0] for n, f in features.items()}
        yield {**values, "id": values["id"].decode()}
