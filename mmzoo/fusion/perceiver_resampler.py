"""Perceiver resampler: a fixed number of learned latents reads all tokens."""

import keras

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.transformer import AttentionFusion, join, repeat


@keras.saving.register_keras_serializable(package="mmzoo")
class PerceiverResampler(AttentionFusion):
    """Turns the tokens of all modalities into a fixed number of tokens.

    In each layer, a pre-norm transformer block's queries are the latents, and its keys and
    values the latents and every real token of every modality, as they came: `x W_m + e_m` with
    a learned modality embedding `e_m`. The cost is linear in the number of tokens. The result
    is the latents, normalised.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token.
        num_heads: Positive int.
        num_layers: Positive int.
        num_latents: Positive int. Number of tokens of the result.
        return_attention: Whether to return `(tokens, maps)`, with a dict of maps such as
            `"layer_0_latent_reads_image"`: float `(batch, num_heads, num_latents, N_image)`.
            All that one latent reads in a layer sums to 1.

    Call arguments:
        features: Dict of modality name to float tensor of tokens `(batch, N_m, D_m)`.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. Others are not read.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token.

    Returns:
        Float tensor `(batch, num_latents, units)`; every token of it is real.

    Raises:
        ValueError: If a number is no positive int, `units` is no multiple of `num_heads`, a
            modality is named "latent", or the inputs are not as `FusionLayer` says.

    Reference:
        Jaegle et al., 2021 (arXiv:2103.03206), in the form of Alayrac et al., 2022
        (arXiv:2204.14198). Differs: any number of modalities, each with a projection; one
        normalisation for latents and tokens, ReLU, no positions.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> PerceiverResampler(8, num_heads=2, num_layers=2, num_latents=3)(tokens).shape
    TensorShape([2, 3, 8])
    """

    own = "latent"
    returns = "tokens"

    def __init__(self, units, num_heads, num_layers, num_latents, return_attention=False, **kwargs):
        super().__init__(units, num_heads, return_attention, **kwargs)
        self.num_layers = positive_int("num_layers", num_layers)
        self.num_latents = positive_int("num_latents", num_latents)

    def build_fusion(self, widths):
        super().build_fusion(widths)
        self.latents = self.new_tokens(self.num_latents)
        self.blocks = [self.new_block(f"layer_{k}") for k in range(self.num_layers)]
        self.norm = self.new_norm("norm")

    def attend(self, tokens, masks, presence):
        latents, latent_mask = repeat(self.latents, tokens[self.modalities[0]])
        queries, keys = {"latent": latent_mask}, {"latent": latent_mask, **masks}
        real, readings = join(keys.values()), []
        for k, block in enumerate(self.blocks):
            latents, weights = block(latents, real, join([latents, *tokens.values()]))
            readings.append((f"layer_{k}_", weights, queries, keys))
        return self.norm(latents), readings

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], self.num_latents, self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_latents": self.num_latents,
        }
