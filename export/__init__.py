"""Exporters that prove themselves: SavedModel, TFLite and ONNX, each checked in its runtime."""

import importlib
import sys
import types

if __name__ != "mmzoo.export":
    raise ImportError(
        f"Expected to be imported as `mmzoo.export`. Received: {__name__!r}, a second copy of "
        "its classes. Install mmzoo (`pip install -e .`) and write `import mmzoo.export`."
    )

_WHERE = {
    "Bundle": "manifest",
    "FORMATS": "manifest",
    "ParityError": "parity",
    "Samples": "samples",
    "certify": "certificate",
    "export_bundle": "bundle",
    "load_bundle": "manifest",
    "load_model": "signature",
    "to_onnx": "to_onnx",
    "to_saved_model": "to_saved_model",
    "to_tflite": "to_tflite",
    "verify_bundle": "verify",
}
__all__ = list(_WHERE)


def __getattr__(name: str):
    if name in _WHERE:
        value = getattr(importlib.import_module(f"mmzoo.export.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmzoo.export' has no attribute {name!r}")


class _Package(types.ModuleType):
    """Keeps `mmzoo.export.to_onnx` the function: importing its module would replace it."""

    def __setattr__(self, name, value):
        if not (name in _WHERE and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__():
    return sorted(__all__)
