"""What a SavedModel offers besides the whole model: its towers, its head, its attention."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from mmzoo.compat.functional import inputs_structure, run_through_graph
from mmzoo.export.bundle.signatures import BYTES
from mmzoo.export.certify.comparison import compare
from mmzoo.export.surgery.encoders import HALF, split_towers
from mmzoo.export.surgery.image_decoding import decode_pictures
from mmzoo.export.surgery.model_description import call, describe, with_bytes
from mmzoo.fusion import FusionLayer
from mmzoo.fusion.explanation import explained
from mmzoo.tasks.features.image import NONE, Image
from mmzoo.tasks.tensors import Tensor

FEW = 64  # samples on which the parts are tried in Keras
SAME = 1e-5


@dataclasses.dataclass(frozen=True)
class Part:
    """One more signature.

    Attributes:
        inputs, outputs: Its tensors.
        function: Dict of tensors by name to dict of tensors by name.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    function: Callable

    def to_json(self) -> dict:
        return {
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
        }


def find_parts(model: keras.Model, tokenizers=(), images: Sequence[Image] = ()) -> dict[str, Part]:
    """Every part that a model has.

    Args:
        model: The functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        images: The image features, with the size that each is brought to.

    Returns:
        Dict of signature to `Part`:
        - `encode_<modality>`, for each encoder: its raw input to what the encoder gives;
        - `fuse`: that of all encoders, and presence, to the model's outputs;
        - `explain`: the model's inputs to its attention maps and the weights of its modalities;
        - `serving_bytes`: images as JPEG or PNG bytes, `<name>_bytes`, turned as their EXIF data
          says; texts as strings.
    """
    inputs, outputs = describe(model, tokenizers)
    parts: dict[str, Part] = {}
    towers = split_towers(model)
    if towers is not None:
        by_name = {tensor.name: tensor for tensor in inputs}
        for name in sorted(towers.encoders):
            parts[f"encode_{name}"] = _encode(towers, by_name[name])
        taken, _ = describe(towers.head)
        parts["fuse"] = _part(taken, lambda values: call(towers.head, values))
    if any(isinstance(layer, FusionLayer) for layer in model.layers):
        found = _part(inputs, lambda values: explain(model, values))
        parts |= {"explain": found} if found.outputs else {}
    found = _encoded(model, inputs, outputs, tokenizers, images)
    parts |= {"serving_bytes": found} if found is not None else {}
    return parts


def feels_absence(parts: dict[str, Part], subsets, whole: dict) -> bool:
    """Whether the head, on what the encoders give, feels what an absent modality holds.

    Then a model has no parts: its presence acts before the encoders alone, where the head does
    not see it.

    Args:
        parts: What `find_parts` found.
        subsets: `Subsets` of the samples; None if the model takes no presence.
        whole: The model's answers for them, by output.
    """
    if subsets is None or "fuse" not in parts:
        return False
    given = {name: tf.constant(value[:FEW]) for name, value in subsets.spoilt.inputs.items()}
    for name, part in parts.items():
        if name.startswith("encode_"):
            given |= part.function({t.name: given[t.name] for t in part.inputs})
    fuse = parts["fuse"]
    made = fuse.function({tensor.name: given[tensor.name] for tensor in fuse.inputs})
    return any(compare(made[n].numpy(), whole[n][:FEW], SAME).breaches for n in whole)


def _part(inputs, function):
    """A part, with the outputs that TensorFlow finds; half precision as float32."""

    def whole(values):
        made = function(values)
        return {
            name: tf.cast(value, tf.float32) if value.dtype.name in HALF else value
            for name, value in made.items()
        }

    specs = {t.name: tf.TensorSpec(t.shape, t.dtype, t.name) for t in inputs}
    traced = tf.function(lambda **given: whole(given), autograph=False)
    made = traced.get_concrete_function(**specs).structured_outputs
    outputs = [
        Tensor(name, keras.backend.standardize_dtype(spec.dtype), tuple(spec.shape))
        for name, spec in made.items()
    ]
    return Part(list(inputs), outputs, whole)


def _encode(towers, tensor):
    encoder, names = towers.encoders[tensor.name], towers.names[tensor.name]

    def function(values):
        result = encoder(values[tensor.name], training=False)
        result = result if isinstance(result, dict) else {"": result}
        return {names[key]: result[key] for key in names}

    return _part([tensor], function)


def _encoded(model, inputs, outputs, tokenizers, images):
    """The model with encoded images and strings, or None if an image has no size."""
    known = {image.name: image for image in images}
    taken = {tensor.name: tensor for tensor in inputs if tensor.kind == Image.kind}
    sized = all(
        tensor.dtype == "uint8" and name in known and known[name].size and known[name].fit != NONE
        for name, tensor in taken.items()
    )
    # Tokens a byte of strings have no length that all batches share.
    free = any(size is None for tensor in outputs for size in tensor.shape[1:])
    if not taken or not sized or free:
        return None
    strings: dict[str, Tensor] = {}
    for tensor in inputs:
        source = tensor.tokens_of or tensor.name
        if tensor.name in taken:
            source = tensor.name + BYTES
            strings[source] = Tensor(source, "string", (None,))
        else:
            strings[source] = (
                Tensor(source, "string", (None,), kind=tensor.kind) if tensor.is_text else tensor
            )

    def function(values):
        values = dict(values)
        for name in taken:
            image = known[name]
            values[name] = decode_pictures(values.pop(name + BYTES), image.size, image.fit)
        for tokenizer in tokenizers:
            values |= tokenizer.ids(values.pop(tokenizer.source))
        return call(model, with_bytes(inputs, values))

    return Part(list(strings.values()), outputs, function)


def explain(model: keras.Model, inputs: dict) -> dict:
    """The attention maps of a model's fusion layers, and the weights of its modalities.

    Args:
        inputs: Dict of the model's inputs by name.

    Returns:
        Dict of `<map>` of each layer that has maps (`image_reads_text`), and of
        `<modality>_weight` float `(batch,)` of each that weighs modalities; behind the layer's
        name and `_` where the model has more than one such layer.
    """
    found: dict[str, dict] = {}

    def run(operation, *args, **kwargs):
        if not isinstance(operation, FusionLayer):
            return operation(*args, **kwargs)
        with explained() as notes:
            result = operation(*args, **{**kwargs, "training": False})
        if notes:
            found[operation.name] = notes
        return result

    structure = keras.tree.map_structure(lambda t: inputs[t.name], inputs_structure(model))
    run_through_graph(model, structure, call=run)
    names = [name for notes in found.values() for name in notes]
    clash = len(set(names)) < len(names)
    return {
        f"{layer}_{name}" if clash else name: value
        for layer, notes in found.items()
        for name, value in notes.items()
    }
