"""Interactive attention: each modality reads every other one."""

import itertools

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer


@keras.saving.register_keras_serializable(package="mmzoo")
class InteractiveAttention(FusionLayer):
    """Additive attention between every ordered pair of modalities.

    For tokens `a` of one modality and `b` of another,
    `score(i, j) = vᵀ tanh(W1 a_i + W2 b_j)`, `weight(i, ·) = softmax_j score(i, ·)`,
    `context_i = sum_j weight(i, j) b_j`. Each ordered pair has its own W1, W2 and v. A
    pair's contexts are averaged over i; the result joins the mean token of each modality
    and the mean context of each pair.

    Args:
        units: Positive int. Width H of the hidden layer of the score.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, N_m, D_m)`, the tokens; one
            modality or more.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. A masked token gets weight 0 and is not averaged; a modality with no
            token gives zeros.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, F)`, `F = sum_m D_m + sum over pairs (a, b) of D_b`, with
        modalities and pairs in sorted order.

    Raises:
        ValueError: If `units < 1`, the dicts' keys differ, or tokens are not 3D.

    Reference:
        Bahdanau et al., 2015 (arXiv:1409.0473). Differs: between modalities, in both
        directions, without a recurrent state.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> masks = {"image": np.ones((2, 16), bool), "text": np.ones((2, 5), bool)}
    >>> InteractiveAttention(8)(tokens, masks).shape
    TensorShape([2, 24])
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise ValueError(f"`units` must be a positive int. Received: units={units!r}.")
        self.units = units

    takes = "tokens"
    returns = "vector"

    def build_fusion(self, widths):
        self._pair_weights = {}
        for a, b in itertools.permutations(widths, 2):
            label = f"{a}_reads_{b}"
            self._pair_weights[label] = [
                self.add_weight(shape=(widths[a], self.units), name=f"{label}_w1"),
                self.add_weight(shape=(widths[b], self.units), name=f"{label}_w2"),
                self.add_weight(shape=(self.units, 1), name=f"{label}_v"),
            ]

    def fuse(self, tokens, masks, presence, training):
        kept = {m: ops.expand_dims(ops.cast(mask, self.compute_dtype), -1)
                for m, mask in masks.items()}  # fmt: skip
        parts = [_mean(tokens[name], kept[name]) for name in self.modalities]
        for a, b in itertools.permutations(self.modalities, 2):
            w1, w2, v = self._pair_weights[f"{a}_reads_{b}"]
            left = ops.expand_dims(ops.matmul(tokens[a], w1), 2)  # (batch, I, 1, units)
            right = ops.expand_dims(ops.matmul(tokens[b], w2), 1)  # (batch, 1, J, units)
            score = ops.squeeze(ops.matmul(ops.tanh(left + right), v), -1)  # (batch, I, J)
            weight = _masked_softmax(score, ops.transpose(kept[b], (0, 2, 1)))
            context = ops.matmul(weight, tokens[b])  # (batch, I, D_b)
            parts.append(_mean(context, kept[a]))
        return ops.concatenate(parts, axis=-1)

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], sum(s[-1] for s in shapes.values()) * len(shapes))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _mean(tokens, kept):
    count = ops.maximum(ops.sum(kept, axis=1), 1.0)
    return ops.sum(tokens * kept, axis=1) / count


def _masked_softmax(score, kept):
    """Softmax over the last axis; a masked place gets exactly 0, an empty row all zeros."""
    score = score - 1e4 * (1.0 - kept)
    score = ops.exp(score - ops.max(score, axis=-1, keepdims=True)) * kept
    # A row with a token sums to at least 1. A small number here would overflow in float16.
    return score / ops.maximum(ops.sum(score, axis=-1, keepdims=True), 1.0)
