"""Records, Parquet files and folders, each worker its own part."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmzoo.data.records import check_length, check_shard, describe_records

MODALITIES = ("image", "text", "audio")
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
SOUNDS = {
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64",
    ".rf64",
}  # fmt: skip
_ABSENT = {"label": -1, **dict.fromkeys(MODALITIES, b"")}


def read_records(folder, *, shard: tuple[int, int] = (0, 1), verify: bool = False):
    """Reads what `mmzoo data prepare` made.

    A worker gets whole files where there is one with records for each, else every `count`-th
    record.

    Args:
        folder: The data set's folder.
        shard: `(index, count)`: which worker, of how many.
        verify: Whether to check every file's SHA-256 first, which names a damaged record; its
            length is checked without.

    Raises:
        ValueError: If it is no data set, a file was changed, or there are fewer records than
            workers.
    """
    index, count = checked(shard)
    described = describe_records(folder)
    if described["records"] < count:
        raise ValueError(
            f"Expected a record for each of {count} workers. Received: {described['records']} in "
            f"{folder}. Take fewer workers."
        )
    filled = [s for s in described["shards"] if s["records"]]
    whole = len(filled) >= count
    mine = filled[index::count] if whole else filled
    paths = [check_shard(folder, s) if verify else Path(folder) / s["name"] for s in mine]
    for path, described_shard in zip(paths, mine, strict=True):
        check_length(path, described_shard)
    content = tf.data.TFRecordDataset([str(path) for path in paths], buffer_size=1 << 20)
    if not whole:
        content = content.shard(count, index)
    features = {
        "id": tf.io.FixedLenFeature((), tf.string),
        "label": tf.io.FixedLenFeature((), tf.int64, -1),
        **{m: tf.io.FixedLenFeature((), tf.string, "") for m in MODALITIES},
    }
    # Some at a time: parsing one by one costs more than it does.
    parsed = content.batch(32).map(
        lambda records: with_presence(tf.io.parse_example(records, features)),
        num_parallel_calls=tf.data.AUTOTUNE, deterministic=True,
    )  # fmt: skip
    return explicit(parsed.unbatch())


def read_parquet(path, *, shard: tuple[int, int] = (0, 1), columns: dict[str, str] | None = None):
    """Reads a Parquet file with some of the columns `id`, `label` (int), `image`, `text`, `audio`.

    `image` and `audio` hold a file's content. A worker gets whole row groups where there is one
    for each, else every `count`-th row.

    Args:
        path: The file.
        shard: `(index, count)`: which worker, of how many.
        columns: Dict of our column name to the file's, where they differ.

    Raises:
        ValueError: If a column is missing, no modality is there, or there are fewer rows than
            workers.
    """
    import pyarrow.parquet

    index, count = checked(shard)
    with pyarrow.parquet.ParquetFile(path) as file:
        found = file.schema_arrow.names
        groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    names = {ours: (columns or {}).get(ours, ours) for ours in ("id", *_ABSENT)}
    missing = [theirs for theirs in (columns or {}).values() if theirs not in found]
    names = {ours: theirs for ours, theirs in names.items() if theirs in found}
    if missing or not set(names) & set(MODALITIES):
        raise ValueError(
            f"Expected columns of image, text or audio in {path}. Received: {found}"
            + f", without {missing}." * bool(missing)
        )

    if sum(groups) < count:
        raise ValueError(
            f"Expected a row for each of {count} workers. Received: {sum(groups)} in {path}. Take "
            "fewer workers."
        )
    filled = [k for k, rows in enumerate(groups) if rows]
    whole = len(filled) >= count

    def rows():
        with pyarrow.parquet.ParquetFile(path) as file:
            for group in filled[index::count] if whole else filled:
                batches = file.iter_batches(1024, row_groups=[group], columns=list(names.values()))
                cells = (row for batch in batches for row in batch.to_pylist())
                for number, row in enumerate(cells, sum(groups[:group])):
                    if whole or number % count == index:
                        found = {ours: row[theirs] for ours, theirs in names.items()}
                        yield _record(found.pop("id", None), found, number)

    return _generated(rows)


def read_folder(root, *, shard: tuple[int, int] = (0, 1), classes: Sequence[str] | None = None):
    """Reads pictures and sounds that lie in a folder a class: `root/apple/1.png`.

    Args:
        root: The folder of the classes' folders.
        shard: `(index, count)`: which worker, of how many; each `count`-th file is a worker's.
        classes: Names of the folders, in the order of their labels; None: all, sorted.

    Raises:
        ValueError: If there is no file of a known kind.
    """
    index, count = checked(shard)
    root = Path(root)
    known = sorted(p.name for p in root.iterdir() if p.is_dir()) if classes is None else classes
    files = [
        (label, path)
        for label, name in enumerate(known)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in PICTURES | SOUNDS
    ]
    if len(files) < count:
        raise ValueError(
            f"Expected a picture or sound for each of {count} workers in folders of {root}, one a "
            f"class. Received: {len(files)}."
        )

    mine = files[index::count]
    table = {
        "id": [path.relative_to(root).as_posix() for _, path in mine],
        "label": np.array([label for label, _ in mine], "int64"),
        "path": [str(path) for _, path in mine],
        "pictured": [path.suffix.lower() in PICTURES for _, path in mine],
    }

    def read(row):
        content, empty = tf.io.read_file(row["path"]), tf.constant("")
        image = tf.where(row["pictured"], content, empty)
        audio = tf.where(row["pictured"], empty, content)
        record = {"id": row["id"], "label": row["label"], "image": image, "audio": audio}
        return with_presence({**record, "text": empty})

    listed = tf.data.Dataset.from_tensor_slices(table)
    return explicit(listed.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))


def checked(shard):
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(
            f"`shard` must be (index, count) with 0 <= index < count. Received: {shard}."
        )
    return index, count


def with_presence(record):
    return {**record, **{f"{m}_present": tf.not_equal(record[m], "") for m in MODALITIES}}


def _record(identity, found, number):
    values = {**_ABSENT, **{name: value for name, value in found.items() if value is not None}}
    return {"id": str(number + 1 if identity is None else identity), **values}


def _generated(rows):
    signature = {
        "id": tf.TensorSpec((), tf.string),
        "label": tf.TensorSpec((), tf.int64),
        **{m: tf.TensorSpec((), tf.string) for m in MODALITIES},
    }
    return explicit(
        tf.data.Dataset.from_generator(rows, output_signature=signature).map(with_presence)
    )


def explicit(dataset):
    """What a worker gets is its part already."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return dataset.with_options(options)
