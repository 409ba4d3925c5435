"""Two embeddings of a sample, as one output that a contrastive loss takes."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class Pair(keras.layers.Layer):
    """Stacks two embeddings so that their inner product is a logit.

    Both are L2-normalised. The inner product of `a_i` and `b_j` in the output is
    `cos(a_i, b_j) / temperature + bias`, where temperature and bias are learned: each embedding is
    divided by the root of the temperature, and the bias has a column of its own.

    Args:
        temperature: Float above 0 to begin with; it is kept at 0.01 or more. None: the embeddings
            are neither normalised nor scaled, for `SquaredDistance`.
        bias: Optional float to begin with, for `SigmoidContrast`; -10 suits large batches.

    Call arguments:
        inputs: Pair of float tensors `(batch, units)`.

    Returns:
        Float tensor `(batch, 2, units)`, with a bias `(batch, 2, units + 1)`.

    Raises:
        ValueError: If the temperature is not above 0, or the inputs are no two of one shape.

    Reference:
        Radford et al., 2021 (arXiv:2103.00020), temperature; Zhai et al., 2023
        (arXiv:2303.15343), bias. Differs: both are part of the embeddings, so that a loss needs
        no weights.
    """

    def __init__(self, temperature=0.07, bias=None, **kwargs):
        super().__init__(**kwargs)
        if temperature is not None and not temperature > 0:
            raise ValueError(
                f"`temperature` must be above 0, or None. Received: temperature={temperature}."
            )
        if temperature is None and bias is not None:
            raise ValueError("`bias` goes with a temperature. Received: temperature=None.")
        self.temperature, self.bias = temperature, bias

    def build(self, inputs_shape):
        if len(inputs_shape) != 2 or inputs_shape[0] != inputs_shape[1]:
            raise ValueError(
                "Expected two embeddings of one shape `(batch, units)`. Received: "
                f"{inputs_shape}. Put a Dense layer before one of them."
            )
        if self.temperature is not None:
            start = keras.initializers.Constant(-math.log(self.temperature))
            self.log_scale = self.add_weight(shape=(), initializer=start, name="log_scale")
        if self.bias is not None:
            start = keras.initializers.Constant(self.bias)
            self.offset = self.add_weight(shape=(), initializer=start, name="offset")

    def call(self, inputs):
        a, b = inputs
        if self.temperature is not None:
            scale = ops.exp(0.5 * ops.minimum(self.log_scale, math.log(100.0)))
            a, b = (ops.normalize(each, axis=-1) * scale for each in (a, b))
        if self.bias is not None:
            one = ops.ones_like(a[:, :1])
            a = ops.concatenate([a, one * ops.cast(self.offset, a.dtype)], axis=-1)
            b = ops.concatenate([b, one], axis=-1)
        return ops.stack([a, b], axis=1)  # (batch, 2, units)

    def compute_output_shape(self, inputs_shape):
        batch, units = inputs_shape[0]
        return (batch, 2, units + (self.bias is not None))

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "bias": self.bias}
