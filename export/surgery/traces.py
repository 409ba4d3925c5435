"""A Keras model as a graph, traced once for all the questions of one export."""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.surgery.model_description import call

_shared: contextvars.ContextVar[dict | None] = contextvars.ContextVar("shared", default=None)


@contextlib.contextmanager
def share_traces() -> Iterator[None]:
    """Within the block a model is traced once for inputs of the same dtypes and sizes.

    A large model takes seconds to trace. Models must not change within the block.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def trace(model: keras.Model, inputs: dict) -> tf.types.experimental.ConcreteFunction:
    """A model in inference mode as a graph, for any batch size.

    Args:
        model: Functional model.
        inputs: Dict of input name to array; only their dtypes and their sizes behind the batch
            count.

    Returns:
        A function of a dict of tensors to a dict of tensors.
    """
    specs = input_specs(inputs)
    known = _shared.get()
    key = (
        id(model),
        tuple(sorted((name, *map(str, (s.shape, s.dtype))) for name, s in specs.items())),
    )
    if known is not None and key in known:
        return known[key][1]
    # As a concrete function: TensorFlow warns of functions that are made, and so traced, again.
    traced = tf.function(lambda values: call(model, values)).get_concrete_function(specs)
    if known is not None:
        known[key] = model, traced  # the model too: its id must not be given to a new one
    return traced


def input_specs(inputs: dict) -> dict[str, tf.TensorSpec]:
    """The inputs of a model, of arrays by name, for any batch size."""
    return {
        name: tf.TensorSpec((None, *value.shape[1:]), spec_dtype(value))
        for name, value in inputs.items()
    }


def spec_dtype(value: np.ndarray) -> tf.DType:
    """TensorFlow's dtype of an array; of texts, string."""
    return tf.string if value.dtype.kind in "SUO" else tf.as_dtype(value.dtype)
