"""Losses that compare samples with each other, over the batch of all replicas."""

from mmzoo.losses.contrastive import InfoNCE, SigmoidContrast, SquaredDistance
from mmzoo.losses.pair import Pair

__all__ = ["InfoNCE", "Pair", "SigmoidContrast", "SquaredDistance"]
