"""Fusion layers, one a file, and what goes with modalities that may be absent."""

from mmzoo.fusion.base import FusionLayer
from mmzoo.fusion.bilinear_pooling import BilinearPooling
from mmzoo.fusion.bottleneck_fusion import BottleneckFusion
from mmzoo.fusion.co_attention import CoAttention
from mmzoo.fusion.concatenation import Concatenation
from mmzoo.fusion.cross_attention import CrossAttention
from mmzoo.fusion.elementwise_fusion import ElementwiseFusion
from mmzoo.fusion.feature_modulation import FeatureModulation
from mmzoo.fusion.gated_fusion import GatedFusion
from mmzoo.fusion.gradient_scale import GradientScale
from mmzoo.fusion.hide_absent import HideAbsent
from mmzoo.fusion.interactive_attention import InteractiveAttention
from mmzoo.fusion.late_fusion import LateFusion
from mmzoo.fusion.low_rank_fusion import LowRankFusion
from mmzoo.fusion.majority_fusion import MajorityFusion
from mmzoo.fusion.mean_fusion import MeanFusion
from mmzoo.fusion.multimodal_transformer import MultimodalTransformer
from mmzoo.fusion.multiplicative_interaction import MultiplicativeInteraction
from mmzoo.fusion.perceiver_resampler import PerceiverResampler
from mmzoo.fusion.presence import presence_inputs
from mmzoo.fusion.presence_dropout import PresenceDropout
from mmzoo.fusion.stacked_fusion import StackedFusion
from mmzoo.fusion.temperature_scaling import TemperatureScaling
from mmzoo.fusion.tensor_fusion import TensorFusion
from mmzoo.fusion.token_transformer import TokenTransformer
from mmzoo.fusion.weighted_fusion import WeightedFusion

__all__ = [
    "BilinearPooling",
    "BottleneckFusion",
    "CoAttention",
    "Concatenation",
    "CrossAttention",
    "ElementwiseFusion",
    "FeatureModulation",
    "FusionLayer",
    "GatedFusion",
    "GradientScale",
    "HideAbsent",
    "InteractiveAttention",
    "LateFusion",
    "LowRankFusion",
    "MajorityFusion",
    "MeanFusion",
    "MultimodalTransformer",
    "MultiplicativeInteraction",
    "PerceiverResampler",
    "PresenceDropout",
    "StackedFusion",
    "TemperatureScaling",
    "TensorFusion",
    "TokenTransformer",
    "WeightedFusion",
    "presence_inputs",
]
