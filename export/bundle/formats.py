"""The formats of artifacts: their names, their places in a bundle, and what runs each."""

import re

FORMATS = ("saved_model", "tflite", "onnx")
FIXED = "tflite-batch1"  # one sample of fixed size: GPU delegates and browsers want no other
QUANTIZED = (
    "tflite-float16", "tflite-dynamic", "tflite-int8", "tflite-mixed", "onnx-dynamic", "onnx-int8",
)  # fmt: skip
VARIANTS = (FIXED, *QUANTIZED)
# Text comes in as strings; and the package whose operators read them. Never among ALL: who runs
# such a file needs that package too.
STRINGS = {"onnx-strings": "onnxruntime-extensions", "tflite-strings": "tensorflow-text"}
ALL = tuple(name for name in (*FORMATS, *VARIANTS) if name != "tflite-mixed")
FILES = {"saved_model": "1", "tflite": "model.tflite", "onnx": "model.onnx"}
PATHS = {
    name: f"{name}/{FILES[name.partition('-')[0]]}" for name in (*FORMATS, *VARIANTS, *STRINGS)
}
# Signatures that a SavedModel may have besides those of the whole model; see `export.parts`.
PARTS = re.compile(r"encode_[A-Za-z_]\w*|fuse|explain|serving_bytes")


def runtime_of(name: str) -> str:
    """The format that a variant is a file of: "tflite" of "tflite-int8"."""
    return name.partition("-")[0]


def reader_of(name: str) -> str:
    """What runs an artifact: one of `runtimes.worker.RUNTIMES`."""
    if name in STRINGS:
        return {"onnx": "onnx with extensions", "tflite": "tflite with tensorflow-text"}[
            runtime_of(name)
        ]
    return runtime_of(name)
