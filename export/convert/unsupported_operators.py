"""What a format can't carry, by layer and with the way out, before it is converted."""

import dataclasses
import re
from pathlib import Path

import keras

from mmzoo.compat.functional import all_layers

HALF = (19, 14)  # TensorFlow's numbers of float16 and bfloat16
DOUBLE = 2
BOTH = ("tflite", "onnx")
# Operator: formats that lack it, or answer otherwise without a word; and the way out.
REFUSED = {
    "ResizeArea": (BOTH, "Use interpolation='bilinear', or resize before the model."),
    "ResizeBicubic": (BOTH, "Use interpolation='bilinear', or resize before the model."),
    "ScaleAndTranslate": (
        BOTH,
        "Use Resizing with interpolation='bilinear' and antialias=False, or resize before the "
        "model.",
    ),
    "RFFT": (("onnx",), "Use mmzoo.preprocessing.LogMel or keras.layers.STFTSpectrogram."),
    "StringToHashBucketFast": (BOTH, "Of ids take the remainder (ids % bins) instead of Hashing."),
    "StringToHashBucketStrong": (BOTH, "Of ids take the remainder instead of Hashing."),
    "Bucketize": (("onnx",), "Sum ops.cast(x[..., None] >= boundaries, 'int32') instead."),
    "LookupTableFindV2": (BOTH, "Gather from a table that is a weight, or map ids before."),
    "DenseBincount": (("tflite",), "Use the sum or maximum of ops.one_hot instead."),
}
WAYS_OUT = {  # of what some models may have: the converter says
    "TensorListReserve": "A loop needs results of fixed shape, and a recurrent layer a fixed "
    "batch: unroll=True with an input of fixed length, or the format tflite-batch1.",
    "Erf": "Use approximate=True, or ops.tanh.",
    "Erfinv": "Leave it out of the exported model.",
}
IN_TFLITE = re.compile(r'fused\["(\w+):", "([^"@]+)@?')
IN_ONNX = re.compile(r"No Op registered for (\w+).*?Name: (\S+)", re.DOTALL)
IN_LOG = re.compile(r"Failed to convert node '([^']+)'.*?'OP=(\w+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One operator that a format can't carry.

    Attributes:
        operator: TensorFlow's name of it.
        layer: Path of the layer that it is in ("image_encoder/resize"); "" if that is unknown.
        way_out: What to do, a sentence; "" if we know none.
    """

    operator: str
    layer: str
    way_out: str

    def __str__(self):
        place = f"layer {self.layer!r}" if self.layer else "the model"
        return f"{self.operator} in {place}. {self.way_out}".strip()


def lint_graph(saved: Path, model: keras.Model, format: str) -> list[Finding]:
    """Finds what a format can't carry in the SavedModel that is to be converted.

    Args:
        saved: Folder of the SavedModel.
        model: The functional model that it was written from.
        format: "tflite" or "onnx".

    Returns:
        A `Finding` for each operator and layer, the first of a kind first.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    found: dict[Finding, None] = {}
    for meta in content.meta_graphs:
        for function in meta.graph_def.library.function:
            if re.match(r"__inference__traced_(save|restore)", function.signature.name):
                continue
            for node in function.node_def:
                way_out = _way_out(node, format)
                if way_out is not None:
                    found[Finding(node.op, layer_of(node.name, model), way_out)] = None
    return list(found)


def _way_out(node, format):
    formats, way_out = REFUSED.get(node.op, ((), ""))
    if format in formats:
        return way_out
    # A cast is how half precision ends; what else is computed so has no operator.
    kind = node.attr["T"].type if "T" in node.attr and node.op in ("MatMul", "BatchMatMulV2",
        "Conv2D", "DepthwiseConv2dNative", "Conv3D", "BiasAdd", "Einsum") else 0  # fmt: skip
    if kind in HALF and (format == "tflite" or kind == HALF[1]):
        return (
            "Load the model with the policy float32; "
            + {"tflite": "tflite-float16 has weights of 16 bits.",
               "onnx": "float16 is carried, bfloat16 is not."}[format]
        )  # fmt: skip
    if kind == DOUBLE and format == "tflite":
        return "TFLite computes in float32: use dtype='float32'."
    return None


def check_graph(saved: Path, model: keras.Model, format: str) -> None:
    """Raises ValueError, with each layer and its way out, if a format can't carry a model."""
    found = lint_graph(saved, model, format)
    if found:
        raise ValueError(refusal(format, found))


def refusal(format: str, findings: list[Finding]) -> str:
    """The words of a refusal."""
    carried = {"tflite": "TFLite builtin operators", "onnx": "ONNX operators"}[format]
    return f"Expected a model of {carried}. Received: {' '.join(map(str, findings))}"


def explain_refusal(text: str, model: keras.Model, format: str) -> str:
    """What a converter said, with the layers that it means.

    Args:
        text: Its own words.
        model: The functional model.
        format: "tflite" or "onnx".
    """
    found: dict[Finding, None] = {}
    named = {"tflite": IN_TFLITE, "onnx": IN_ONNX}[format].findall(text)
    named += [(operator, name) for name, operator in IN_LOG.findall(text)]
    for operator, name in named:
        if operator in ("PartitionedCall", "StatefulPartitionedCall"):
            continue  # where it is called from
        way_out = REFUSED.get(operator, (None, WAYS_OUT.get(operator, "")))[1]
        found[Finding(operator, layer_of(name, model), way_out)] = None
    said = " ".join(text.split())
    if not found:
        return (
            f"Expected a model that the converter to {format} carries. It said: {said[:500]} "
            "Replace the layer that it names, or leave the format out."
        )
    return f"{refusal(format, list(found))} (The converter said: {said[:300]})"


def layer_of(name: str, model: keras.Model) -> str:
    """The path of the layer that an operator is in, by the operator's name.

    Args:
        name: "model_1/image_encoder_1/resize_1/resize/ResizeArea": Keras and TensorFlow number
            a name that comes again.
        model: The functional model.
    """
    found, layers = [], {layer.name: layer for layer in model.layers}
    for part in name.split("/"):
        layer = layers.get(part) or layers.get(re.sub(r"_\d+$", "", part))
        if layer is not None:
            found.append(layer.name)
            children = getattr(layer, "layers", None) or all_layers(layer, False, False)
            layers = {child.name: child for child in children}
    return "/".join(found)
