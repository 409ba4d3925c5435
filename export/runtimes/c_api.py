"""SavedModels by TensorFlow's C API, the loader that TensorFlow Serving stands on.

`tf.saved_model.load` accepts SavedModels that every C++ runtime refuses, so it verifies
nothing about serving. Here the shared libraries of the TensorFlow wheel are called by
ctypes, and TensorFlow's Python package is never imported.
"""

import ctypes
import importlib.util
import sys
import threading
import types
from pathlib import Path

import numpy as np

from mmzoo.export.runtimes.saved_model_check import check_saved_model
from mmzoo.io.dtypes import TENSORFLOW, TENSORFLOW_CODES

_STRING = TENSORFLOW_CODES["string"]
_STRING_BYTES = 24  # sizeof(TF_TString)


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p),
    ]  # fmt: skip


def _package():
    """The folder of the wheel, whose message classes can be imported then."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise ImportError("Expected TensorFlow's shared libraries. `pip install tensorflow`.")
    folder = Path(spec.origin).parent
    # A bare package in its place: message classes import, TensorFlow itself does not.
    package = types.ModuleType("tensorflow")
    package.__path__, package.__spec__ = [str(folder)], spec
    sys.modules.setdefault("tensorflow", package)
    return folder


def _library():
    """Opens the wheel's libraries and declares what is used of them."""
    folder = _package()
    ctypes.CDLL(str(next(folder.glob("libtensorflow_framework*"))), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc*"))), ctypes.RTLD_GLOBAL)
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    integer, array = ctypes.c_int, ctypes.POINTER
    for name, result, arguments in [
        ("TF_NewStatus", pointer, []),
        ("TF_GetCode", integer, [pointer]),
        ("TF_Message", text, [pointer]),
        ("TF_LoadLibrary", pointer, [text, pointer]),
        ("TF_NewGraph", pointer, []),
        ("TF_NewSessionOptions", pointer, []),
        ("TF_NewBuffer", array(_Buffer), []),
        ("TF_LoadSessionFromSavedModel", pointer,
         [pointer, pointer, text, array(text), integer, pointer, array(_Buffer), pointer]),
        ("TF_CloseSession", None, [pointer, pointer]),
        ("TF_DeleteSession", None, [pointer, pointer]),
        ("TF_DeleteGraph", None, [pointer]),
        ("TF_GraphOperationByName", pointer, [pointer, text]),
        ("TF_AllocateTensor", pointer, [integer, array(ctypes.c_int64), integer, size]),
        ("TF_DeleteTensor", None, [pointer]),
        ("TF_TensorData", pointer, [pointer]),
        ("TF_TensorByteSize", size, [pointer]),
        ("TF_TensorType", integer, [pointer]),
        ("TF_NumDims", integer, [pointer]),
        ("TF_Dim", ctypes.c_int64, [pointer, integer]),
        ("TF_StringInit", None, [pointer]),
        ("TF_StringCopy", None, [pointer, text, size]),
        ("TF_StringDealloc", None, [pointer]),
        ("TF_SessionRun", None,
         [pointer, pointer, array(_Output), array(pointer), integer, array(_Output),
          array(pointer), integer, pointer, integer, pointer, pointer]),
    ]:  # fmt: skip
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Runtime:
    """A session on one signature of a SavedModel. Safe to call from several threads."""

    def __init__(self, path: Path, signature: str):
        self._lib = _library()
        self._one_at_a_time = threading.Lock()  # one status: of two calls, whose error is it?
        self._status = self._lib.TF_NewStatus()
        graph, meta = self._load(path)
        if b"Op type not registered" in self._lib.TF_Message(self._status):
            self._load_text_operators()
            graph, meta = self._load(path)
        self._check()
        from tensorflow.core.protobuf import meta_graph_pb2

        message = meta_graph_pb2.MetaGraphDef.FromString(
            ctypes.string_at(meta.contents.data, meta.contents.length)
        )
        if signature not in message.signature_def:
            raise ValueError(
                f"Expected the signature {signature!r}. Found: {sorted(message.signature_def)}."
            )
        definition = message.signature_def[signature]
        self.inputs = {name: _describe(info) for name, info in definition.inputs.items()}
        self.outputs = {name: _describe(info) for name, info in definition.outputs.items()}
        self._graph = graph
        self._feeds = self._places(graph, definition.inputs)
        self._fetches = self._places(graph, definition.outputs)

    def close(self) -> None:
        """Gives the memory back: another signature may be loaded in the same process."""
        self._lib.TF_CloseSession(self._session, self._status)
        self._lib.TF_DeleteSession(self._session, self._status)
        self._lib.TF_DeleteGraph(self._graph)

    def _load(self, path):
        check_saved_model(path)  # before it is loaded, which runs a part of it
        graph, meta = self._lib.TF_NewGraph(), self._lib.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = self._lib.TF_LoadSessionFromSavedModel(
            self._lib.TF_NewSessionOptions(), None, str(path).encode(), tags, 1, graph, meta,
            self._status,
        )  # fmt: skip
        return graph, meta

    def _load_text_operators(self):
        """Registers the tokenizers of tensorflow-text, which TensorFlow Serving links too."""
        spec = importlib.util.find_spec("tensorflow_text")
        if spec is None or spec.origin is None:
            return  # the message that names the operator stands
        for file in sorted(Path(spec.origin).parent.glob("python/ops/*.so")):
            self._lib.TF_LoadLibrary(str(file).encode(), self._status)

    def _check(self):
        if self._lib.TF_GetCode(self._status) != 0:
            raise RuntimeError(self._lib.TF_Message(self._status).decode())

    def _places(self, graph, infos):
        places = {}
        for name, info in infos.items():
            operation, index = info.name.rsplit(":", 1)
            found = self._lib.TF_GraphOperationByName(graph, operation.encode())
            places[name] = _Output(found, int(index))
        return places

    def run(self, inputs: dict) -> dict:
        feeds = (_Output * len(inputs))(*(self._feeds[name] for name in inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(self._to_tensor, inputs.values()))
        names = list(self._fetches)
        fetches = (_Output * len(names))(*(self._fetches[name] for name in names))
        results = (ctypes.c_void_p * len(names))()
        with self._one_at_a_time:
            self._lib.TF_SessionRun(
                self._session, None, feeds, values, len(inputs), fetches, results, len(names),
                None, 0, None, self._status,
            )  # fmt: skip
            for value, array in zip(values, inputs.values(), strict=True):
                self._free(value, array)
            self._check()
        outputs = {n: self._to_array(r) for n, r in zip(names, results, strict=True)}
        for result in results:
            self._lib.TF_DeleteTensor(result)
        return outputs

    def _to_tensor(self, array):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        if array.dtype.kind in "SO":
            size = array.size * _STRING_BYTES
            tensor = self._lib.TF_AllocateTensor(_STRING, shape, array.ndim, size)
            data = self._lib.TF_TensorData(tensor)
            for k, item in enumerate(array.reshape(-1)):
                slot = data + k * _STRING_BYTES
                self._lib.TF_StringInit(slot)
                self._lib.TF_StringCopy(slot, bytes(item), len(item))
            return tensor
        array = np.ascontiguousarray(array)
        code = TENSORFLOW_CODES[str(array.dtype)]
        tensor = self._lib.TF_AllocateTensor(code, shape, array.ndim, array.nbytes)
        ctypes.memmove(self._lib.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _free(self, tensor, array):
        if array.dtype.kind in "SO":
            data = self._lib.TF_TensorData(tensor)
            for k in range(array.size):
                self._lib.TF_StringDealloc(data + k * _STRING_BYTES)
        self._lib.TF_DeleteTensor(tensor)

    def _to_array(self, tensor):
        shape = [self._lib.TF_Dim(tensor, k) for k in range(self._lib.TF_NumDims(tensor))]
        dtype = TENSORFLOW[self._lib.TF_TensorType(tensor)]
        size = self._lib.TF_TensorByteSize(tensor)
        data = ctypes.string_at(self._lib.TF_TensorData(tensor), size)
        return np.frombuffer(data, dtype).reshape(shape)


def _describe(info):
    shape = [None if d.size < 0 else d.size for d in info.tensor_shape.dim]
    return {"dtype": TENSORFLOW[info.dtype], "shape": shape}
