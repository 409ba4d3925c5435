"""A layer that changes nothing but how fast what stands before it learns."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class GradientScale(keras.layers.Layer):
    """Returns its input and multiplies the gradient that goes back through it.

    `y = x`, `dL/dx = scale * dL/dy`. Between a modality's encoder and the fusion it slows one
    encoder down; behind a head that has a loss of its own it weighs that loss. `scale` is a
    variable that no optimizer trains: a change between two steps holds from the next one on,
    in a compiled `fit` too. An optimizer that divides by the size of the gradient, like Adam,
    undoes a scale that stays the same for all that a weight learns from; SGD does not.

    The input passes as it is, in its own dtype under every dtype policy; a Keras mask goes along.

    Call arguments:
        inputs: Float tensor of any shape.

    Returns:
        The same tensor.

    Raises:
        ValueError: If the input is not float.

    Example:

    >>> import numpy as np
    >>> layer = GradientScale()
    >>> layer.set_scale(0.5)
    >>> layer(np.array([1.0, 2.0])).numpy().tolist()
    [1.0, 2.0]
    """

    def __init__(self, **kwargs):
        # What an encoder computed must not lose bits on its way through.
        super().__init__(**{"autocast": False, **kwargs})
        self.supports_masking = True
        self.scale = self.add_weight(
            shape=(), initializer="ones", dtype="float32", trainable=False, name="scale"
        )

    def build(self, inputs_shape):
        del inputs_shape

    def call(self, inputs):
        _check_float(inputs)
        return _scaled(inputs, ops.convert_to_tensor(self.scale))

    def set_scale(self, scale):
        """Sets the scale, a finite float; below 0 it reverses the gradient."""
        if not math.isfinite(scale):
            raise ValueError(f"`scale` must be a finite float. Received: scale={scale}.")
        self.scale.assign(scale)

    def compute_output_spec(self, inputs):
        _check_float(inputs)
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


def _check_float(inputs):
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Expected a float tensor: nothing else has a gradient. Received: dtype={dtype}. "
            "Put the layer behind the encoder."
        )


@ops.custom_gradient
def _scaled(inputs, scale):
    def gradient(upstream):
        return upstream * ops.cast(scale, upstream.dtype), ops.zeros_like(scale)

    return inputs, gradient
