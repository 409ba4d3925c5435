"""Gated fusion: a learned gate decides, unit by unit, which modality to believe."""

import functools

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int
from mmzoo.fusion.explanation import asked, note_weights


@keras.saving.register_keras_serializable(package="mmzoo")
class GatedFusion(FusionLayer):
    """Weighs the modalities against each other in every unit of the result.

    `y = sum_m gate_m * tanh(x_m @ W_m + b_m)`; for each unit the gates are a softmax over the
    modalities, of scores `[x_1, ..., x_M] @ V_m + c_m` that read all of them. With one modality
    there is nothing to weigh: `y = tanh(x @ W + b)`, and no gate is learned.

    Args:
        units: Positive int. Width U of the result.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            gets gate 0 exactly; the others' scores read its learned vector. With every modality
            absent, the learned vectors are fused as if they were present.

    Returns:
        Float tensor `(batch, U)`, each entry in [-1, 1].

    Raises:
        ValueError: If `units < 1`, the dicts' keys differ, or a tensor is not 2D.

    Reference:
        Arevalo et al., 2017 (arXiv:1702.01992). Differs: a softmax over any number of
        modalities, which for two is the paper's `z` and `1 - z`; biases; presence.

    Example:

    >>> import numpy as np
    >>> GatedFusion(8)({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])
    """

    takes = "vectors"
    returns = "vector"

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)

    def build_fusion(self, widths):
        self._kernels, self._biases = {}, {}
        for name, width in widths.items():
            self._kernels[name] = self.add_weight(shape=(width, self.units), name=f"{name}_kernel")
            self._biases[name] = self.add_weight(
                shape=(self.units,), initializer="zeros", name=f"{name}_bias"
            )
        if len(widths) > 1:
            scores = len(widths) * self.units
            self.gate_kernel = self.add_weight(
                shape=(sum(widths.values()), scores), name="gate_kernel"
            )
            self.gate_bias = self.add_weight(shape=(scores,), initializer="zeros", name="gate_bias")

    def fuse(self, features, masks, presence, training):
        values = [
            ops.tanh(ops.matmul(features[name], self._kernels[name]) + self._biases[name])
            for name in self.modalities
        ]
        if len(values) == 1:
            return values[0]
        joined = ops.concatenate([features[name] for name in self.modalities], axis=-1)
        scores = ops.matmul(joined, self.gate_kernel) + self.gate_bias
        scores = ops.reshape(scores, (-1, len(values), self.units))  # (batch, M, units)
        here = ops.stack([presence[name] for name in self.modalities], axis=1)  # (batch, M)
        here = ops.logical_or(here, ops.logical_not(ops.any(here, axis=1, keepdims=True)))
        gates = _softmax_of_some(scores, ops.expand_dims(here, -1))
        if asked():
            note_weights(self.modalities, ops.mean(gates, axis=-1))
        return ops.sum(gates * ops.stack(values, axis=1), axis=1)

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _softmax_of_some(scores, here):
    """Softmax over axis 1 among those that are `here`, one at least; exactly 0 for others."""
    # The lowest score in an absent one's place: then no score is above that of every present
    # one, and the present ones' sum is at least 1 / M, however far apart the scores are.
    lowest = functools.reduce(ops.minimum, ops.unstack(scores, axis=1))
    scores = ops.where(here, scores, ops.expand_dims(lowest, 1))
    gates = ops.softmax(scores, axis=1) * ops.cast(here, scores.dtype)
    return gates / ops.sum(gates, axis=1, keepdims=True)
