"""Multimodal recipes for TensorFlow and Keras 3, and the tooling that ships them.

Subpackages load on first use, so `import mmzoo` costs nothing and a runtime check can run
in a process that never imports TensorFlow.
"""

import importlib

from mmzoo._version import __version__

_SUBPACKAGES = (
    "data",
    "encoders",
    "evaluation",
    "export",
    "fusion",
    "hub",
    "losses",
    "preprocessing",
    "recipes",
    "training",
)
__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str):
    if name in _SUBPACKAGES:
        return importlib.import_module(f"mmzoo.{name}")
    raise AttributeError(f"module 'mmzoo' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
