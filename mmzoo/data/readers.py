"""Data sets as `tf.data`, each worker its own part, always in the same order.

Every reader yields dicts of scalars with the same keys: `id` (string), `label` (int64, -1 where
there is none), `image` and `audio` (string: the file's content), `text` (string), and a bool
`<modality>_present`; an absent modality is empty. `shard=(index, count)` gives a worker its part:
each record is in exactly one, without TensorFlow's own sharding.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmzoo.data.records import check_shard, describe_records

MODALITIES = ("image", "text", "audio")
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"}
SOUNDS = {".wav", ".flac", ".ogg", ".mp3"}
_GROUP = 16  # sounds that are decoded by one call
_ABSENT = {"label": -1, **dict.fromkeys(MODALITIES, b"")}


def read_records(folder, *, shard: tuple[int, int] = (0, 1), verify: bool = False):
    """Reads what `mmzoo data prepare` made.

    A worker gets whole files where there is one for each, else every `count`-th record.

    Args:
        folder: The data set's folder.
        shard: `(index, count)`: which worker, of how many.
        verify: Whether to check every file's SHA-256 first.

    Raises:
        ValueError: If it is no data set, a file was changed, or there are fewer records than
            workers.
    """
    index, count = _checked(shard)
    described = describe_records(folder)
    if described["records"] < count:
        raise ValueError(
            f"Expected a record for each of {count} workers. Received: {described['records']} in "
            f"{folder}. Take fewer workers."
        )
    whole = len(described["shards"]) >= count
    mine = described["shards"][index::count] if whole else described["shards"]
    paths = [check_shard(folder, s) if verify else Path(folder) / s["name"] for s in mine]
    content = tf.data.TFRecordDataset([str(path) for path in paths], buffer_size=1 << 20)
    if not whole:
        content = content.shard(count, index)
    features = {
        "id": tf.io.FixedLenFeature((), tf.string),
        "label": tf.io.FixedLenFeature((), tf.int64, -1),
        **{m: tf.io.FixedLenFeature((), tf.string, "") for m in MODALITIES},
    }
    # Many at a time: parsing one by one costs more than it does.
    parsed = content.batch(256).map(
        lambda records: _with_presence(tf.io.parse_example(records, features)),
        num_parallel_calls=tf.data.AUTOTUNE, deterministic=True,
    )  # fmt: skip
    return _explicit(parsed.unbatch())


def read_parquet(path, *, shard: tuple[int, int] = (0, 1), columns: dict[str, str] | None = None):
    """Reads a Parquet file with some of the columns `id`, `label` (int), `image`, `text`, `audio`.

    `image` and `audio` hold a file's content. Row groups are read one after the other.

    Args:
        path: The file.
        shard: `(index, count)`: which worker, of how many; each `count`-th row is a worker's.
        columns: Dict of our column name to the file's, where they differ.

    Raises:
        ValueError: If a column is missing, or no modality is there.
    """
    import pyarrow.parquet

    index, count = _checked(shard)
    with pyarrow.parquet.ParquetFile(path) as file:
        found = file.schema_arrow.names
    names = {ours: (columns or {}).get(ours, ours) for ours in ("id", *_ABSENT)}
    missing = [theirs for theirs in (columns or {}).values() if theirs not in found]
    names = {ours: theirs for ours, theirs in names.items() if theirs in found}
    if missing or not set(names) & set(MODALITIES):
        raise ValueError(
            f"Expected columns of image, text or audio in {path}. Received: {found}"
            + f", without {missing}." * bool(missing)
        )

    def rows():
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1024, columns=list(names.values())):
                for row in batch.to_pylist():
                    if number % count == index:
                        found = {ours: row[theirs] for ours, theirs in names.items()}
                        yield _record(found.pop("id", None), found, number)
                    number += 1

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
    index, count = _checked(shard)
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
        return _with_presence({**record, "text": empty})

    listed = tf.data.Dataset.from_tensor_slices(table)
    return _explicit(listed.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))


def decode(
    dataset,
    *,
    modalities: Sequence[str] = MODALITIES,
    image_size: tuple[int, int] = (64, 64),
    text_bytes: int = 48,
    audio_samples: int = 12_800,
    sample_rate: int = 16_000,
    threads: int = tf.data.AUTOTUNE,
):
    """Decodes records to what the models take, in parallel, in the same order.

    Args:
        dataset: What a reader returned.
        modalities: Which to decode; others are left out.
        image_size: Pair `(height, width)` in pixels that pictures are scaled to, bilinear.
        text_bytes, audio_samples: Longer texts and sounds are cut, shorter ones zero padded.
        sample_rate: In Hz; sound of another rate is resampled.
        threads: How many records at a time.

    Returns:
        Dataset of `(inputs, label)` a record: `image` uint8 `(height, width, 3)`, `text` uint8
        `(text_bytes,)`, `audio` float32 `(audio_samples,)`, zeros where absent, and
        `<modality>_present`.

    Raises:
        ValueError: If there is no such modality.
    """
    from mmzoo.data.media import read_audio

    if not modalities or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"Expected some of {MODALITIES}. Received: {tuple(modalities)}.")

    def waveforms(contents):
        found = np.zeros((len(contents), audio_samples), "float32")
        for row, content in zip(found, contents, strict=True):
            if content:
                waveform = read_audio(content, sample_rate)[:audio_samples]
                row[: len(waveform)] = waveform
        return found

    def image(content):
        height, width = image_size
        return tf.cond(
            tf.not_equal(content, ""),
            lambda: _scaled(content, height, width),
            lambda: tf.zeros((height, width, 3), tf.uint8),
        )

    def sounds(records):
        # soundfile: tensorflow-io's decoders do not load with this TensorFlow.
        found = tf.numpy_function(waveforms, [records["audio"]], tf.float32, stateful=False)
        return {**records, "audio": tf.ensure_shape(found, (None, audio_samples))}

    def text(content):
        return tf.io.decode_raw(content, tf.uint8, fixed_length=text_bytes)

    decoders = {"image": image, "text": text, "audio": lambda waveform: waveform}

    def one(record):
        inputs = {m: decoders[m](record[m]) for m in modalities}
        inputs |= {f"{m}_present": record[f"{m}_present"] for m in modalities}
        return inputs, record["label"]

    if "audio" in modalities:  # one by one the way to Python and back costs as much as decoding
        grouped = dataset.batch(_GROUP).map(sounds, num_parallel_calls=threads, deterministic=True)
        dataset = grouped.unbatch()
    return dataset.map(one, num_parallel_calls=threads, deterministic=True)


def _scaled(content, height, width):
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    right = tf.reduce_all(tf.equal(tf.shape(image)[:2], (height, width)))
    return tf.cond(
        right,
        lambda: tf.ensure_shape(image, (height, width, 3)),
        lambda: tf.cast(tf.round(tf.image.resize(image, (height, width))), tf.uint8),
    )


def _checked(shard):
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(
            f"`shard` must be (index, count) with 0 <= index < count. Received: {shard}."
        )
    return index, count


def _with_presence(record):
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
    return _explicit(
        tf.data.Dataset.from_generator(rows, output_signature=signature).map(_with_presence)
    )


def _explicit(dataset):
    """What a worker gets is its part already."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return dataset.with_options(options)
