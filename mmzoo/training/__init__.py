"""What a training run shows and keeps."""

from mmzoo.training.calibration import calibrate_experts, calibrate_temperatures
from mmzoo.training.imbalance import GradientModulation, TrueClassProbability
from mmzoo.training.progress import RichProgress
from mmzoo.training.versions import package_versions

__all__ = [
    "GradientModulation",
    "RichProgress",
    "TrueClassProbability",
    "calibrate_experts",
    "calibrate_temperatures",
    "package_versions",
]
