"""What a model takes and gives, by name: the one description every format is held to."""

import os
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.export.manifest import Tensor


def load_model(model) -> keras.Model:
    """Returns `model` itself, or the Keras model in a `.keras` file.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file is no readable `.keras` archive, or what was passed is no
            functional Keras model.
    """
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"Expected a .keras file. Received: {path}, no such file.")
        import mmzoo.encoders
        import mmzoo.fusion  # noqa: F401  the layers that the archive names

        try:
            model = keras.models.load_model(path, compile=False)
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise ValueError(
                f"Expected a Keras 3 archive (.keras). Received: {path}, which Keras can't "
                f"load: {error}"
            ) from error
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional keras.Model or the path of a .keras file. "
            f"Received: {type(model).__name__}. Build it from keras.Input tensors."
        )
    return model


def describe(model: keras.Model) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the inputs and outputs of a functional model, in its own order.

    Names are those of `keras.Input`, and the keys of an output dict (else the names of the
    output layers).

    Raises:
        ValueError: If two tensors share a name, or a first axis is not the free batch.
    """
    inputs = [
        Tensor(tensor.name, keras.backend.standardize_dtype(tensor.dtype), tuple(tensor.shape))
        for tensor in model.inputs
    ]
    structure = model._outputs_struct if hasattr(model, "_outputs_struct") else model.outputs
    if isinstance(structure, dict):
        named = list(structure.items())
    else:
        named = list(zip(model.output_names, model.outputs, strict=True))
    outputs = [
        Tensor(name, keras.backend.standardize_dtype(tensor.dtype), tuple(tensor.shape))
        for name, tensor in named
    ]
    for tensors in (inputs, outputs):
        names = [tensor.name for tensor in tensors]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected unique tensor names. Received: {names}.")
        for tensor in tensors:
            if not tensor.shape or tensor.shape[0] is not None:
                raise ValueError(
                    "Expected a free batch axis in front. "
                    f"Received: {tensor.name} of shape {tensor.shape}."
                )
    return inputs, outputs


def call(model: keras.Model, inputs: dict) -> dict:
    """Calls a model in inference mode by name: dict of tensors to dict of tensors."""
    names, outputs = describe(model)
    values = [inputs[tensor.name] for tensor in names]
    result = model(tf.nest.pack_sequence_as(model._inputs_struct, values), training=False)
    return {t.name: value for t, value in zip(outputs, tf.nest.flatten(result), strict=True)}
