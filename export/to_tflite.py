"""Keras model to TFLite with builtin operators only."""

import tempfile
from pathlib import Path

import tensorflow as tf

from mmzoo.export.manifest import beside
from mmzoo.export.signature import describe, load_model
from mmzoo.export.to_saved_model import to_saved_model


def to_tflite(model, path) -> Path:
    """Writes a float32 TFLite file: builtin operators only, free batch, named signature.

    Flex operators are never enabled: no TFLite runtime from a package registry runs them.

    Args:
        model: Functional Keras model, or the path of a `.keras` file.
        path: File to write, or to replace once the new one is whole.

    Returns:
        `path`. The file has one signature, `portable`.

    Raises:
        ValueError: If the model needs an operator that is no TFLite builtin, named.
    """
    model, path = load_model(model), Path(path)
    describe(model)
    with tempfile.TemporaryDirectory() as folder:
        saved = to_saved_model(model, Path(folder) / "model", signatures=["portable"])
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(saved), signature_keys=["portable"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own type is not public
            raise ValueError(
                "Expected a model of TFLite builtin operators. The converter refused: "
                f"{str(error).strip()} Replace the layers that it names."
            ) from error
    with beside(path) as target:
        target.write_bytes(content)
    return path
