"""Factorised bilinear pooling: products of projections, pooled and normalised."""

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="mmzoo")
class BilinearPooling(FusionLayer):
    """Multiplies projections of the modalities, sums groups of products, and normalises.

    `z_u = sum_r prod_m (x_m @ W_m + b_m)[u, r]`, then the signed square root
    `s = z / (z² + ε)^(1/4)`, then unit length, `y = s / (sum_u s_u² + ε)^(1/2)`.

    With ε = 0 these are `sign(z) sqrt(|z|)` and `s / |s|`, whose slopes at 0 are infinite. With
    ε = 1e-5 the two together have a slope of at most 5624, which float16 can hold; z = 1
    changes by 2.5e-6 of its value, z = 0.1 by 2.5e-4. Below float32, products, root and length
    are computed in float32.

    Args:
        units: Positive int. Width U of the result.
        rank: Positive int. Number R of products that are summed for a unit.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is its learned vector.

    Returns:
        Float tensor `(batch, U)`, each row of length 1 (0 where all products sum to 0).

    Raises:
        ValueError: If `units < 1`, `rank < 1`, the dicts' keys differ, or a tensor is not 2D.

    Reference:
        Kim et al., 2017 (arXiv:1610.04325) for the product of projections, and Yu et al., 2017
        (arXiv:1708.01471) for pooling and normalisation. Differs: any number of modalities;
        ε; no dropout and no tanh.

    Example:

    >>> import numpy as np
    >>> BilinearPooling(8, rank=5)({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, units, rank, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.rank = positive_int("rank", rank)

    def build_fusion(self, widths):
        self._projections = {}
        for name, width in widths.items():
            self._projections[name] = [
                self.add_weight(
                    shape=(width, self.units * self.rank),
                    initializer=keras.initializers.VarianceScaling(1.0, mode="fan_in"),
                    name=f"{name}_kernel",
                ),
                self.add_weight(
                    shape=(self.units * self.rank,), initializer="zeros", name=f"{name}_bias"
                ),
            ]

    def fuse(self, features, masks, presence, training):
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        product = None
        for name in self.modalities:
            kernel, bias = self._projections[name]
            factor = ops.cast(ops.matmul(features[name], kernel) + bias, wide)
            product = factor if product is None else product * factor
        pooled = ops.sum(ops.reshape(product, (-1, self.units, self.rank)), axis=-1)
        square = ops.square(pooled)
        size = ops.sqrt(square + EPSILON)
        # The squares of the root without the root: TFLite's converter takes x / sqrt(sum(x²) + ε)
        # for its own normalisation, and leaves ε out.
        length = ops.sqrt(ops.sum(square / size, axis=-1, keepdims=True) + EPSILON)
        root = pooled / ops.sqrt(size)
        return ops.cast(root / length, self.compute_dtype)

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rank": self.rank}
