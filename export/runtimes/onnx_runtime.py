"""ONNX files by onnxruntime."""

from pathlib import Path

from mmzoo.io.dtypes import ONNX


class Runtime:
    """A session on an ONNX file, which has one signature: `portable`."""

    library: str | None = None  # path of one with more operators

    def __init__(self, path: Path, signature: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                f"Expected onnxruntime, which runs ONNX files. `pip install onnxruntime`: {error}"
            ) from error

        if signature != "portable":
            raise ValueError(f"Expected the signature 'portable'. Received: {signature!r}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 3
        if self.library is not None:
            options.register_custom_ops_library(self.library)
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = _describe(self._session.get_inputs())
        self.outputs = _describe(self._session.get_outputs())

    def run(self, inputs: dict) -> dict:
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def _describe(values):
    return {
        value.name: {
            "dtype": ONNX.get(value.type, value.type),
            "shape": [size if isinstance(size, int) else None for size in value.shape],
        }
        for value in values
    }
