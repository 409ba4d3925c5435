"""Tensor fusion: every product of entries, one from each modality."""

import math

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int


@keras.saving.register_keras_serializable(package="mmzoo")
class TensorFusion(FusionLayer):
    """Outer product of the modalities, each with a 1 appended.

    `y = flatten([x_1; 1] ⊗ ... ⊗ [x_M; 1])`: each modality alone, each pair, and so on up to
    products of all of them; the last entry is 1. Nothing is learned but the vectors of absent
    modalities. The width grows as a product: for wide vectors use `LowRankFusion`, a learned
    linear map of this tensor that never makes it.

    Args:
        limit: Positive int. Largest width of the result that is accepted.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is its learned vector.

    Returns:
        Float tensor `(batch, F)`, `F = prod_m (D_m + 1)`, with modalities in sorted order and
        the entries of the last one varying fastest.

    Raises:
        ValueError: If `limit < 1`, the result would be wider than `limit`, the dicts' keys
            differ, or a tensor is not 2D.

    Reference:
        Zadeh et al., 2017 (arXiv:1707.07250). Differs: any number of modalities; the networks
        before and after it are other layers.

    Example:

    >>> import numpy as np
    >>> TensorFusion()({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 85])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, limit=100_000, **kwargs):
        super().__init__(**kwargs)
        self.limit = positive_int("limit", limit)

    def build_fusion(self, widths):
        products = math.prod(width + 1 for width in widths.values())
        if products > self.limit:
            raise ValueError(
                f"Expected a result of at most limit={self.limit} entries. Received: {widths}, "
                f"which make {products}. Use `LowRankFusion`, project the vectors to fewer "
                "entries first, or raise `limit`."
            )

    def fuse(self, features, masks, presence, training):
        product = None
        for name in self.modalities:
            one = ops.ones_like(features[name][:, :1])
            vector = ops.concatenate([features[name], one], axis=-1)
            if product is None:
                product = vector
                continue
            width = product.shape[-1] * vector.shape[-1]
            product = ops.expand_dims(product, 2) * ops.expand_dims(vector, 1)
            product = ops.reshape(product, (-1, width))
        return product

    def fused_shape(self, shapes):
        batch = next(iter(shapes.values()))[0]
        return (batch, math.prod(shape[-1] + 1 for shape in shapes.values()))

    def get_config(self):
        return {**super().get_config(), "limit": self.limit}
