"""Keras model to ONNX, by way of a SavedModel."""

import contextlib
import logging
import tempfile
from pathlib import Path

import keras

from mmzoo.export.bundle.manifest import check_file
from mmzoo.export.certify.comparison import TOLERANCE
from mmzoo.export.certify.single_artifact import write_verified
from mmzoo.export.convert.dtypes import check_dtypes
from mmzoo.export.convert.graph_rewrites import rewrite_graph
from mmzoo.export.convert.onnx_handlers import HANDLERS
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.unsupported_operators import check_graph, explain_refusal
from mmzoo.export.surgery.model_description import describe
from mmzoo.export.surgery.tokenizers import uncut_strings
from mmzoo.io.quiet import held_back

OPSET = 18  # the highest that tf2onnx 1.17 writes


def to_onnx(model, path, *, samples=None, tolerance=TOLERANCE) -> Path:
    """Writes a float32 ONNX file of standard operators, opset 18, and verifies it.

    The batch axis is named `batch`; another free axis is named by tensor and place
    (`image_1`). The file has passed `onnx.checker` in full, with strict shape inference.

    Args:
        model: Functional Keras model, or the path of a `.keras` file. Where it takes strings
            and tokenises them, the file takes the token ids, under the same name.
        path: File to write, or to replace once the new one holds.
        samples: Optional `mmzoo.export.Samples` to compare on; see `verify_artifact`.
        tolerance: Largest difference of a float output, as a part of its scale. 1e-5 is what
            float32 keeps in a network of a few layers; one of dozens may need 5e-5.

    Returns:
        `path`.

    Raises:
        ValueError: If an operator has no ONNX counterpart, the result is no valid ONNX, or
            `path` is a folder.
        ParityError: If onnxruntime answers otherwise; nothing is written.
    """
    path = Path(path)
    check_file(path)
    return write_verified(
        "onnx", model, path, lambda portable, target, *_: write_onnx(portable, target),
        samples=samples, tolerance=tolerance,
    )  # fmt: skip


def write_onnx(model: keras.Model, path: Path) -> Path:
    """As `to_onnx`, unverified: for what is verified later."""
    import onnx

    inputs, outputs = describe(model)
    check_dtypes("onnx", inputs, outputs, uncut_strings(model))
    with tempfile.TemporaryDirectory() as folder:
        saved = write_saved_model(model, Path(folder) / "model", ["portable"])
        check_graph(saved, model, "onnx")
        rewrite_graph(saved, "onnx")
        with _logged() as said:
            try:
                with held_back(show_on_error=False):
                    proto = _convert(saved)
            except Exception as error:  # of which tf2onnx has no type of its own
                words = "\n".join([str(error), *said])
                raise ValueError(explain_refusal(words, model, "onnx")) from error
    _set_shapes(proto.graph.input, inputs)
    _set_shapes(proto.graph.output, outputs)
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(explain_refusal(str(error), model, "onnx")) from error
    onnx.save(proto, path)
    return path


@contextlib.contextmanager
def _logged():
    """Collects the errors that tf2onnx logs, with stack traces, and does not print them."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tf2onnx")
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate, logger.level = before


def _convert(saved):
    """Converts and optimizes; without what fails of the optimizing, if anything does.

    To leave a step out after it failed takes a copy of the graph before each of them: a fifth of
    the time of a conversion. So that is done when one has failed.
    """
    from tf2onnx import optimizer

    converted = _read(saved)
    try:
        converted = optimizer.optimize_graph(converted, catch_errors=False)
    except Exception:  # noqa: BLE001 whatever it is: the graph may be half changed
        converted = optimizer.optimize_graph(_read(saved))
    return converted.make_model("mmzoo")


def _read(saved):
    import tensorflow as tf
    from tf2onnx import tf_loader, tfonnx

    graph_def, input_names, output_names, names = tf_loader.from_saved_model(
        str(saved), None, None, tag="serve", signatures=["portable"],
        return_tensors_to_rename=True,
    )  # fmt: skip
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        return tfonnx.process_tf_graph(
            graph, opset=OPSET, input_names=input_names, output_names=output_names,
            tensors_to_rename=names,
            custom_op_handlers=HANDLERS,
        )  # fmt: skip


def _set_shapes(values, tensors):
    by_name = {tensor.name: tensor for tensor in tensors}
    for value in values:
        if value.name not in by_name:
            raise ValueError(
                f"Expected the names {sorted(by_name)}. The converter wrote {value.name!r}: "
                "a constant that was captured as an input. Make it a weight or an operator."
            )
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis, size in enumerate(by_name[value.name].shape):
            dimension = shape.dim.add()
            if size is not None:
                dimension.dim_value = size
            else:
                dimension.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
