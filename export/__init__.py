"""Exporters to SavedModel, TFLite and ONNX: every artifact is verified in its own runtime."""

import importlib

if __name__ != "mmzoo.export":
    raise ImportError(
        f"Expected to be imported as `mmzoo.export`. Received: {__name__!r}, a second copy of "
        "its classes. Install mmzoo (`pip install -e .`) and write `import mmzoo.export`."
    )

_WHERE = {
    "Bundle": "bundle.manifest",
    "FORMATS": "bundle.formats",
    "ParityError": "certify.comparison",
    "Samples": "samples.samples",
    "export_bundle": "bundle.exporter",
    "load_bundle": "bundle.manifest",
    "load_model": "surgery.model_description",
    "to_onnx": "convert.onnx_writer",
    "to_saved_model": "convert.saved_model_writer",
    "to_tflite": "convert.tflite_writer",
    "verify_bundle": "certify.verification",
}
__all__ = list(_WHERE)


def __getattr__(name: str):
    if name in _WHERE:
        value = getattr(importlib.import_module(f"mmzoo.export.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmzoo.export' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
