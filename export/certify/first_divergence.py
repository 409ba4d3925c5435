"""Where a quantised artifact goes wrong first, operator by operator beside the float one."""

import tempfile
from pathlib import Path

import numpy as np

from mmzoo.export.samples.samples import Samples

WRONG = 0.25  # of a tensor's root mean square: rounding to 8 bits is off by a hundredth to a tenth
FEW = 8  # samples


def first_wrong(reference: Path, quantized: Path, samples: Samples) -> str:
    """Names the first operator whose result is off by more than a quarter, in the order they run.

    Args:
        reference: The float32 file.
        quantized: The file that was made of it.
        samples: Real samples; eight of them are run, one by one.

    Returns:
        A sentence with the operator, as the file calls it (the encoder comes first in its name),
        and how far it is off: of the results' root mean square. Where no operator is, the worst
        one.
    """
    step = max(1, len(samples) // FEW)
    rows = range(0, len(samples), step)
    few = [{name: value[k : k + 1] for name, value in samples.inputs.items()} for k in rows]
    compare = _tflite if reference.suffix == ".tflite" else _onnx
    found = compare(reference, quantized, few)
    if not found:
        return "no operator of the two files can be compared"
    wrong = [(name, error) for name, error in found if not error <= WRONG]
    name, error = wrong[0] if wrong else max(found, key=lambda pair: pair[1])
    which = "the first operator that goes wrong" if wrong else "the operator that is off most"
    return f"{which} is {name!r}, by {error:.0%}"


def _tflite(reference, quantized, few):
    from litert_quantizer import model_validator
    from litert_quantizer.utils import tfl_interpreter_utils, validation_utils

    metric = validation_utils.ValidationErrorMetric.MSE  # no more than a name here
    content = reference.read_bytes()
    result = model_validator.compare_model(
        content, quantized.read_bytes(), {"portable": few}, [metric], [_relative],
        use_xnnpack=False, num_threads=2,
    ).get_signature_comparison_result("portable")  # fmt: skip
    errors = {**result.intermediate_tensors, **result.output_tensors}
    interpreter = tfl_interpreter_utils.create_tfl_interpreter(content)
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    order = [
        names[k] for each in interpreter._get_ops_details() for k in each["outputs"] if k in names
    ]
    found = {name: errors[name][metric.value] for name in order if name in errors}
    return [(name, error) for name, error in found.items() if not np.isnan(error)]


def _onnx(reference, quantized, few):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._samples = iter(few)

        def get_next(self):
            return next(self._samples, None)

    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for k, path in enumerate((reference, quantized)):
            place = Path(folder) / f"{k}.onnx"
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, place)
            taken.append(qdq_loss_debug.collect_activations(str(place), Reader()))
    float_values, rounded = taken
    found = []
    for node in onnx.load(reference).graph.node:
        for name in node.output:
            # A quantised tensor is rounded, and floats again, under another name.
            other = next(
                (rounded[key] for key in (f"{name}_DequantizeLinear_Output", name)
                 if key in rounded), None,
            )  # fmt: skip
            if name in float_values and other is not None:
                pairs = zip(other, float_values[name], strict=True)
                errors = [_relative(a, b) for a, b in pairs]
                if not np.isnan(errors).any():
                    found.append((name, float(np.mean(errors))))
    return found


def _relative(actual, expected):
    """Root mean square of the difference over that of what is expected; NaN if it says nothing."""
    if actual.shape != expected.shape or expected.dtype.kind != "f":
        return float("nan")
    difference = np.sqrt(np.mean((actual.astype("float64") - expected) ** 2))
    scale = np.sqrt(np.mean(expected.astype("float64") ** 2))
    return float(difference / scale) if scale > 0 else float("nan")
