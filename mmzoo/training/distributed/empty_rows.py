"""A row where a replica or micro-batch has none, for layers that can't do without."""

import tensorflow as tf
from keras import tree


def filled(x, count):
    """Inputs with a row of ones where they have no row; strings are empty.

    TensorFlow's convolutions by oneDNN answer a batch of no rows with a wrong shape. Ones rather
    than zeros: a sample without a single modality or token is what a model may divide by.

    Args:
        x: Structure of tensors whose first axis is the batch; None stays None.
        count: How many rows they have, int32 scalar.
    """
    missing = tf.cast(tf.equal(count, 0), tf.int32)

    def one(value):
        if value is None:
            return None
        rest = tf.shape(value)[1:]
        rest = tf.where(count > 0, rest, tf.maximum(rest, 1))
        fill = "" if value.dtype == tf.string else tf.ones((), value.dtype)
        row = tf.fill(tf.concat([[missing], rest], 0), fill)
        made = tf.concat([tf.reshape(value, tf.concat([[count], rest], 0)), row], 0)
        return tf.ensure_shape(made, [None, *value.shape[1:]])

    return tree.map_structure(one, x)


def emptied(outputs, count):
    """What a model answers to `filled` inputs, without the row that was not there."""

    def one(value):
        made = value[: tf.where(count > 0, tf.shape(value)[0], 0)]
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            made._keras_mask = mask[: tf.where(count > 0, tf.shape(mask)[0], 0)]
        return made

    return tree.map_structure(one, outputs)
