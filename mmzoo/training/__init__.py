"""Training on any devices, callbacks, and weights found on held-out samples."""

from mmzoo.training.calibration import calibrate_experts, calibrate_temperatures
from mmzoo.training.distributed.distributed_model import DistributedModel, plain_copy
from mmzoo.training.distributed.strategy import strategy
from mmzoo.training.imbalance import GradientModulation, TrueClassProbability
from mmzoo.training.progress import RichProgress
from mmzoo.training.resume.resumable import fit_resumable
from mmzoo.training.sample_dropout import SampleDropout
from mmzoo.training.versions import package_versions

__all__ = [
    "DistributedModel",
    "GradientModulation",
    "RichProgress",
    "SampleDropout",
    "TrueClassProbability",
    "calibrate_experts",
    "calibrate_temperatures",
    "fit_resumable",
    "package_versions",
    "plain_copy",
    "strategy",
]
