"""Modules of Keras and TensorFlow that are not part of their public interface."""

from keras.src.saving.serialization_lib import in_safe_mode
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils.rng_utils import get_random_seed
from tensorflow.python.framework import convert_to_constants, op_def_registry, tensor_util

__all__ = [
    "CompileLoss",
    "convert_to_constants",
    "get_random_seed",
    "in_safe_mode",
    "op_def_registry",
    "tensor_util",
]
