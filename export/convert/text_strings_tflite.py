"""A TFLite file that takes texts as strings, by the operators of tensorflow-text."""

import dataclasses
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.export.convert.graph_rewrites import rewrite_graph
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.unsupported_operators import check_graph, explain_refusal
from mmzoo.export.runtimes.litert_text import OPERATORS
from mmzoo.export.surgery.extra_signatures import Part
from mmzoo.export.surgery.model_description import call, describe
from mmzoo.export.surgery.tokenizers import Tokenizer
from mmzoo.pretrained.text_ids import tensorflow_text


def write_tflite_strings(model: keras.Model, path: Path, tokenizers: list[Tokenizer]) -> Path:
    """Writes a file of builtin operators and those of tensorflow-text that were held to it.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        path: File to write. Its one signature, `portable`, has a string `(batch,)` a text.
        tokenizers: Those.

    Returns:
        `path`.

    Raises:
        ValueError: If the file would need another operator.
    """
    part = _with_strings(model, tokenizers)
    with tempfile.TemporaryDirectory() as folder:
        saved = write_saved_model(
            model, Path(folder) / "model", ["portable"], tokenizers, {"portable": part}
        )
        check_graph(saved, model, "tflite")
        rewrite_graph(saved, "tflite")
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(saved), signature_keys=["portable"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = True
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own type is not public
            raise ValueError(explain_refusal(str(error), model, "tflite")) from error
    unknown = sorted(custom_operators(content) - set(OPERATORS))
    if unknown:
        layers = [layer.name for each in tokenizers for layer in each.model.layers[1:]]
        raise ValueError(
            f"Expected TFLite builtin operators, and of tensorflow-text {sorted(OPERATORS)}. "
            f"Received: {unknown}, of a model with the tokenizers {layers}. Use 'tflite', with "
            "token ids from the SavedModel's signature `tokenize`."
        )
    path.write_bytes(content)
    return path


def custom_operators(content: bytes) -> set[str]:
    """Names of the operators of a TFLite file that are no builtins."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(k) for k in range(model.OperatorCodesLength())]
    return {code.CustomCode().decode() for code in codes if code.CustomCode()}


def _with_strings(model, tokenizers):
    inputs, outputs = describe(model, tokenizers)
    taken = {}
    for tensor in inputs:
        source = tensor.tokens_of or tensor.name
        taken[source] = tensor
        if tensor.is_text:
            taken[source] = dataclasses.replace(
                tensor, name=source, dtype="string", shape=(None,), tokens_of=""
            )
    of_bytes = [t.name for t in inputs if t.is_text and not t.tokens_of]

    def function(values):
        values = dict(values)
        for tokenizer in tokenizers:
            values |= tokenizer.ids(values.pop(tokenizer.source))
        for name in of_bytes:
            values[name] = _bytes_of(values[name])
        return call(model, values)

    return Part(list(taken.values()), outputs, function)


def _bytes_of(text):
    """UTF-8 bytes of strings `(batch,)`, zero padded: TFLite has no `decode_raw`."""
    found = tensorflow_text().ByteSplitter().split(text)
    # Of ragged uint8 TFLite makes no dense tensor; of empty texts alone it makes one column.
    rows = found.with_flat_values(tf.cast(found.flat_values, tf.int32)).to_tensor(0)
    return tf.cast(rows, tf.uint8)
