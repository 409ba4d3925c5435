"""TFLite files with operators of tensorflow-text, by ai-edge-litert."""

import ctypes
import importlib.machinery
import importlib.util
from pathlib import Path

from mmzoo.export.runtimes import litert

# Operators whose answers were held to TensorFlow's, and the functions that register them.
OPERATORS = {
    "FastBertNormalize": "AddFastBertNormalize",
    "FastWordpieceTokenizeWithOffsets": "AddFastWordpieceTokenize",
    "RaggedTensorToTensor": "AddRaggedTensorToTensor",
    "TFText>ByteSplitWithOffsets": "AddByteSplit",
    "TFText>FastSentencepieceTokenize": "AddFastSentencepieceTokenize",
}


class Runtime(litert.Runtime):
    """An interpreter on one signature of a TFLite file that takes strings."""

    def _load(self, module, path):
        registrar = _registrar()
        functions = [getattr(registrar, name) for name in OPERATORS.values()]
        return module.InterpreterWithCustomOps(
            custom_op_registerers=functions, model_path=path, num_threads=2
        )


def _registrar():
    """tensorflow-text's module that registers its operators; its package would bring TensorFlow."""
    places = {name: importlib.util.find_spec(name) for name in ("tensorflow", "tensorflow_text")}
    missing = [name for name, spec in places.items() if spec is None]
    if missing:
        raise ImportError(
            "Expected tensorflow-text, whose operators read the strings of this file. Not found: "
            f"{missing}. `pip install tensorflow-text`."
        )
    tensorflow, text = (Path(spec.origin).parent for spec in places.values())
    ctypes.CDLL(str(next(tensorflow.glob("libtensorflow_framework*"))), ctypes.RTLD_GLOBAL)
    file = next((text / "core" / "pybinds").glob("tflite_registrar*"))
    loader = importlib.machinery.ExtensionFileLoader("tflite_registrar", str(file))
    spec = importlib.util.spec_from_file_location("tflite_registrar", file, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
