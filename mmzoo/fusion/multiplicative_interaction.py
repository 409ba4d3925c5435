"""Multiplicative interaction: a full bilinear form between every two modalities."""

import itertools

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int


@keras.saving.register_keras_serializable(package="mmzoo")
class MultiplicativeInteraction(FusionLayer):
    """Adds a learned bilinear form of every two modalities to a linear map of each.

    `y_u = sum over pairs a < b of x_aᵀ W_ab[:, :, u] x_b + sum_m x_m @ V_m[:, u] + c_u`. A pair
    has `D_a * D_b * U` weights: for wide vectors, project first, or use `LowRankFusion`.

    Args:
        units: Positive int. Width U of the result.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is its learned vector.

    Returns:
        Float tensor `(batch, U)`.

    Raises:
        ValueError: If `units < 1`, the dicts' keys differ, or a tensor is not 2D.

    Reference:
        Jayakumar et al., 2020, "Multiplicative Interactions and Where to Find Them" (ICLR).
        Differs: for more than two modalities, the sum over unordered pairs, with one linear map
        a modality; with one modality, the linear map alone.

    Example:

    >>> import numpy as np
    >>> vectors = {"image": np.ones((2, 16)), "text": np.ones((2, 4))}
    >>> MultiplicativeInteraction(8)(vectors).shape
    TensorShape([2, 8])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)

    def build_fusion(self, widths):
        pairs = list(itertools.combinations(self.modalities, 2))
        self._pair_kernels = []  # a dict by "a_b" would confuse a, b_c with a_b, c
        for a, b in pairs:
            # A share of the variance each; Keras would take a kernel of 3D for a convolution's.
            deviation = (widths[a] * widths[b] * len(pairs)) ** -0.5
            self._pair_kernels.append(
                self.add_weight(
                    shape=(widths[a], widths[b], self.units),
                    initializer=keras.initializers.RandomNormal(stddev=deviation),
                    name=f"{a}_{b}_kernel",
                )
            )
        self._kernels = {}
        for name, width in widths.items():
            share = keras.initializers.VarianceScaling(1 / len(widths), mode="fan_in")
            self._kernels[name] = self.add_weight(
                shape=(width, self.units), initializer=share, name=f"{name}_kernel"
            )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def fuse(self, features, masks, presence, training):
        total = self.bias
        for name in self.modalities:
            total = total + ops.matmul(features[name], self._kernels[name])
        pairs = itertools.combinations(self.modalities, 2)
        for (a, b), kernel in zip(pairs, self._pair_kernels, strict=True):
            left, right = features[a], features[b]
            kernel = ops.reshape(kernel, (left.shape[-1], -1))
            form = ops.reshape(ops.matmul(left, kernel), (-1, right.shape[-1], self.units))
            form = ops.matmul(ops.expand_dims(right, 1), form)  # (batch, 1, units)
            total = total + ops.squeeze(form, 1)
        return total

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
