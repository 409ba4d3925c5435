"""Co-attention: a stream of each modality; they exchange keys and values in every layer."""

import itertools

import keras

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.transformer import AttentionFusion, pool


@keras.saving.register_keras_serializable(package="mmzoo")
class CoAttention(AttentionFusion):
    """Keeps a stream of tokens a modality; in each layer every stream reads every other.

    A layer is a co-attention block for each ordered pair (a, b), where stream a has the queries
    and stream b the keys and values, then a self-attention block for each stream. All pairs
    read the streams as the last layer left them. A stream's next state is the mean over b of
    what its blocks make; with one modality there is self-attention alone. The result joins the
    mean real token of each stream, normalised.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token.
        num_heads: Positive int.
        num_layers: Positive int.
        return_attention: Whether to return `(vector, maps)`, with a dict of maps such as
            `"layer_0_image_reads_text"`: float `(batch, num_heads, N_image, N_text)`, of the
            co-attention blocks, and `"layer_0_image_reads_image"`, of self-attention. The rows
            of each sum to 1.

    Call arguments:
        features: Dict of modality name to float tensor of tokens `(batch, N_m, D_m)`.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. Others are not read and not averaged; a modality with no token gives zeros.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, M * units)` for M modalities, in sorted order.

    Raises:
        ValueError: If a number is no positive int, `units` is no multiple of `num_heads`, or
            the inputs are not as `FusionLayer` says.

    Reference:
        Lu et al., 2019 (arXiv:1908.02265). Differs: any number of streams, all of one width; a
        mean token instead of a special one; pre-norm, ReLU, no biases in attention, no
        positions.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> CoAttention(8, num_heads=2, num_layers=1)(tokens).shape
    TensorShape([2, 16])
    """

    returns = "vector"

    def __init__(self, units, num_heads, num_layers, return_attention=False, **kwargs):
        super().__init__(units, num_heads, return_attention, **kwargs)
        self.num_layers = positive_int("num_layers", num_layers)

    def build_fusion(self, widths):
        super().build_fusion(widths)
        pairs = list(itertools.product(widths, repeat=2))  # a pair (a, a) is self-attention
        self.blocks = [
            {f"{a}_reads_{b}": self.new_block(f"layer_{k}_{a}_reads_{b}") for a, b in pairs}
            for k in range(self.num_layers)
        ]
        self.norms = {m: self.new_norm(f"{m}_norm") for m in widths}

    def attend(self, tokens, masks, presence):
        states, readings = dict(tokens), []
        for k, blocks in enumerate(self.blocks):
            made: dict[str, list] = {m: [] for m in states}
            for a, b in itertools.permutations(states, 2):
                state, weights = blocks[f"{a}_reads_{b}"](states[a], masks[b], states[b])
                readings.append((f"layer_{k}_", weights, {a: masks[a]}, {b: masks[b]}))
                made[a].append(state)
            if len(states) > 1:
                states = {m: sum(made[m]) / len(made[m]) for m in states}
            for m in self.modalities:
                states[m], weights = blocks[f"{m}_reads_{m}"](states[m], masks[m])
                readings.append((f"layer_{k}_", weights, {m: masks[m]}, {m: masks[m]}))
        return pool(states, masks, self.norms), readings

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], len(shapes) * self.units)

    def get_config(self):
        return {**super().get_config(), "num_layers": self.num_layers}
