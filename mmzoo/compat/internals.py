"""Modules of Keras and TensorFlow that are not part of their public interface."""

from keras.src.saving.serialization_lib import in_safe_mode
from keras.src.trainers.compile_utils import CompileLoss
from tensorflow.python.framework import convert_to_constants, op_def_registry, tensor_util

__all__ = [
    "CompileLoss",
    "convert_to_constants",
    "in_safe_mode",
    "op_def_registry",
    "tensor_util",
]
