"""A step cut into micro-batches, one after the other."""

import contextlib

import tensorflow as tf
from keras import tree

from mmzoo.ops.sample_random import Rows


def cut(data, rows, number, pieces, after=None):
    """One micro-batch, as `(its part of the data, its rows)`.

    Args:
        data: Structure of tensors whose first axis is the batch; None stays None.
        rows: `Rows` of the whole of it.
        number: Which piece, from 0.
        pieces: Positive int, how many there are. Sizes differ by one at most, and may be 0.
        after: List of tensors, some may be None, to wait for: without, all pieces would lie in
            memory at once.
    """
    if pieces == 1:
        return data, rows
    begin, end = rows.count * number // pieces, rows.count * (number + 1) // pieces
    waited = [tf.convert_to_tensor(value) for value in after or [] if value is not None]
    with tf.control_dependencies(waited):
        part = tree.map_structure(
            lambda value: None if value is None else tf.identity(value[begin:end]), data
        )
    return part, Rows(rows.first + begin, end - begin, rows.total, rows.replicas, pieces)


def joined(predictions):
    """What the model said to all pieces, as if it had been one batch."""
    if len(predictions) == 1:
        return predictions[0]
    return tree.map_structure(lambda *parts: tf.concat(parts, 0), *predictions)


@contextlib.contextmanager
def rewound(seeds, last):
    """Draws inside don't count, but those of the last piece: one batch draws once."""
    before = [] if last else [seed.value * 1 for seed in seeds]
    yield
    for seed, value in zip(seeds, before, strict=False):
        seed.assign(value)
