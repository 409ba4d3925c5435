"""Fusion layers, one a file. Early fusion is Keras' own `Concatenate`."""

from mmzoo.fusion.base import FusionLayer
from mmzoo.fusion.interactive_attention import InteractiveAttention
from mmzoo.fusion.late_fusion import LateFusion
from mmzoo.fusion.modality_dropout import ModalityDropout

__all__ = ["FusionLayer", "InteractiveAttention", "LateFusion", "ModalityDropout"]
