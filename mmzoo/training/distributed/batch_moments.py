"""Mean and variance of a batch that lies on several replicas."""

import keras
import tensorflow as tf
from keras import ops

from mmzoo.ops.sample_random import current_rows
from mmzoo.training.distributed.empty_rows import emptied


def take_over_replicas(layer) -> None:
    """Makes a `BatchNormalization` take its moments over all rows there are, on all replicas.

    Differs: Keras' `synchronized=True` leaves a mask to each replica, and takes the variance as
    E[x²] - E[x]², of which float32 leaves nothing where the mean is large.

    Args:
        layer: `keras.layers.BatchNormalization` of a `DistributedModel`.
    """
    alone = type(layer)._moments

    def moments(inputs, mask):
        rows = current_rows()
        if rows is None:  # not in a step
            return alone(layer, inputs, mask)
        inputs = emptied(inputs, rows.count)
        axes = layer._reduction_axes
        there = ops.ones_like(inputs)
        if mask is not None:
            mask = ops.expand_dims(emptied(mask, rows.count), -1)
            there = there * ops.cast(mask, inputs.dtype)
        total, count = _summed([ops.sum(inputs * there, axes), ops.sum(there, axes)])
        if mask is not None:
            count = count + keras.config.epsilon()
        mean = ops.divide_no_nan(total, count)
        shape = [1 if k in axes else -1 for k in range(len(inputs.shape))]
        # The sum of what differs from the mean is 0, so the variance has no gradient by it.
        apart = inputs - ops.reshape(tf.stop_gradient(mean), shape)
        (squares,) = _summed([ops.sum(ops.square(apart) * there, axes)])
        return mean, ops.divide_no_nan(squares, count)

    layer._moments = moments


def _summed(values):
    """Vectors summed over the replicas, by one exchange."""
    summed = tf.distribute.get_replica_context().all_reduce("SUM", tf.concat(values, 0))
    return tf.split(summed, len(values))
