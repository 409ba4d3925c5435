"""Token transformer: early fusion, one transformer over the tokens of all modalities."""

import keras

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.transformer import AttentionFusion, join, repeat


@keras.saving.register_keras_serializable(package="mmzoo")
class TokenTransformer(AttentionFusion):
    """Reads the tokens of all modalities with one transformer; a summary token is the result.

    The sequence is a learned summary token, then each modality's tokens `x W_m + e_m`, with a
    learned modality embedding `e_m`. Each layer is a pre-norm block in which every token reads
    every real one; in the last, only the summary does, as nothing else is used. Without
    positions, a modality's tokens are a set: add positions to them where order matters.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token, and of the result.
        num_heads: Positive int.
        num_layers: Positive int.
        return_attention: Whether to return `(vector, maps)`, with a dict of maps such as
            `"layer_0_image_reads_text"`: float `(batch, num_heads, N_image, N_text)`. All that
            one token reads in a layer sums to 1; the last layer has
            `"layer_1_summary_reads_image"` and the like alone.

    Call arguments:
        features: Dict of modality name to float tensor of tokens `(batch, N_m, D_m)`.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. Others are not read.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, units)`.

    Raises:
        ValueError: If a number is no positive int, `units` is no multiple of `num_heads`, a
            modality is named "summary", or the inputs are not as `FusionLayer` says.

    Reference:
        Kiela et al., 2019 (arXiv:1909.02950), on Vaswani et al., 2017 (arXiv:1706.03762).
        Differs: weights from scratch, pre-norm, ReLU, no biases in attention, no positions.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> TokenTransformer(8, num_heads=2, num_layers=2)(tokens).shape
    TensorShape([2, 8])
    """

    own = "summary"
    returns = "vector"

    def __init__(self, units, num_heads, num_layers, return_attention=False, **kwargs):
        super().__init__(units, num_heads, return_attention, **kwargs)
        self.num_layers = positive_int("num_layers", num_layers)

    def build_fusion(self, widths):
        super().build_fusion(widths)
        self.summary = self.new_tokens(1)
        self.blocks = [self.new_block(f"layer_{k}") for k in range(self.num_layers)]
        self.norm = self.new_norm("norm")

    def attend(self, tokens, masks, presence):
        summary, summary_mask = repeat(self.summary, tokens[self.modalities[0]])
        state = join([summary, *tokens.values()])
        masks = {"summary": summary_mask, **masks}
        real, readings = join(masks.values()), []
        for k, block in enumerate(self.blocks[:-1]):
            state, weights = block(state, real)
            readings.append((f"layer_{k}_", weights, masks, masks))
        summary, weights = self.blocks[-1](state[:, :1], real, state)
        label = f"layer_{self.num_layers - 1}_"
        readings.append((label, weights, {"summary": summary_mask}, masks))
        return self.norm(summary)[:, 0], readings

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "num_layers": self.num_layers}
