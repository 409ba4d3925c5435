"""Each runtime called by hand, in the tightest loop: what mmzoo's own way is measured against.

A loop knows what a program written for one model and one batch size knows: names, places, sizes.
It is looked up beforehand, and no call asks for it again.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from mmzoo.export.runtimes import c_api

THREADS = 2  # as `litert` and `onnx_runtime` ask for; `race` sets it for TensorFlow


class SavedModel(c_api.Runtime):
    """`TF_SessionRun` on tensors that are allocated once, by ctypes."""

    def __init__(self, path: Path):
        self._lib = c_api._library()
        self._status = self._lib.TF_NewStatus()
        self._graph, self._meta = self._load(path)
        if b"Op type not registered" in self._lib.TF_Message(self._status):
            self._load_text_operators()
            self._graph, self._meta = self._load(path)
        self._check()

    @classmethod
    def of(cls, runtime: c_api.Runtime) -> "SavedModel":
        loop = cls.__new__(cls)
        loop.__dict__.update(vars(runtime))
        return loop

    def find(self, signature: str) -> None:
        from tensorflow.core.protobuf import meta_graph_pb2

        content = ctypes.string_at(self._meta.contents.data, self._meta.contents.length)
        definition = meta_graph_pb2.MetaGraphDef.FromString(content).signature_def[signature]
        self._feeds = self._places(self._graph, definition.inputs)
        self._fetches = self._places(self._graph, definition.outputs)

    def prepare(self, part: dict) -> None:
        self.names = list(self._fetches)
        tensors = [self._to_tensor(array) for array in part.values()]
        self._into = [self._lib.TF_TensorData(tensor) for tensor in tensors]
        feeds = [self._feeds[name] for name in part]
        fetches = list(self._fetches.values())
        self._results = (ctypes.c_void_p * len(fetches))()
        self._arguments = (
            self._session, None, (c_api._Output * len(feeds))(*feeds),
            (ctypes.c_void_p * len(feeds))(*tensors), len(feeds),
            (c_api._Output * len(fetches))(*fetches), self._results, len(fetches),
            None, 0, None, self._status,
        )  # fmt: skip
        self._lib.TF_SessionRun(*self._arguments)
        self._check()
        made = [self._to_array(result) for result in self._results]
        self._kinds = [(array.nbytes, array.dtype, array.shape) for array in made]
        for result in self._results:
            self._lib.TF_DeleteTensor(result)

    def pack(self, part: dict) -> list:
        return [(array.ctypes.data, array.nbytes) for array in part.values()]

    def call(self, packed: list) -> list:
        lib = self._lib
        for place, (source, size) in zip(self._into, packed, strict=True):
            ctypes.memmove(place, source, size)
        lib.TF_SessionRun(*self._arguments)
        if lib.TF_GetCode(self._status):
            self._check()
        made = []
        for result, (size, dtype, shape) in zip(self._results, self._kinds, strict=True):
            content = ctypes.string_at(lib.TF_TensorData(result), size)
            lib.TF_DeleteTensor(result)
            made.append(np.frombuffer(content, dtype).reshape(shape))
        return made


class Tflite:
    """`set_tensor`, `invoke`, `get_tensor` on an interpreter of one size.

    Of the interpreter's C++ half, where they are free of checks: `Interpreter.invoke` refuses to
    run while a signature's runner, which is mmzoo's way, lives beside it.
    """

    def __init__(self, path: Path):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=THREADS)

    @classmethod
    def of(cls, runtime) -> "Tflite":
        loop = cls.__new__(cls)
        loop._interpreter = runtime._interpreter
        loop.find("portable")
        return loop

    def find(self, signature: str) -> None:
        runner = self._interpreter.get_signature_runner(signature)
        self._inputs, outputs = (
            {name: detail["index"] for name, detail in details.items()}
            for details in (runner.get_input_details(), runner.get_output_details())
        )
        self.names, self._places = list(outputs), list(outputs.values())
        self._half = self._interpreter._interpreter
        self._graph = self._half.GetSubgraphIndexFromSignature(signature)

    def prepare(self, part: dict) -> None:
        for name, array in part.items():
            shape = np.array(array.shape, "int32")
            self._half.ResizeInputTensor(self._inputs[name], shape, False, self._graph)
        self._half.AllocateTensors(self._graph)

    def pack(self, part: dict) -> list:
        return [(self._inputs[name], array) for name, array in part.items()]

    def call(self, packed: list) -> list:
        half, graph = self._half, self._graph
        for place, array in packed:
            half.SetTensor(place, array, graph)
        half.Invoke(graph)
        return [half.GetTensor(place, graph) for place in self._places]


class Onnx:
    """`InferenceSession.run`."""

    def __init__(self, path: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    @classmethod
    def of(cls, runtime) -> "Onnx":
        loop = cls.__new__(cls)
        loop._session = runtime._session
        loop.find("portable")
        return loop

    def find(self, signature: str) -> None:
        del signature  # an ONNX file has one
        self.names = [value.name for value in self._session.get_outputs()]

    def prepare(self, part: dict) -> None:
        self.call(part)

    def pack(self, part: dict) -> dict:
        return part

    def call(self, packed: dict) -> list:
        return self._session.run(self.names, packed)


LOOPS: dict[str, Any] = {"saved_model": SavedModel, "tflite": Tflite, "onnx": Onnx}
