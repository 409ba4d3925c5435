"""What a model takes and gives, by name: the one description every format is held to."""

import dataclasses
import os
import re
import weakref
from collections.abc import Sequence

import keras
import tensorflow as tf

from mmzoo.compat.functional import (
    inputs_structure,
    is_functional,
    maker_of,
    outputs_structure,
    run_through_graph,
)
from mmzoo.fusion.presence import presence_of
from mmzoo.io.keras_files import load_keras
from mmzoo.tasks.features import Feature
from mmzoo.tasks.guess import kind_of
from mmzoo.tasks.tensors import Tensor

NUMBERED = re.compile(r"(keras_tensor|input_layer)(_\d+)?")  # Keras' own names


def load_model(model) -> keras.Model:
    """Returns `model` itself, or the Keras model in a `.keras` file.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file is no readable `.keras` archive, or what was passed is no
            functional Keras model.
    """
    if isinstance(model, str | os.PathLike):
        model = load_keras(model)
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if isinstance(model, keras.Sequential):
        raise ValueError(
            "Expected a functional keras.Model or the path of a .keras file. Received: the "
            f"Sequential {model.name!r}, which has no input yet. Put keras.Input(shape, "
            "name='...') first, or call it once on data."
        )
    if not isinstance(model, keras.Model) or not is_functional(model):
        raise ValueError(
            "Expected a functional keras.Model or the path of a .keras file. "
            f"Received: {type(model).__name__}. Build it from keras.Input tensors."
        )
    return _with_names(model)


def _with_names(model):
    """The model, its inputs that Keras has numbered (`keras_tensor_17`) called "input".

    Keras counts them in each process, and gives others to the same model out of a file.
    """
    tensors = keras.tree.flatten(inputs_structure(model))
    unnamed = [tensor for tensor in tensors if NUMBERED.fullmatch(tensor.name)]
    if not unnamed or any(isinstance(each, dict | list | tuple) for each in _values(model)):
        return model
    taken = {tensor.name for tensor in tensors if not NUMBERED.fullmatch(tensor.name)}
    names = {}
    keys = inputs_structure(model) if isinstance(inputs_structure(model), dict) else {}
    by_key = {id(tensor): key for key, tensor in keys.items()}
    for place, tensor in enumerate(tensors, start=1):
        if not NUMBERED.fullmatch(tensor.name):
            names[id(tensor)] = tensor.name
            continue
        name = by_key.get(id(tensor)) or ("input" if len(tensors) == 1 else f"input_{place}")
        if name in taken:
            return model  # `describe` says what is wrong with the names
        names[id(tensor)] = name
        taken.add(name)
    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=names[id(t)]),
        inputs_structure(model),
    )
    outputs = run_through_graph(
        model, inputs, call=lambda operation, *args, **kwargs: operation(*args, **kwargs)
    )
    return keras.Model(inputs, outputs, name=model.name)


def _values(model):
    structure = inputs_structure(model)
    if isinstance(structure, dict):
        return list(structure.values())
    return list(structure) if isinstance(structure, list | tuple) else [structure]


def describe(model: keras.Model, tokenizers=()) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the inputs and outputs of a functional model, in its own order.

    Names are those of `keras.Input`; an input without one has the key of the dict that it stands
    in, else "input", of several "input_1" and so on by its place (`load_model`). Those of outputs
    are the keys of an output dict, else the names of the output layers. `tokenizers` are those
    that were cut off it.

    Raises:
        ValueError: If inputs or outputs are nested, two tensors share a name, a name is no
            identifier, or a first axis is not the free batch.
    """
    inputs = [(tensor.name, tensor) for tensor in leaves(inputs_structure(model), "inputs")]
    found = leaves(outputs_structure(model), "outputs")
    if isinstance(outputs_structure(model), dict):
        outputs = list(zip(outputs_structure(model), found, strict=True))
    else:
        outputs = [(maker_of(tensor).operation.name, tensor) for tensor in found]
    tokens = {name: each.source for each in tokenizers for name in each.names}
    kinds = {feature.name: feature.kind for feature in _DECLARED.get(model, ())}
    modalities = {tokens.get(name, name) for name, _ in inputs}
    described = []
    for named in (inputs, outputs):
        names = [name for name, _ in named]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected unique tensor names. Received: {names}.")
        for name, tensor in named:
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                raise ValueError(
                    "Expected tensor names of letters, digits and underscores, which every "
                    f"format keeps. Received: {name!r}."
                )
            if not tensor.shape or tensor.shape[0] is not None:
                raise ValueError(
                    "Expected a free batch axis in front. "
                    f"Received: {name} of shape {tensor.shape}."
                )
        described.append([_tensor(name, tensor) for name, tensor in named])
    if any(tensor.dtype == "string" for tensor in described[0]):
        shapes = _traced_shapes(model)
        described[1] = [
            dataclasses.replace(tensor, shape=shape)
            for tensor, shape in zip(described[1], shapes, strict=True)
        ]
    inputs_described = []
    for tensor in described[0]:
        tensor = dataclasses.replace(
            tensor,
            tokens_of=tokens.get(tensor.name, ""),
            presence_of=presence_of(tensor.name, tensor.dtype, tensor.shape, modalities),
        )
        if not tensor.presence_of:
            kind = kinds.get(tensor.feature) or kind_of(tensor)
            tensor = dataclasses.replace(tensor, kind=kind)
        inputs_described.append(tensor)
    return inputs_described, described[1]


_DECLARED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def declare_features(model: keras.Model, features: Sequence[Feature]) -> None:
    """Says what the inputs of a model carry, for every later `describe`; else it is guessed."""
    _DECLARED[model] = tuple(features)


_TRACED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _traced_shapes(model):
    """The outputs' shapes as TensorFlow finds them.

    Keras itself says (batch, 1, words) of `TextVectorization` by TF-IDF, which gives
    (batch, words).
    """
    if model not in _TRACED:
        specs = keras.tree.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), inputs_structure(model)
        )
        function = tf.function(lambda values: model(values, training=False), autograph=False)
        made = function.get_concrete_function(specs).structured_outputs
        found = keras.tree.flatten(made)
        said = keras.tree.flatten(outputs_structure(model))
        _TRACED[model] = [
            (None, *here.shape.as_list()[1:]) if here.shape.rank is not None else tuple(there.shape)
            for here, there in zip(found, said, strict=True)
        ]
    return _TRACED[model]


def _tensor(name, tensor):
    return Tensor(name, keras.backend.standardize_dtype(tensor.dtype), tuple(tensor.shape))


def call(model: keras.Model, inputs: dict) -> dict:
    """Calls a model in inference mode by name: dict of tensors to dict of tensors."""
    structure = inputs_structure(model)
    values: dict | list | tf.Tensor
    if isinstance(structure, dict):
        values = {key: inputs[tensor.name] for key, tensor in structure.items()}
    elif isinstance(structure, list | tuple):
        values = [inputs[tensor.name] for tensor in structure]
    else:
        values = inputs[structure.name]
    result = model(values, training=False)
    names = [tensor.name for tensor in describe(model)[1]]
    if isinstance(result, dict):
        return {name: result[name] for name in names}
    return dict(zip(names, leaves(result, "outputs"), strict=True))


def with_bytes(inputs: list[Tensor], values: dict) -> dict:
    """Turns string tensors `(batch,)` of texts into UTF-8 bytes, zero padded.

    To the length that the input has, or to that of the longest text where it has none.
    """
    values = dict(values)
    for tensor in inputs:
        if tensor.is_text and not tensor.tokens_of:
            text = values[tensor.name]
            longest = tf.reduce_max(tf.strings.length(text, unit="BYTE"))
            values[tensor.name] = tf.io.decode_raw(
                text, tf.uint8, fixed_length=tf.maximum(longest, tensor.shape[1] or 1)
            )
    return values


def keras_reason(error: Exception) -> str:
    """What went wrong, out of what Keras wraps around it, in one line."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered when")]
    return told[0] if told else type(error).__name__


def leaves(structure, side):
    """The tensors of a flat dict, list or single tensor, in the order they were written."""
    if isinstance(structure, dict):
        found = list(structure.values())
    elif isinstance(structure, list | tuple):
        found = list(structure)
    else:
        found = [structure]
    if any(isinstance(leaf, dict | list | tuple) for leaf in found):
        raise ValueError(
            f"Expected {side} that are a tensor, or a flat list or dict. Received: {structure}."
        )
    return found
