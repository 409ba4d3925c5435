"""The numeric kernels that the layers stand on."""

from mmzoo.ops.additive_attention import additive_scores
from mmzoo.ops.portable import portable_operators

__all__ = ["additive_scores", "portable_operators"]
