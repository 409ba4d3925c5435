"""Early fusion: features number by number."""

import functools

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int

MODES = ("sum", "mean", "max", "product")


@keras.saving.register_keras_serializable(package="mmzoo")
class ElementwiseFusion(FusionLayer):
    """Sum, mean, maximum or product of the modalities' vectors, number by number.

    `y_k = sum_m h_mk` (or mean, max, product), with `h_m = x_m @ W_m + b_m` where there are
    `units`, else `h_m = x_m`.

    An absent modality takes part, as its learned vector, projected like any other; it is not
    left out. In a product that vector counts as its distance from 1: at first an absent
    modality is nearly the factor 1, where a factor near 0 would hide all others.

    Args:
        units: Optional positive int. Width U to which each modality is projected. None: no
            projection, for modalities of one width.
        mode: "sum", "mean", "max" or "product".

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is one learned vector.

    Returns:
        Float tensor `(batch, units)`, or `(batch, D)` without `units`.

    Raises:
        ValueError: If `units < 1`, `mode` is none of the four, the dicts' keys differ, a
            tensor is not 2D, or widths differ without `units`.

    Reference:
        Baltrusaitis et al., 2017 (arXiv:1705.09406), early fusion. Differs: learned vectors
        for what is absent.

    Example:

    >>> import numpy as np
    >>> features = {"image": np.full((1, 2), 3.0), "text": np.array([[1.0, 5.0]])}
    >>> ElementwiseFusion(mode="max")(features).numpy().tolist()
    [[3.0, 5.0]]
    >>> ElementwiseFusion(8)({"image": np.ones((2, 3)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])
    """

    def __init__(self, units=None, mode="sum", **kwargs):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}.")
        self.units = units if units is None else positive_int("units", units)
        self.mode = mode

    takes = "vectors"
    returns = "vector"

    def build_fusion(self, widths):
        if self.units is None and len(set(widths.values())) != 1:
            raise ValueError(
                "Expected vectors of one width for every modality, without `units`. "
                f"Received: {widths}. Pass `units` to project each to one width."
            )
        self._projections = {}
        for name, width in widths.items() if self.units is not None else ():
            self._projections[name] = [
                self.add_weight(shape=(width, self.units), name=f"{name}_kernel"),
                self.add_weight(shape=(self.units,), initializer="zeros", name=f"{name}_bias"),
            ]

    def fuse(self, features, masks, presence, training):
        parts = []
        for name in self.modalities:
            part = features[name]
            if self.units is not None:
                kernel, bias = self._projections[name]
                part = ops.matmul(part, kernel) + bias
            if self.mode == "product":
                part = ops.where(ops.expand_dims(presence[name], -1), part, part + 1.0)
            parts.append(part)
        combine = {"max": ops.maximum, "product": ops.multiply}.get(self.mode, ops.add)
        fused = functools.reduce(combine, parts)
        return fused / len(parts) if self.mode == "mean" else fused

    def fused_shape(self, shapes):
        batch, width = next(iter(shapes.values()))
        return (batch, width if self.units is None else self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "mode": self.mode}
