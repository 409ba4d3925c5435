"""Artifacts of each format by OpenVINO, which reads all three by code of its own."""

import tempfile
import threading
from pathlib import Path

import numpy as np


class Runtime:
    """A compiled model, in float32 on the processor. Safe to call from several threads.

    It has one request, which keeps the inputs and outputs: calls take turns.
    """

    def __init__(self, path: Path, signature: str):
        try:
            import openvino
        except ImportError as error:
            raise ImportError(
                "Expected OpenVINO, a second reader of each format. "
                f'`pip install -e ".[openvino]"`: {error}'
            ) from error

        self._one_at_a_time = threading.Lock()
        core = openvino.Core()
        # On newer processors it would compute in bfloat16.
        precision = {"INFERENCE_PRECISION_HINT": "f32"}
        with tempfile.TemporaryDirectory() as folder:
            if path.is_dir():
                path = _one_signature(path, signature, Path(folder))
            self._model = core.compile_model(core.read_model(str(path)), "CPU", precision)
        names = {"inputs": {}, "outputs": {}}
        if path.suffix == ".tflite":
            names = {side: _signature_names(path, signature, side) for side in names}
        self._inputs = _by_name(self._model.inputs, names["inputs"])
        self._outputs = _by_name(self._model.outputs, names["outputs"])
        self.inputs = {name: _describe(port) for name, port in self._inputs.items()}
        self.outputs = {name: _describe(port) for name, port in self._outputs.items()}

    def run(self, inputs: dict) -> dict:
        with self._one_at_a_time:  # until the outputs are copied: the next call overwrites them
            made = self._model({self._inputs[name]: value for name, value in inputs.items()})
            # It has no bool of its own: one of its bytes is one.
            return {
                name: made[port].astype(self.outputs[name]["dtype"])
                for name, port in self._outputs.items()
            }


def _one_signature(path, signature, folder):
    """A SavedModel whose `serving_default`, which alone OpenVINO reads, is this signature."""
    from mmzoo.hub.saved_model import with_one_signature

    content = with_one_signature((path / "saved_model.pb").read_bytes(), signature)
    (folder / "saved_model.pb").write_bytes(content)
    for name in ("variables", "assets"):
        if (path / name).is_dir():
            (folder / name).symlink_to((path / name).resolve(), target_is_directory=True)
    return folder


def _signature_names(path, signature, side):
    """A TFLite file's tensor to its names in a signature, which OpenVINO doesn't read."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    tensors = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    found = interpreter._get_full_signature_list()[signature][side]
    names: dict[str, list[str]] = {}
    for name, k in found.items():
        names.setdefault(tensors[k], []).append(name)
    return names


def _by_name(ports, names):
    """Ports by each of their names; in a TFLite file by those of the signature."""
    found = {}
    for port in ports:
        for tensor in port.get_names():
            for name in names.get(tensor, []) if names else [tensor]:
                found[name] = port
    return found


def _describe(port):
    kind = port.get_element_type()
    dtype = "bool" if kind.get_type_name() == "boolean" else kind.to_dtype()
    shape = [None if d.is_dynamic else d.get_length() for d in port.get_partial_shape()]
    return {"dtype": np.dtype(dtype).name, "shape": shape}
