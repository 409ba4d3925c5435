"""The signatures of each format, as JSON."""

from mmzoo.export.bundle.formats import STRINGS
from mmzoo.tasks.tensors import Tensor

BYTES = "_bytes"  # what the names of encoded images end with


def signature_names(name: str, inputs: list[dict], outputs: list[dict]) -> list[str]:
    """The signatures that a format has for these tensors.

    A SavedModel has `serving_default`, with text as strings, beside `portable`; unless text
    comes in and an output has a free axis: strings carry no length that all would share.
    """
    if name == "saved_model" and has_string_signature(inputs, outputs):
        return ["serving_default", "portable"]
    return ["portable"]


def has_string_signature(inputs: list[dict], outputs: list[dict]) -> bool:
    """Whether a model of these tensors can take its texts as strings, if it takes any."""
    text = any(Tensor.from_json(tensor).is_text for tensor in inputs)
    free = any(size is None for tensor in outputs for size in tensor["shape"][1:])
    return not (text and free)


def with_strings(inputs: list[dict]) -> list[dict]:
    """A model's inputs, as JSON, with a string `(batch,)` in place of each text."""
    found = {}
    for each in inputs:
        tensor = Tensor.from_json(each)
        source = tensor.tokens_of or tensor.name
        text = {"name": source, "dtype": "string", "shape": [None], "kind": tensor.kind}
        found[source] = text if tensor.is_text else each
    return list(found.values())


def describe_signatures(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> dict:
    """The signatures of a format as JSON, in the model's order; every format binds by name."""
    portable = {
        "inputs": [tensor.to_json() for tensor in inputs],
        "outputs": [tensor.to_json() for tensor in outputs],
    }
    strings = {**portable, "inputs": with_strings(portable["inputs"])}
    signatures = {
        "serving_default": strings,
        "portable": strings if name in STRINGS else portable,
    }
    return {key: signatures[key] for key in signature_names(name, **portable)}
