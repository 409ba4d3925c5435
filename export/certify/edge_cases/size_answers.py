"""The Keras model's answers at one size, where it has any."""

import math

import keras
import tensorflow as tf

from mmzoo.export.surgery.model_description import call, describe, keras_reason

LARGEST_TENSOR = 2**31  # bytes: a model that would make a larger one is not tried


class Refused(Exception):
    """Keras itself does not run such a size; says why."""


def answer_at(model: keras.Model, values: dict) -> dict:
    """The Keras model's answers at one size.

    Args:
        model: Functional model.
        values: Dict of its inputs to arrays.

    Returns:
        Dict of output to array.

    Raises:
        Refused: If Keras can't run such a size, or would need a tensor of more than 2 GiB.
    """
    names = [tensor.name for tensor in describe(model)[0]]
    specs = {name: tf.TensorSpec(values[name].shape, values[name].dtype) for name in names}
    function = tf.function(lambda given: call(model, given), autograph=False)
    try:
        traced = function.get_concrete_function(specs)
        largest = _largest_tensor(traced.graph)
        if largest > LARGEST_TENSOR:
            raise Refused(f"one of its tensors would take {largest / 2**30:.1f} GiB")
        made = traced({name: tf.constant(values[name]) for name in names})
    except (
        tf.errors.InvalidArgumentError,
        tf.errors.ResourceExhaustedError,
        ValueError,
        TypeError,
    ) as error:
        raise Refused(keras_reason(error)) from error
    return {name: value.numpy() for name, value in made.items()}


def _largest_tensor(graph):
    """Bytes of the largest tensor whose shape is known."""
    sizes = [
        math.prod(tensor.shape) * max(tensor.dtype.size or 0, 1)
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.is_fully_defined()
    ]
    return max(sizes, default=0)
