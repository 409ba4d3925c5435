"""Keras model to SavedModel, for TensorFlow Serving and every other C++ loader."""

from pathlib import Path

import tensorflow as tf

from mmzoo.export.manifest import beside
from mmzoo.export.signature import call, describe, load_model


def to_saved_model(model, path, *, signatures=("serving_default", "portable")) -> Path:
    """Writes a SavedModel whose signatures carry the Keras names.

    Args:
        model: Functional Keras model, or the path of a `.keras` file.
        path: Folder to write, or to replace once the new one is whole.
        signatures: Any of
            - `serving_default`: text inputs are strings `(batch,)`;
            - `portable`: text inputs are UTF-8 bytes, uint8 `(batch, length)`, zero padded,
              as in the other formats.
            Without a text input the two are alike.

    Returns:
        `path`.

    Raises:
        ValueError: If a signature is unknown, or the model does not fit `describe`.

    Differs: from `model.export`, which stores each variable twice.
    """
    model, path = load_model(model), Path(path)
    inputs, _ = describe(model)
    # The root holds the raw variables: with a Keras model as root they are lost on the way.
    root = tf.Module(name="root")
    root.model_variables = [variable.value for variable in model.variables]
    functions = {}
    for name in signatures:
        if name not in ("serving_default", "portable"):
            raise ValueError(
                "`signatures` may hold 'serving_default' and 'portable'. "
                f"Received: signatures={tuple(signatures)}."
            )
        functions[name] = _signature(model, inputs, strings=name == "serving_default")
    with beside(path) as target:
        tf.saved_model.save(root, str(target), signatures=functions)
    return path


def _signature(model, inputs, strings):
    specs = {}
    for tensor in inputs:
        if strings and tensor.is_text:
            specs[tensor.name] = tf.TensorSpec([None], tf.string, tensor.name)
        else:
            specs[tensor.name] = tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)

    @tf.function(autograph=False)
    def function(**values):
        for tensor in inputs:
            if strings and tensor.is_text:
                text = values[tensor.name]
                longest = tf.reduce_max(tf.strings.length(text, unit="BYTE"))
                values[tensor.name] = tf.io.decode_raw(
                    text, tf.uint8, fixed_length=tf.maximum(longest, 1)
                )
        return call(model, values)

    return function.get_concrete_function(**specs)
