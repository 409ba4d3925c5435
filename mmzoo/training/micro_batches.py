"""A step cut into micro-batches, one after the other."""

import contextlib

import tensorflow as tf
from keras import tree

from mmzoo.ops.sample_random import Rows


def cut(data, rows, pieces, after):
    """Yields `(piece of the data, its rows)`; each waits for the one before it.

    Args:
        data: Structure of tensors whose first axis is the batch; None stays None.
        rows: `Rows` of the whole of it.
        pieces: Positive int. Sizes differ by one at most, and may be 0.
        after: Function of what the next piece is to wait for, or None: else all would lie in
            memory at once.
    """
    if pieces == 1:
        yield data, rows
        return
    for k in range(pieces):
        begin, end = rows.count * k // pieces, rows.count * (k + 1) // pieces
        with tf.control_dependencies([tf.convert_to_tensor(v) for v in after() or [] if v is not None]):
            piece = tree.map_structure(
                lambda value: None if value is None else tf.identity(value[begin:end]), data
            )
        yield piece, Rows(rows.first + begin, end - begin, rows.total, rows.replicas, pieces)


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
