"""TFLite and ONNX files by OpenVINO, a reader of its own of both."""

from pathlib import Path

import numpy as np


class Runtime:
    """A compiled model, in float32 on the processor."""

    def __init__(self, path: Path, signature: str):
        try:
            import openvino
        except ImportError as error:
            raise ImportError(
                "Expected OpenVINO, a second reader of TFLite and ONNX files. "
                f"`pip install mmzoo[openvino]`: {error}"
            ) from error

        core = openvino.Core()
        # On newer processors it would compute in bfloat16.
        precision = {"INFERENCE_PRECISION_HINT": "f32"}
        self._model = core.compile_model(core.read_model(str(path)), "CPU", precision)
        names = _signature_names(path, signature) if path.suffix == ".tflite" else {}
        self._inputs = {_name(port, names): port for port in self._model.inputs}
        self._outputs = {_name(port, names): port for port in self._model.outputs}
        self.inputs = {name: _describe(port) for name, port in self._inputs.items()}
        self.outputs = {name: _describe(port) for name, port in self._outputs.items()}

    def run(self, inputs: dict) -> dict:
        made = self._model({self._inputs[name]: value for name, value in inputs.items()})
        # It has no bool of its own: one of its bytes is one.
        return {
            name: made[port].astype(self.outputs[name]["dtype"], copy=False)
            for name, port in self._outputs.items()
        }


def _signature_names(path, signature):
    """Name of a TFLite file's tensor to its name in a signature, which OpenVINO doesn't read."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    tensors = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    found = interpreter._get_full_signature_list()[signature]
    return {tensors[k]: name for side in found.values() for name, k in side.items()}


def _name(port, names):
    known = [names.get(name, name) for name in sorted(port.get_names())]
    return next((name for name in known if name in names.values()), known[0])


def _describe(port):
    kind = port.get_element_type()
    dtype = "bool" if kind.get_type_name() in ("boolean", "char") else kind.to_dtype()
    shape = [None if d.is_dynamic else d.get_length() for d in port.get_partial_shape()]
    return {"dtype": np.dtype(dtype).name, "shape": shape}
