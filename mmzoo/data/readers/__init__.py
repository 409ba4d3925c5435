"""Data sets as `tf.data`, each worker its own part, always in the same order.

Every reader yields dicts of scalars with the same keys: `id` (string), `label` (int64, -1 where
there is none), `image` and `audio` (string: the file's content), `text` (string), and a bool
`<modality>_present`; an absent modality is empty. `shard=(index, count)` gives a worker its part:
each record is in exactly one, without TensorFlow's own sharding.
"""

from mmzoo.data.readers.decoding import decode
from mmzoo.data.readers.sources import read_folder, read_parquet, read_records
from mmzoo.data.readers.tfds import read_tfds

__all__ = ["decode", "read_folder", "read_parquet", "read_records", "read_tfds"]
