"""Records of a data set that `mmzoo data prepare` made, one by one."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmzoo.io.files import sha256

SCHEMA = 1
DESCRIPTION = "dataset.json"
_AGAIN = "Copy it again, or make it again with `mmzoo data prepare`."


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
        if path.is_file():  # which record it is, where one can't be read
            check_length(path, shard)
            for _ in read_shard(path):
                pass
        raise ValueError(
            f"Expected SHA-256 {shard['sha256']} of {path}. Received: {found}. Copy it again, or "
            "make it again with `mmzoo data prepare`."
        )
    return path


def check_length(path: Path, shard: dict) -> None:
    """Compares the length of a shard's file with `dataset.json`, which takes no time.

    Raises:
        ValueError: If it is missing, cut or longer.
    """
    found = path.stat().st_size if path.is_file() else None
    if found == shard["bytes"]:
        return
    received = "no such file" if found is None else f"{found:,} bytes"
    raise ValueError(
        f"Expected {shard['bytes']:,} bytes ({shard['records']:,} records) in {path}. Received: "
        f"{received}.{_where(path)} {_AGAIN}"
    )


def read_shard(path) -> Iterator[dict]:
    """Yields each record: `id` (str), `label` (int) and bytes; what is absent is left out.

    Raises:
        ValueError: If a record is damaged; names the file and the record's number, from 1.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number, left = 0, Path(path).stat().st_size
    contents = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    while True:
        number += 1
        try:
            content = next(contents, None)
            if content is None:
                if left:  # TensorFlow takes less than a record's head for the end
                    raise LookupError("a record is cut")
                return
            left -= len(content) + 16  # its length and two checksums
            features = tf.train.Example.FromString(content).features.feature
            values = {n: (f.bytes_list.value or f.int64_list.value)[0] for n, f in features.items()}
            record = {**values, "id": values["id"].decode()}
        except (tf.errors.OpError, DecodeError, LookupError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: record {number} is damaged. {_AGAIN}") from error
        yield record


def _where(path):
    if not path.is_file():
        return ""
    try:
        for _ in read_shard(path):
            pass
    except ValueError as error:
        return f" Its {str(error).partition(': ')[2].partition('.')[0]}."
    return ""
