"""Bottleneck fusion: modalities exchange through a few shared tokens only."""

import keras
from keras import ops

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.transformer import AttentionFusion, join, pool, repeat


@keras.saving.register_keras_serializable(package="mmzoo")
class BottleneckFusion(AttentionFusion):
    """Runs a transformer a modality; all they share are a few bottleneck tokens.

    In each layer, a block of each modality reads the modality's tokens z_m and the bottlenecks
    b: `[z_m, b_m] = block_m([z_m, b])`, then `b = mean of b_m over the modalities present`. So
    what one modality knows reaches another a layer later, through `num_bottlenecks` tokens: the
    cost is linear in the number of modalities. In the last layer no bottleneck is made, as
    nothing would read it. The result joins the mean real token of each modality, normalised.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token.
        num_heads: Positive int.
        num_layers: Positive int. With one, nothing passes between modalities.
        num_bottlenecks: Positive int.
        return_attention: Whether to return `(vector, maps)`, with a dict of maps such as
            `"layer_0_image_reads_bottleneck"`: float `(batch, num_heads, N_image,
            num_bottlenecks)`, and `"layer_0_image_bottleneck_reads_image"`, of the bottlenecks
            in the image's block. All that one token reads in a layer sums to 1.

    Call arguments:
        features: Dict of modality name to float tensor of tokens `(batch, N_m, D_m)`.
        masks: Optional dict of modality name to bool tensor `(batch, N_m)`, True where a token
            is real. Others are not read and not averaged; a modality with no token gives zeros.
        presence: Optional dict of modality name to bool tensor `(batch,)`; an absent modality
            is one learned token, which reads the bottlenecks but has no part in their mean.
            With none present, the bottlenecks stay as they are.

    Returns:
        Float tensor `(batch, M * units)` for M modalities, in sorted order.

    Raises:
        ValueError: If a number is no positive int, `units` is no multiple of `num_heads`, a
            modality is named "bottleneck", or the inputs are not as `FusionLayer` says.

    Reference:
        Nagrani et al., 2021 (arXiv:2107.00135). Differs: any number of modalities, some absent;
        bottlenecks from the first layer on; mean tokens instead of special ones; ReLU, no
        biases in attention, no positions.

    Example:

    >>> import numpy as np
    >>> tokens = {"image": np.ones((2, 16, 8)), "text": np.ones((2, 5, 4))}
    >>> BottleneckFusion(8, num_heads=2, num_layers=2, num_bottlenecks=4)(tokens).shape
    TensorShape([2, 16])
    """

    own = "bottleneck"
    returns = "vector"

    def __init__(
        self, units, num_heads, num_layers, num_bottlenecks, return_attention=False, **kwargs
    ):
        super().__init__(units, num_heads, return_attention, **kwargs)
        self.num_layers = positive_int("num_layers", num_layers)
        self.num_bottlenecks = positive_int("num_bottlenecks", num_bottlenecks)

    def build_fusion(self, widths):
        super().build_fusion(widths)
        self.bottlenecks = self.new_tokens(self.num_bottlenecks)
        self.blocks = [
            {m: self.new_block(f"layer_{k}_{m}") for m in widths} for k in range(self.num_layers)
        ]
        self.norms = {m: self.new_norm(f"{m}_norm") for m in widths}

    def attend(self, tokens, masks, presence):
        states, readings = dict(tokens), []
        shared, shared_mask = repeat(self.bottlenecks, states[self.modalities[0]])
        here = {m: ops.cast(ops.reshape(x, (-1, 1, 1)), shared.dtype) for m, x in presence.items()}
        number = ops.maximum(sum(here.values()), 1.0)
        for k, blocks in enumerate(self.blocks):
            last, change = k == self.num_layers - 1, 0.0
            for m in self.modalities:
                keys = {m: masks[m], "bottleneck": shared_mask}
                queries = {m: masks[m]} if last else {m: masks[m], f"{m}_bottleneck": shared_mask}
                both = join([states[m], shared])
                read = (states[m], both) if last else (both, None)
                made, weights = blocks[m](read[0], join(keys.values()), read[1])
                readings.append((f"layer_{k}_", weights, queries, keys))
                size = ops.shape(states[m])[1]
                states[m] = made[:, :size]
                if not last:
                    change = change + here[m] * (made[:, size:] - shared)
            # As changes and not as states, so that without any modality nothing changes.
            shared = shared + change / number
        return pool(states, masks, self.norms), readings

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], len(shapes) * self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_bottlenecks": self.num_bottlenecks,
        }
