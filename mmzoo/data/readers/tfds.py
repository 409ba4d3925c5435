"""Data sets of TensorFlow Datasets that are on this disk already."""

import tensorflow as tf

from mmzoo.data.readers.sources import MODALITIES, checked, explicit, with_presence


def read_tfds(
    name: str,
    split: str = "train",
    *,
    columns: dict[str, str],
    data_dir=None,
    shard: tuple[int, int] = (0, 1),
):
    """Reads a prepared data set of TensorFlow Datasets; needs `pip install -e ".[tfds]"`.

    A worker gets one of `count` ranges of the split's records, as `tfds.even_splits` cuts it. The
    `id` is the one of TensorFlow Datasets: file and place.

    Args:
        name: The data set, as `tfds.builder` takes it.
        split: As `"train"` or `"train[:80%]"`.
        columns: Dict of `image`, `text` and `label`, those that are there, to its feature.
        data_dir: Folder of the data sets. None: the one of TensorFlow Datasets.
        shard: `(index, count)`: which worker, of how many.

    Raises:
        ImportError: If TensorFlow Datasets is not installed.
        ValueError: If the data set is not on this disk, a feature is missing or of another kind, or
            there are fewer records than workers.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Expected TensorFlow Datasets. Received: no such package. Run "
            '`pip install -e ".[tfds]"`.'
        ) from error

    index, count = checked(shard)
    builder = tfds.builder(name, data_dir=data_dir)
    if not builder.is_prepared():
        raise ValueError(
            f"Expected a prepared data set. Received: {name!r}, which is not in "
            f"{builder.data_path}. Run its `download_and_prepare()` first."
        )
    kinds = {
        "image": tfds.features.Image,
        "text": tfds.features.Text,
        "label": tfds.features.ClassLabel,
    }
    features = builder.info.features
    fit = all(
        ours in kinds and theirs in features and isinstance(features[theirs], kinds[ours])
        for ours, theirs in columns.items()
    )
    if not fit or not set(columns) & set(MODALITIES):
        raise ValueError(
            "Expected `columns` of image (Image), text (Text), maybe label (ClassLabel), at least "
            f"one modality. Received: {columns} of {features}."
        )
    parts = tfds.even_splits(split, count, drop_remainder=False)
    total = builder.info.splits[split].num_examples
    if total < count:
        raise ValueError(
            f"Expected a record for each of {count} workers. Received: {total} in {name!r}, "
            f"{split!r}. Take fewer workers."
        )
    found = builder.as_dataset(
        split=parts[index],
        shuffle_files=False,
        read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1),
        decoders={columns["image"]: tfds.decode.SkipDecoding()} if "image" in columns else None,
    )

    def record(row):
        values = {ours: row[theirs] for ours, theirs in columns.items()}
        absent = {"label": tf.constant(-1, tf.int64), **dict.fromkeys(MODALITIES, tf.constant(""))}
        return with_presence({"id": row["tfds_id"], **absent, **values})

    return explicit(found.map(record, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))
