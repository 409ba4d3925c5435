"""Encoders with published weights: importers of files that a user has, and file readers.

Modules load on first use: `import mmzoo.pretrained` imports neither TensorFlow nor KerasHub.
"""

import importlib

_MODULES = {
    "universal_sentence_encoder_multilingual": "sentence_encoder",
    "minilm_l6": "minilm",
    "bert_sentence_encoder": "minilm",
    "efficientnet_lite0": "efficientnet_lite",
    "whisper_tiny_en": "whisper",
}
__all__ = ["readers", *_MODULES]


def __getattr__(name: str):
    if name == "readers":
        return importlib.import_module("mmzoo.pretrained.readers")
    if name in _MODULES:
        return getattr(importlib.import_module(f"mmzoo.pretrained.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'mmzoo.pretrained' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
