"""Interactive attention: each modality reads every other one."""

import itertools

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class InteractiveAttention(keras.layers.Layer):
    """Additive attention between every ordered pair of modalities.

    For tokens `a` of one modality and `b` of another,
    `score(i, j) = vᵀ tanh(W1 a_i + W2 b_j)`, `weight(i, ·) = softmax_j score(i, ·)`,
    `context_i = sum_j weight(i, j) b_j`. Each ordered pair has its own W1, W2 and v. A
    pair's contexts are averaged over i; the result joins the mean token of each modality
    and the mean context of each pair.

    Args:
        units: Positive int. Width H of the hidden layer of the score.

    Call arguments:
        tokens: Dict of modality name to float tensor `(batch, N_m, D_m)`; one modality or
            more.
        masks: Dict of modality name to bool tensor `(batch, N_m)`, True where a token is
            real. A masked token gets weight 0 and is not averaged; a modality with no
            token gives zeros.

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

    def build(self, tokens_shape, masks_shape):
        if set(tokens_shape) != set(masks_shape):
            raise ValueError(
                "`tokens` and `masks` must have the same modalities. "
                f"Received: {sorted(tokens_shape)} and {sorted(masks_shape)}."
            )
        for name, shape in tokens_shape.items():
            if len(shape) != 3:
                raise ValueError(
                    "Expected tokens of shape (batch, tokens, width). "
                    f"Received: {name} of shape {tuple(shape)}."
                )
        self._modalities = sorted(tokens_shape)
        self._pair_weights = {}
        for pair in itertools.permutations(self._modalities, 2):
            label = f"{pair[0]}_reads_{pair[1]}"
            width_a, width_b = (tokens_shape[name][-1] for name in pair)
            self._pair_weights[label] = [
                self.add_weight(shape=(width_a, self.units), name=f"{label}_w1"),
                self.add_weight(shape=(width_b, self.units), name=f"{label}_w2"),
                self.add_weight(shape=(self.units, 1), name=f"{label}_v"),
            ]

    def call(self, tokens, masks):
        kept = {
            name: ops.expand_dims(ops.cast(masks[name], self.compute_dtype), -1)
            for name in self._modalities
        }
        # Not a product: what is masked may be too large for the compute dtype.
        tokens = {
            name: ops.where(kept[name] > 0, tokens[name], ops.zeros_like(tokens[name]))
            for name in self._modalities
        }
        parts = [_mean(tokens[name], kept[name]) for name in self._modalities]
        for a, b in itertools.permutations(self._modalities, 2):
            w1, w2, v = self._pair_weights[f"{a}_reads_{b}"]
            left = ops.expand_dims(ops.matmul(tokens[a], w1), 2)  # (batch, I, 1, units)
            right = ops.expand_dims(ops.matmul(tokens[b], w2), 1)  # (batch, 1, J, units)
            score = ops.squeeze(ops.matmul(ops.tanh(left + right), v), -1)  # (batch, I, J)
            weight = _masked_softmax(score, ops.transpose(kept[b], (0, 2, 1)))
            context = ops.matmul(weight, tokens[b])  # (batch, I, D_b)
            parts.append(_mean(context, kept[a]))
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, tokens_shape, masks_shape):
        widths = [shape[-1] for shape in tokens_shape.values()]
        batch = next(iter(tokens_shape.values()))[0]
        return (batch, sum(widths) * len(widths))

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
