"""Cross-attention: each modality's tokens read those of all others."""

import keras

from mmzoo.fusion.transformer import AttentionFusion, join, pool


@keras.saving.register_keras_serializable(package="mmzoo")
class CrossAttention(AttentionFusion):
    """Lets each modality's tokens read all tokens of the others, once.

    Each modality's tokens, projected to `units`, are the queries of a pre-norm transformer
    block of its own, whose keys and values are the concatenated tokens of all other modalities;
    a single modality reads itself. The result joins the mean real token of each, normalised.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token.
        num_heads: Positive int.
        return_attention: Whether to return `(vector, maps)`, with a dict of maps such as
            `"image_reads_text"`: float `(batch, num_heads, N_image, N_text)`. With more than
            two modalities, all that one token reads sums to 1.

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
        Vaswani et al., 2017 (arXiv:1706.03762), encoder-decoder attention. Differs: between
        modalities and in every direction, pre-norm, no biases in attention, no positions.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> CrossAttention(8, num_heads=2)(tokens).shape
    TensorShape([2, 16])
    """

    returns = "vector"

    def build_fusion(self, widths):
        super().build_fusion(widths)
        self.blocks = {m: self.new_block(f"{m}_reads") for m in widths}
        self.norms = {m: self.new_norm(f"{m}_norm") for m in widths}

    def attend(self, tokens, masks, presence):
        states, readings = {}, []
        for a in self.modalities:
            others = {b: masks[b] for b in self.modalities if b != a} or {a: masks[a]}
            keys = join(tokens[b] for b in others)
            states[a], weights = self.blocks[a](tokens[a], join(others.values()), keys)
            readings.append(("", weights, {a: masks[a]}, others))
        return pool(states, masks, self.norms), readings

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], len(shapes) * self.units)
