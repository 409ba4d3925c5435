"""Which dtypes the inputs and outputs of a model may have in each format."""

from mmzoo.export.bundle.formats import runtime_of
from mmzoo.tasks.tensors import Tensor

NUMBERS = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
     "float32", "float64")
)  # fmt: skip
# Each is written, run and compared by a test. uint64 has no cast in TFLite.
INPUTS = {"saved_model": NUMBERS | {"string"}, "tflite": NUMBERS - {"uint64"}, "onnx": NUMBERS}
OUTPUTS = INPUTS | {"saved_model": NUMBERS}
TITLES = {"saved_model": "A SavedModel", "tflite": "TFLite", "onnx": "ONNX"}
WAYS_OUT = {
    "bfloat16": "NumPy has no bfloat16: take and give float32, and cast inside of the model.",
    "uint64": "Use int64.",
    "string": "Give the number of a class, and look its name up outside of the model.",
}


def check_dtypes(format: str, inputs: list[Tensor], outputs: list[Tensor], strings=None) -> None:
    """Raises ValueError if a format can't carry the dtype of an input or output.

    Args:
        format: A format or a variant of one ("tflite-int8").
        inputs, outputs: The model's.
        strings: Optional dict of a string input to why no token ids could take its place.
    """
    format = runtime_of(format)
    title = TITLES[format]
    for side, tensors, carried in (("input", inputs, INPUTS), ("output", outputs, OUTPUTS)):
        for tensor in tensors:
            if tensor.dtype in carried[format]:
                continue
            if side == "input" and tensor.dtype == "string":
                reason = (strings or {}).get(tensor.name, "")
                raise ValueError(
                    f"{title} carries no strings, and the model's input {tensor.name!r} is one. "
                    f"{reason + ' ' if reason else ''}The SavedModel carries it "
                    "(--formats saved_model); or make token ids of it in a layer of its own."
                )
            way_out = WAYS_OUT.get(tensor.dtype, "Cast it inside of the model.")
            raise ValueError(
                f"{title} can't carry the model's {side} {tensor.name!r} of dtype "
                f"{tensor.dtype}. {way_out}"
            )
