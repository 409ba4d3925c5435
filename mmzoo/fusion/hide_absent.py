"""Absent inputs as zeros, before anything reads them."""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class HideAbsent(keras.layers.Layer):
    """Puts zeros, or empty strings, where a modality is absent.

    `y_m = x_m` where present, else 0. A choice, not a product: NaN or infinity in an absent
    input reaches neither what follows nor any gradient. For raw inputs before their encoders;
    the fusion layer behind them, which takes the same `presence`, does without the rest. Values
    that are present pass as they are, in their own dtype under every dtype policy.

    Call arguments:
        inputs: Dict of modality name to tensor `(batch, ...)` of any rank and dtype, strings too.
        presence: Dict of modality name to bool tensor `(batch,)`.

    Returns:
        Dict like `inputs`.

    Raises:
        ValueError: If the dicts differ in their modalities.

    Example:

    >>> import numpy as np
    >>> waveform = np.array([[0.5, -0.5], [np.nan, np.nan]])
    >>> hidden = HideAbsent()({"audio": waveform}, {"audio": np.array([True, False])})
    >>> hidden["audio"].numpy().tolist()
    [[0.5, -0.5], [0.0, 0.0]]
    """

    def __init__(self, **kwargs):
        # A waveform must not lose bits here because what follows computes in half precision.
        super().__init__(**{"autocast": False, **kwargs})

    def build(self, inputs_shape, presence_shape):
        check_modalities("inputs", inputs_shape, presence_shape)

    def call(self, inputs, presence):
        return {name: hide(value, presence[name]) for name, value in inputs.items()}

    def compute_output_spec(self, inputs, presence):
        check_modalities("inputs", inputs, presence)
        return {n: keras.KerasTensor(value.shape, dtype=value.dtype) for n, value in inputs.items()}


def hide(value, present):
    """A tensor `(batch, ...)` with zeros, or empty strings, where `present` (batch,) is False."""
    present = ops.reshape(present, (-1, *[1] * (len(value.shape) - 1)))
    dtype = keras.backend.standardize_dtype(value.dtype)
    if dtype == "string":
        return tf.where(present, value, "")  # keras.ops knows no strings
    if dtype in ("uint8", "uint16"):  # of which TFLite can't choose
        return ops.cast(ops.where(present, ops.cast(value, "int32"), 0), dtype)
    return ops.where(present, value, ops.zeros_like(value))


def check_modalities(kind, tensors, presence):
    """Raises ValueError if two dicts differ in their modalities."""
    if set(tensors) != set(presence):
        raise ValueError(
            f"Expected `{kind}` and `presence` of the same modalities. Received: "
            f"{sorted(tensors)} and {sorted(presence)}."
        )
