"""Keras model to TFLite with builtin operators only."""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.export.bundle.manifest import check_file
from mmzoo.export.certify.comparison import TOLERANCE
from mmzoo.export.certify.single_artifact import write_verified
from mmzoo.export.convert.dtypes import check_dtypes
from mmzoo.export.convert.graph_rewrites import rewrite_graph
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.unsupported_operators import check_graph, explain_refusal
from mmzoo.export.surgery.model_description import describe
from mmzoo.export.surgery.tokenizers import uncut_strings
from mmzoo.io.quiet import held_back


def to_tflite(model, path, *, samples=None, tolerance=TOLERANCE) -> Path:
    """Writes a float32 TFLite file (builtin operators, free batch), and verifies it.

    Flex operators are never enabled: no TFLite runtime from a package registry runs them.

    Args:
        model: Functional Keras model, or the path of a `.keras` file. Where it takes strings
            and tokenises them, the file takes the token ids, under the same name.
        path: File to write, or to replace once the new one holds.
        samples: Optional `mmzoo.export.Samples` to compare on; see `verify_artifact`.
        tolerance: Largest difference of a float output, as a part of its scale. 1e-5 is what
            float32 keeps in a network of a few layers; one of dozens may need 5e-5.

    Returns:
        `path`. The file has one signature, `portable`.

    Raises:
        ValueError: If the model needs an operator that is no TFLite builtin, named, or
            `path` is a folder.
        ParityError: If ai-edge-litert answers otherwise; nothing is written.
    """
    path = Path(path)
    check_file(path)
    return write_verified(
        "tflite", model, path, lambda portable, target, *_: write_tflite(portable, target),
        samples=samples, tolerance=tolerance,
    )  # fmt: skip


def write_tflite(model: keras.Model, path: Path, shapes=None) -> Path:
    """As `to_tflite`, unverified: for what is verified later. `shapes`: fixed ones, by input."""
    check_dtypes("tflite", *describe(model), uncut_strings(model))
    with tempfile.TemporaryDirectory() as folder:
        saved = write_saved_model(model, Path(folder) / "model", ["portable"], shapes=shapes)
        check_graph(saved, model, "tflite")
        rewrite_graph(saved, "tflite")
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(saved), signature_keys=["portable"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            with held_back(show_on_error=False):
                content = converter.convert()
        except Exception as error:  # the converter's own type is not public
            raise ValueError(explain_refusal(str(error), model, "tflite")) from error
    path.write_bytes(content)
    return path
