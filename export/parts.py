"""What a SavedModel offers besides the whole model: its towers, its head, its attention."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from mmzoo.export.manifest import Tensor
from mmzoo.export.pictures import decode_pictures
from mmzoo.export.signature import call, describe, with_bytes
from mmzoo.export.towers import split_towers
from mmzoo.fusion import FusionLayer
from mmzoo.fusion.explanation import explained


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


def find_parts(model: keras.Model, tokenizers=(), picture_size=None) -> dict[str, Part]:
    """Every part that a model has.

    Args:
        model: The functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        picture_size: Height and width that pictures of any size are fitted into, where the
            model takes any.

    Returns:
        Dict of signature to `Part`:
        - `encode_<modality>`, for each encoder: its raw input to what the encoder gives;
        - `fuse`: that of all encoders, and presence, to the model's outputs;
        - `explain`: the model's inputs to its attention maps and the weights of its modalities;
        - `encoded`: pictures as JPEG or PNG bytes, `image_bytes`, texts as strings.
    """
    inputs, outputs = describe(model, tokenizers)
    parts: dict[str, Part] = {}
    towers = split_towers(model)
    if towers is not None:
        by_name = {tensor.name: tensor for tensor in inputs}
        for name in sorted(towers.encoders):
            parts[f"encode_{name}"] = _encode(towers, by_name[name])
        taken, _ = describe(towers.head)
        parts["fuse"] = Part(taken, outputs, lambda values: call(towers.head, values))
    explained = explanation(model)
    if explained is not None:
        parts["explain"] = Part(
            inputs, [_tensor(n, t) for n, t in explained.items()], lambda v: explain(model, v)
        )
    if any(tensor.name == "image" for tensor in inputs):
        found = _encoded(model, inputs, outputs, tokenizers, picture_size)
        parts |= {"encoded": found} if found is not None else {}
    return parts


def _tensor(name, spec):
    return Tensor(name, keras.backend.standardize_dtype(spec.dtype), tuple(spec.shape))


def _encode(towers, tensor):
    encoder, names = towers.encoders[tensor.name], towers.names[tensor.name]
    made = encoder.output if isinstance(encoder.output, dict) else {"": encoder.output}

    def function(values):
        result = encoder(values[tensor.name], training=False)
        result = result if isinstance(result, dict) else {"": result}
        return {names[key]: result[key] for key in names}

    return Part([tensor], [_tensor(names[key], made[key]) for key in names], function)


def _encoded(model, inputs, outputs, tokenizers, picture_size):
    """The model with encoded pictures and strings, or None if its pictures have no size."""
    image = next(tensor for tensor in inputs if tensor.name == "image")
    if image.dtype != "uint8" or len(image.shape) != 4 or image.shape[3] != 3:
        return None
    if None not in image.shape[1:3]:
        picture_size = image.shape[1:3]
    # Tokens a byte of strings have no length that all batches share.
    free = any(size is None for tensor in outputs for size in tensor.shape[1:])
    if picture_size is None or free:
        return None
    strings: dict[str, Tensor] = {}
    for tensor in inputs:
        source = tensor.tokens_of or tensor.name
        if tensor is image:
            strings["image_bytes"] = Tensor("image_bytes", "string", (None,))
        else:
            strings[source] = Tensor(source, "string", (None,)) if tensor.is_text else tensor

    def function(values):
        values = dict(values)
        values["image"] = decode_pictures(values.pop("image_bytes"), picture_size)
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
            result = operation(*args, **kwargs)
        if notes:
            found[operation.name] = notes
        return result

    structure = keras.tree.map_structure(lambda t: inputs[t.name], model._inputs_struct)
    model._run_through_graph(structure, call_fn=run)
    names = [name for layer in found.values() for name in layer]
    clash = len(set(names)) < len(names)
    return {
        f"{layer}_{name}" if clash else name: value
        for layer, explanation in found.items()
        for name, value in explanation.items()
    }


def explanation(model: keras.Model) -> dict | None:
    """Specs of what `explain` gives, by name; None if it gives nothing."""
    if not any(isinstance(layer, FusionLayer) for layer in model.layers):
        return None
    specs = {t.name: tf.TensorSpec(t.shape, t.dtype, t.name) for t in model.inputs}
    traced = tf.function(lambda **given: explain(model, given), autograph=False)
    return traced.get_concrete_function(**specs).structured_outputs or None
