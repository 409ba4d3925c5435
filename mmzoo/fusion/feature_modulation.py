"""Feature-wise linear modulation (FiLM): some modalities scale and shift another."""

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int


@keras.saving.register_keras_serializable(package="mmzoo")
class FeatureModulation(FusionLayer):
    """Scales and shifts a projection of the main modality, as the other modalities say.

    `y = h * prod_m gamma_m + sum_m beta_m` over the modalities m other than the main one, with
    `h = x_main @ W + b` and `[gamma_m - 1, beta_m] = x_m @ A_m + a_m`. The order of the others
    means nothing. With one modality, `y = h`.

    Args:
        units: Positive int. Width U of the result.
        main: Optional string. Name of the modality that is modulated; None: the first in sorted
            order.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality,
            the main one too, is its learned vector, and so modulates in a learned way.

    Returns:
        Float tensor `(batch, U)`.

    Raises:
        ValueError: If `units < 1`, `main` is not among the modalities, the dicts' keys differ,
            or a tensor is not 2D.

    Reference:
        Perez et al., 2018 (arXiv:1709.07871). Differs: a vector is modulated, not the maps of a
        convolution; more than one modality may do it, by the product of their scales and the
        sum of their shifts.

    Example:

    >>> import numpy as np
    >>> vectors = {"image": np.ones((2, 16)), "text": np.ones((2, 4))}
    >>> FeatureModulation(8, main="image")(vectors).shape
    TensorShape([2, 8])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, units, main=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.main = main

    def build_fusion(self, widths):
        if self.main is not None and self.main not in widths:
            raise ValueError(
                f"Expected `main` to be one of the modalities, {sorted(widths)}, or None. "
                f"Received: main={self.main!r}."
            )
        self._modulated = self.modalities[0] if self.main is None else self.main
        self.kernel = self.add_weight(shape=(widths[self._modulated], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self._modulations = {}
        self._others = [name for name in self.modalities if name != self._modulated]
        for name in self._others:
            # A share of the variance each: (1 + 1/k)^k stays below e for any number of them.
            share = keras.initializers.VarianceScaling(1 / len(self._others), mode="fan_in")
            self._modulations[name] = [
                self.add_weight(
                    shape=(widths[name], 2 * self.units), initializer=share, name=f"{name}_kernel"
                ),
                self.add_weight(shape=(2 * self.units,), initializer="zeros", name=f"{name}_bias"),
            ]

    def fuse(self, features, masks, presence, training):
        scaled = ops.matmul(features[self._modulated], self.kernel) + self.bias
        shift = None
        for name in self._others:
            kernel, bias = self._modulations[name]
            modulation = ops.matmul(features[name], kernel) + bias  # (batch, 2 * units)
            scaled = scaled * (1.0 + modulation[:, : self.units])
            beta = modulation[:, self.units :]
            shift = beta if shift is None else shift + beta
        return scaled if shift is None else scaled + shift

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "main": self.main}
