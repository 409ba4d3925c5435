"""Low-rank fusion: a linear map of the outer product that is never made."""

import keras
import numpy as np
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int


@keras.saving.register_keras_serializable(package="mmzoo")
class LowRankFusion(FusionLayer):
    """Linear map of the modalities' outer product, by a weight tensor of low rank.

    `y = sum_r a_r * prod_m ([x_m; 1] @ W_m^(r)) + b`, which is the outer product of all
    `[x_m; 1]` (see `TensorFusion`) times the weight `sum_r a_r * W_1^(r) ⊗ ... ⊗ W_M^(r)`. Time
    and memory grow with the sum of the widths, not with their product.

    Args:
        units: Positive int. Width U of the result.
        rank: Positive int. Number R of terms in the weight tensor, for each unit.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is its learned vector.

    Returns:
        Float tensor `(batch, U)`.

    Raises:
        ValueError: If `units < 1`, `rank < 1`, the dicts' keys differ, or a tensor is not 2D.

    Reference:
        Liu et al., 2018 (arXiv:1806.00064). Differs: learned weights `a_r` of the terms, as in
        the authors' program; each factor starts near 1, so that a product of many neither
        vanishes nor explodes.

    Example:

    >>> import numpy as np
    >>> LowRankFusion(8, rank=4)({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, units, rank, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.rank = positive_int("rank", rank)

    def build_fusion(self, widths):
        # A factor starts as 1 + noise of variance 1/M: the mean square of a product of M stays
        # below e. Of M factors around 0, each of variance 1, most products are close to 0.
        self._factors = {}
        for name, width in widths.items():
            noise = keras.initializers.VarianceScaling(1 / len(widths), mode="fan_in")
            self._factors[name] = [  # the rows of W_m for x_m, and the one for the 1
                self.add_weight(
                    shape=(width, self.rank * self.units),
                    initializer=noise,
                    name=f"{name}_kernel",
                ),
                self.add_weight(
                    shape=(self.rank * self.units,), initializer="ones", name=f"{name}_bias"
                ),
            ]
        self.rank_weights = self.add_weight(
            shape=(self.rank, 1), initializer=_alternating, name="rank_weights"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def fuse(self, features, masks, presence, training):
        product = None
        for name in self.modalities:
            kernel, bias = self._factors[name]
            factor = ops.matmul(features[name], kernel) + bias  # (batch, rank * units)
            product = factor if product is None else product * factor
        product = ops.reshape(product, (-1, self.rank, self.units))
        return ops.sum(product * self.rank_weights, axis=1) + self.bias

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rank": self.rank}


def _alternating(shape, dtype=None):
    """1, -1, 1, ... over the root of the rank: the ones that products start at cancel out."""
    signs = 1.0 - 2.0 * (np.arange(shape[0]) % 2)
    return ops.cast(ops.reshape(signs * shape[0] ** -0.5, shape), dtype)
