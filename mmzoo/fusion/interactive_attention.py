"""Interactive attention: each modality reads every other one."""

import itertools

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int
from mmzoo.fusion.explanation import note
from mmzoo.ops import additive_scores


@keras.saving.register_keras_serializable(package="mmzoo")
class InteractiveAttention(FusionLayer):
    """Additive attention between every ordered pair of modalities.

    For tokens `a` of one modality and `b` of another,
    `score(i, j) = vᵀ tanh(W1 a_i + W2 b_j)`, `weight(i, ·) = softmax_j score(i, ·)`,
    `context_i = sum_j weight(i, j) b_j`. Each ordered pair has its own W1, W2 and v. A
    pair's contexts are averaged over i; the result joins the mean token of each modality
    and the mean context of each pair.

    Args:
        units: Positive int, a multiple of `num_heads`. Width H of the hidden layer of the score.
        num_heads: Positive int. Heads, each with its part of the H units and so with weights of
            its own; their contexts stand side by side.
        return_attention: Whether to return `(vector, maps)`, with a dict of the weights, such as
            `"image_reads_text"`: float `(batch, num_heads, N_image, N_text)`. Rows of real
            tokens sum to 1 over real tokens.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, N_m, D_m)`, the tokens; one
            modality or more.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. A masked token gets weight 0 and is not averaged; a modality with no
            token gives zeros.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, F)`, `F = sum_m D_m + sum over pairs (a, b) of num_heads * D_b`,
        with modalities and pairs in sorted order.

    Raises:
        ValueError: If `units` or `num_heads` is no positive int, `units` is no multiple of
            `num_heads`, the dicts' keys differ, or tokens are not 3D.

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

    takes = "tokens"
    returns = "vector"

    def __init__(self, units, num_heads=1, return_attention=False, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.num_heads = positive_int("num_heads", num_heads)
        if units % num_heads:
            raise ValueError(
                "`units` must be a multiple of `num_heads`. "
                f"Received: units={units}, num_heads={num_heads}."
            )
        self.return_attention = return_attention

    def build_fusion(self, widths):
        self._pair_weights = {}
        for a, b in itertools.permutations(widths, 2):
            label = f"{a}_reads_{b}"
            self._pair_weights[a, b] = [
                self.add_weight(shape=(widths[a], self.units), name=f"{label}_w1"),
                self.add_weight(shape=(widths[b], self.units), name=f"{label}_w2"),
                self.add_weight(shape=(self.units, 1), name=f"{label}_v"),
            ]

    def fuse(self, tokens, masks, presence, training):
        kept = {m: ops.expand_dims(ops.cast(mask, self.compute_dtype), -1)
                for m, mask in masks.items()}  # fmt: skip
        parts = [_mean(tokens[name], kept[name]) for name in self.modalities]
        maps = {}
        for a, b in itertools.permutations(self.modalities, 2):
            heads = []
            for score in self._scores(a, b, tokens):
                weight = _masked_softmax(score, ops.transpose(kept[b], (0, 2, 1)))
                heads.append(weight)
                context = ops.matmul(weight, tokens[b])  # (batch, I, D_b)
                parts.append(_mean(context, kept[a]))
            maps[f"{a}_reads_{b}"] = ops.stack(heads, axis=1) * ops.expand_dims(kept[a], 1)
        note(maps)
        vector = ops.concatenate(parts, axis=-1)
        return (vector, maps) if self.return_attention else vector

    def _scores(self, a, b, tokens):
        """Of each head, `(batch, I, J)`."""
        w1, w2, v = self._pair_weights[a, b]
        left, right = ops.matmul(tokens[a], w1), ops.matmul(tokens[b], w2)
        v = ops.cast(v[:, 0], self.compute_dtype)
        width = self.units // self.num_heads
        for first in range(0, self.units, width):
            head = slice(first, first + width)
            yield additive_scores(left[..., head], right[..., head], v[head])

    def fused_shape(self, shapes):
        batch = next(iter(shapes.values()))[0]
        read = (len(shapes) - 1) * self.num_heads
        vector = (batch, sum(shape[-1] for shape in shapes.values()) * (1 + read))
        if not self.return_attention:
            return vector
        return vector, {
            f"{a}_reads_{b}": (batch, self.num_heads, shapes[a][1], shapes[b][1])
            for a, b in itertools.permutations(shapes, 2)
        }

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "return_attention": self.return_attention,
        }


def _mean(tokens, kept):
    count = ops.maximum(ops.sum(kept, axis=1), 1.0)
    return ops.sum(tokens * kept, axis=1) / count


def _masked_softmax(score, kept):
    """Softmax over the last axis; a masked place gets exactly 0, an empty row all zeros."""
    score = score - 1e4 * (1.0 - kept)
    score = ops.exp(score - ops.max(score, axis=-1, keepdims=True)) * kept
    # A row with a token sums to at least 1. A small number here would overflow in float16.
    return score / ops.maximum(ops.sum(score, axis=-1, keepdims=True), 1.0)
