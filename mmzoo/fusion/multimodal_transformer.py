"""Multimodal transformer: a crossmodal transformer for each ordered pair of modalities."""

import itertools

import keras
from keras import ops

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.transformer import AttentionFusion, pool


@keras.saving.register_keras_serializable(package="mmzoo")
class MultimodalTransformer(AttentionFusion):
    """Adapts each modality to every other by transformers, then merges what was made of it.

    For each ordered pair of modalities, a transformer of its own starts from a's tokens; in
    every layer they read b's projected tokens as they came, not as another layer left them. All
    that was made of a, side by side, then goes through a self-attention transformer of a. The
    result joins the mean real token of each modality, normalised. With one modality there is
    self-attention alone.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token of a pair.
        num_heads: Positive int.
        num_layers: Positive int. Of each pair's transformer, and of each self-attention one.
        return_attention: Whether to return `(vector, maps)`, with a dict of maps such as
            `"layer_0_image_reads_text"`: float `(batch, num_heads, N_image, N_text)`, and
            `"layer_0_image_reads_image"`, of self-attention. The rows of each sum to 1.

    Call arguments:
        features: Dict of modality name to float tensor of tokens `(batch, N_m, D_m)`.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. Others are not read and not averaged; a modality with no token gives zeros.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, F)`, `F = M * max(M - 1, 1) * units` for M modalities, in sorted
        order.

    Raises:
        ValueError: If a number is no positive int, `units` is no multiple of `num_heads`, or
            the inputs are not as `FusionLayer` says.

    Reference:
        Tsai et al., 2019 (arXiv:1906.00295). Differs: any number of modalities; a projection
        of single tokens instead of a convolution over time; no positions, as not every
        modality's tokens are in order (add them to the tokens where they are); a mean token
        instead of the last one; no biases in attention.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> MultimodalTransformer(8, num_heads=2, num_layers=1)(tokens).shape
    TensorShape([2, 16])
    """

    returns = "vector"

    def __init__(self, units, num_heads, num_layers, return_attention=False, **kwargs):
        super().__init__(units, num_heads, return_attention, **kwargs)
        self.num_layers = positive_int("num_layers", num_layers)

    def build_fusion(self, widths):
        super().build_fusion(widths)
        layers = range(self.num_layers)
        self.pairs, self.pair_norms = {}, {}
        for a, b in itertools.permutations(widths, 2):
            label = f"{a}_reads_{b}"
            self.pairs[label] = [self.new_block(f"{label}_{k}") for k in layers]
            self.pair_norms[label] = self.new_norm(f"{label}_norm")
        merged = max(len(widths) - 1, 1) * self.units
        self.merges = {m: [self.new_block(f"{m}_{k}", merged) for k in layers] for m in widths}
        self.norms = {m: self.new_norm(f"{m}_norm", merged) for m in widths}

    def attend(self, tokens, masks, presence):
        made: dict[str, list] = {m: [] for m in tokens}
        readings = []
        for a, b in itertools.permutations(tokens, 2):
            label, state = f"{a}_reads_{b}", tokens[a]
            for k, block in enumerate(self.pairs[label]):
                state, weights = block(state, masks[b], tokens[b])
                readings.append((f"layer_{k}_", weights, {a: masks[a]}, {b: masks[b]}))
            made[a].append(self.pair_norms[label](state))
        states = {}
        for m in self.modalities:
            state = ops.concatenate(made[m] or [tokens[m]], axis=-1)
            for k, block in enumerate(self.merges[m]):
                state, weights = block(state, masks[m])
                readings.append((f"layer_{k}_", weights, {m: masks[m]}, {m: masks[m]}))
            states[m] = state
        return pool(states, masks, self.norms), readings

    def fused_shape(self, shapes):
        count = len(shapes)
        return (next(iter(shapes.values()))[0], count * max(count - 1, 1) * self.units)

    def get_config(self):
        return {**super().get_config(), "num_layers": self.num_layers}
