"""Keras model to SavedModel, for TensorFlow Serving and every other C++ loader."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.export.bundle.signatures import signature_names
from mmzoo.export.certify.comparison import TOLERANCE
from mmzoo.export.certify.single_artifact import write_verified
from mmzoo.export.convert.dtypes import check_dtypes
from mmzoo.export.surgery.model_description import call, describe, keras_reason, with_bytes
from mmzoo.hub.resources import find_resources
from mmzoo.io.files import check_replaceable
from mmzoo.ops import portable_operators

OURS = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}


def to_saved_model(model, path, *, signatures=None, samples=None, tolerance=TOLERANCE) -> Path:
    """Writes a SavedModel whose signatures carry the Keras names, and verifies it.

    Args:
        model: Functional Keras model, or the path of a `.keras` file.
        path: Folder to write. An old SavedModel there is replaced once the new one holds.
        signatures: Any of

            - `serving_default`: text inputs are strings `(batch,)`;
            - `portable`: text inputs are UTF-8 bytes, uint8 `(batch, length)`, zero padded,
              or token ids where the model has a tokenizer, as in the other formats.
              Without a text input the two are alike, and `serving_default` is left out where
              text comes in and an output has a free axis (tokens a byte). A model with a
              tokenizer has a third in any case, `tokenize`: strings to token ids.
            - its parts, as `surgery.extra_signatures.find_parts` finds them: `encode_image` and
              so on, `fuse`, `explain`, `serving_bytes`.

            None: all that there are.
        samples: Optional `mmzoo.export.Samples` to compare on; see `verify_artifact`.
        tolerance: Largest difference of a float output, as a part of its scale. 1e-5 is what
            float32 keeps in a network of a few layers; one of dozens may need 5e-5.

    Returns:
        `path`.

    Raises:
        ValueError: If a signature is unknown, the model does not fit `describe`, or `path` is
            a folder of something else.
        ParityError: If TensorFlow's C API answers otherwise; nothing is written.

    Differs: from `model.export`, which stores each variable twice.
    """
    path = Path(path)
    check_replaceable(path, OURS, "saved_model.pb")

    def write(portable, target, tokenizers, parts):
        write_saved_model(portable, target, signatures, tokenizers, parts)

    return write_verified(
        "saved_model", model, path, write,
        samples=samples, tolerance=tolerance, signatures=signatures,
    )  # fmt: skip


@portable_operators()
def write_saved_model(
    model: keras.Model, path: Path, signatures=None, tokenizers=(), parts=None, shapes=None
) -> Path:
    """As `to_saved_model`, unverified: for what is verified later, or converted further.

    `shapes`: fixed shapes by input's name, for a file of one size.
    """
    inputs, outputs = describe(model, tokenizers)
    check_dtypes("saved_model", inputs, outputs)
    if shapes:
        inputs = [dataclasses.replace(t, shape=tuple(shapes[t.name])) for t in inputs]
    parts = parts or {}
    if signatures is None:
        signatures = signature_names(
            "saved_model", [t.to_json() for t in inputs], [t.to_json() for t in outputs]
        )
        signatures = [*signatures, *parts]
    # The root holds the raw variables: with a Keras model as root they are lost on the way.
    root = tf.Module(name="root")
    models = [model, *(each.model for each in tokenizers)]
    variables = {id(v): v.value for each in models for v in each.variables}
    root.model_variables = list(variables.values())
    functions = {}
    for name in signatures:
        if name in parts:
            functions[name] = _part(parts[name])
            continue
        strings = name == "serving_default"
        try:
            functions[name] = _signature(model, inputs, tokenizers if strings else (), strings)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                "Expected a model that runs as a graph, its free sizes unknown. Keras answered: "
                f"{keras_reason(error)} Give that input a fixed size, or leave the layer out."
            ) from error
    if tokenizers:
        functions["tokenize"] = _tokenize(tokenizers)
    root.resources = [r for each in models for r in find_resources(each, functions.values())]
    tf.saved_model.save(root, str(path), signatures=functions)
    return path


def _tokenize(tokenizers):
    specs = {t.source: tf.TensorSpec([None], tf.string, t.source) for t in tokenizers}

    @tf.function(autograph=False)
    def function(**values):
        made = [each.ids(values[each.source]) for each in tokenizers]
        return {name: ids for one in made for name, ids in one.items()}

    return function.get_concrete_function(**specs)


def _part(part):
    specs = {}
    for tensor in part.inputs:
        specs[tensor.name] = tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)

    @tf.function(autograph=False)
    def function(**values):
        return part.function(values)

    return function.get_concrete_function(**specs)


def _signature(model, inputs, tokenizers, strings):
    specs = {}
    for tensor in inputs:
        if strings and tensor.tokens_of:
            specs[tensor.tokens_of] = tf.TensorSpec([None], tf.string, tensor.tokens_of)
        elif strings and tensor.is_text:
            specs[tensor.name] = tf.TensorSpec([None], tf.string, tensor.name)
        else:
            specs[tensor.name] = tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)

    @tf.function(autograph=False)
    def function(**values):
        for tokenizer in tokenizers:
            values |= tokenizer.ids(values.pop(tokenizer.source))
        return call(model, with_bytes(inputs, values) if strings else values)

    return function.get_concrete_function(**specs)
