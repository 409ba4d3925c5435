"""ONNX files with operators of onnxruntime-extensions, by onnxruntime.

The process must hold no TensorFlow: beside it SentencePiece crashes.
"""

from pathlib import Path

from mmzoo.export.runtimes import onnx_runtime


class Runtime(onnx_runtime.Runtime):
    """A session on an ONNX file that takes strings."""

    def __init__(self, path: Path, signature: str):
        try:
            import onnxruntime_extensions
        except ImportError as error:
            raise ImportError(
                "Expected onnxruntime-extensions, whose operators read the strings of this file. "
                f'`pip install -e ".[strings]"`: {error}'
            ) from error

        self.library = onnxruntime_extensions.get_library_path()
        super().__init__(path, signature)

    def run(self, inputs: dict) -> dict:
        return super().run({name: _terminated(name, value) for name, value in inputs.items()})


def _terminated(name, value):
    """Byte strings with a zero behind each: where one fills its slot, onnxruntime reads on."""
    if value.dtype.kind != "S":
        return value
    if any(b"\0" in text for text in value.tolist()):
        raise ValueError(
            f"Expected strings without a NUL byte, at which onnxruntime would end them. "
            f"Received one in {name!r}. Leave it out."
        )
    return value.astype(f"S{value.dtype.itemsize + 1}")
