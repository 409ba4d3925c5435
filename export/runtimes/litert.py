"""TFLite files by ai-edge-litert."""

import threading
from pathlib import Path

import numpy as np


class Runtime:
    """An interpreter on one signature of a TFLite file. Safe to call from several threads.

    An interpreter keeps inputs and outputs in memory of its own: of two calls at once, each
    might read the other's answer. They take turns.
    """

    xnnpack = True  # whether its faster operators stand in for TFLite's own

    def __init__(self, path: Path, signature: str):
        try:
            from ai_edge_litert import interpreter
        except ImportError as error:
            raise ImportError(
                "Expected ai-edge-litert, which runs TFLite files. `pip install ai-edge-litert` "
                f"(it has no wheel for every platform): {error}"
            ) from error

        self._one_at_a_time = threading.Lock()
        self._interpreter = self._load(interpreter, str(path))
        found = self._interpreter.get_signature_list()
        if signature not in found:
            raise ValueError(f"Expected the signature {signature!r}. Found: {sorted(found)}.")
        self._runner = self._interpreter.get_signature_runner(signature)
        self.inputs = _describe(self._runner.get_input_details())
        self.outputs = _describe(self._runner.get_output_details())

    def _load(self, module, path):
        kind = module.OpResolverType.AUTO
        if not self.xnnpack:
            kind = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return module.Interpreter(path, num_threads=2, experimental_op_resolver_type=kind)

    def run(self, inputs: dict) -> dict:
        with self._one_at_a_time:  # until the outputs are copied: the next call overwrites them
            return {name: np.array(value) for name, value in self._runner(**inputs).items()}


def _describe(details):
    return {
        name: {
            "dtype": "string" if detail["dtype"] is np.bytes_ else np.dtype(detail["dtype"]).name,
            "shape": [None if size < 0 else int(size) for size in detail["shape_signature"]],
        }
        for name, detail in details.items()
    }
