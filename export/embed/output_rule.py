"""Which outputs of a model are vectors, and what each is made of: the rule that `embed` follows."""

import re

import numpy as np

from mmzoo.compat.functional import (
    inputs_structure,
    is_functional,
    is_wrapper,
    maker_of,
    nodes_by_depth,
    outputs_structure,
)
from mmzoo.tasks import ArrayAnswer, Task, Tensor, Vector
from mmzoo.tasks.guess import named_like_scores, named_like_vectors

# Layers, operations and activations whose values are scores from 0 to 1.
ACTIVATIONS = {"softmax", "sigmoid", "hard_sigmoid", "sparsemax", "log_softmax"}
SUM = 1e-3  # how far a row of probabilities may be from 1


def describe_embedding(model, manifest: dict, task: Task, answers: dict) -> dict:
    """Decides how `mmzoo embed` treats each output of a model, the same in every format.

    An answer of the kind "vector" is L2-normalised, and one of another kind is kept as it is. Where
    the task does not say what an output is, it is a vector if it is float `(batch, dim)`; unless it
    has one value, its rows are probabilities, it ends in a softmax or a sigmoid, or it is named
    like scores.

    Args:
        model: The functional Keras model, of token ids where tokenizers were cut off.
        manifest: With `inputs` and `outputs`.
        task: The model's.
        answers: Dict of output name to the model's answers for the samples.

    Returns:
        Dict of `outputs`, a dict of the name of each output that a column can be made of to
        `normalize` and `of`, the modalities that it depends on; and `default`, the names of those
        that are embedded where none are asked for: the vectors, or else all.
    """
    sources = _modalities(model, manifest["inputs"])
    tensors = {}
    for tensor, found in zip(manifest["outputs"], _outputs(model), strict=True):
        tensors[tensor["name"]] = found
    outputs = {}
    for tensor in manifest["outputs"]:
        name = tensor["name"]
        if width(tensor) is None:
            continue
        known = task.answer(name)
        vector = isinstance(known, Vector)
        if isinstance(known, ArrayAnswer):
            vector = (width(tensor) or 0) > 1 and not named_like_scores(name)
            if vector and not named_like_vectors(name):
                vector = not _is_activated(tensors[name])
            if vector and name in answers:
                vector = not _are_probabilities(np.asarray(answers[name], "float64"))
        outputs[name] = {"normalize": bool(vector), "of": sources(tensors[name])}
    vectors = [name for name, rule in outputs.items() if rule["normalize"]]
    return {"default": vectors or list(outputs), "outputs": outputs}


def check_embedding(manifest: dict) -> None:
    """Raises ValueError unless a manifest's `embedding` fits its tensors."""
    rule = manifest["embedding"]
    outputs = {t["name"] for t in manifest["outputs"] if width(t) is not None}
    modalities = {Tensor.from_json(t).feature for t in manifest["inputs"]}
    if set(rule["outputs"]) != outputs or not set(rule["default"]) <= outputs:
        raise ValueError("its embedding rule does not fit its outputs")
    for name, entry in rule["outputs"].items():
        if not isinstance(entry["normalize"], bool) or not set(entry["of"]) <= modalities:
            raise ValueError(f"its embedding rule of {name!r} does not fit its inputs")


def width(tensor: dict) -> int | None:
    """Values a sample of an output that a column can be made of: float `(batch,)` or
    `(batch, dim)`; None of any other."""
    sizes = tensor["shape"][1:]
    if not tensor["dtype"].startswith("float") or len(sizes) > 1:
        return None
    return sizes[0] or None if sizes else 1


def is_vector_of_a_part(tensor: dict) -> bool:
    """Whether an output of a signature like `encode_image` is a vector, which is normalised."""
    return (width(tensor) or 0) > 1 and not named_like_scores(tensor["name"])


def _are_probabilities(values):
    finite = values[np.isfinite(values).all(axis=1)]
    return bool(len(finite)) and bool(
        (finite >= 0).all() and (np.abs(finite.sum(axis=1) - 1) < SUM).all()
    )


def _outputs(model):
    from mmzoo.export.surgery.model_description import leaves

    return leaves(outputs_structure(model), "outputs")


def _is_activated(tensor):
    """Whether what makes a tensor gives scores; looks into models that are layers."""
    operation, _, index = maker_of(tensor)
    while is_wrapper(operation):
        tensor = operation.outputs[index]
        operation, _, index = maker_of(tensor)
    activation = getattr(operation, "activation", None)
    names = {getattr(activation, "__name__", ""), type(operation).__name__}
    return any(re.sub(r"(?<!^)(?=[A-Z])", "_", n).lower() in ACTIVATIONS for n in names)


def _modalities(model, inputs):
    """Function of an output tensor to the modalities that it depends on, in the inputs' order."""
    known = {t["name"]: Tensor.from_json(t) for t in inputs}
    given = {
        id(tensor): frozenset(
            () if known[tensor.name].presence_of else (known[tensor.name].feature,)
        )
        for tensor in model.inputs
    }
    found = _trace(model, given)
    order = list(dict.fromkeys(t.feature for t in known.values()))
    return lambda tensor: [name for name in order if name in found[id(tensor)]]


def _trace(model, given):
    """Dict of the id of each tensor of a functional model to what it depends on.

    An operation's outputs depend on all that it takes; but of `HideAbsent`, and of a model that
    is a layer, each output on its own inputs.
    """
    import keras

    from mmzoo.fusion import HideAbsent

    found = dict(given)
    for depth in sorted(nodes_by_depth(model), reverse=True):
        for node in nodes_by_depth(model)[depth]:
            operation, taken, made = node.operation, node.input_tensors, node.output_tensors
            if not taken:
                for tensor in made:
                    found.setdefault(id(tensor), frozenset())
                continue
            everything = frozenset().union(*(found[id(tensor)] for tensor in taken))
            own = [everything] * len(made)
            arguments = [*node.arguments.args, *node.arguments.kwargs.values()]
            if isinstance(operation, HideAbsent):
                hidden = (node.arguments.args or [node.arguments.kwargs["inputs"]])[0]
                own = [found[id(hidden[name])] for name in sorted(hidden)]
            elif is_functional(operation) and _same(operation, arguments):
                passed = zip(operation.inputs, keras.tree.flatten(arguments[0]), strict=True)
                inner = _trace(operation, {id(t): found[id(value)] for t, value in passed})
                own = [inner[id(tensor)] for tensor in operation.outputs]
            for tensor, sources in zip(made, own, strict=True):
                found[id(tensor)] = sources
    return found


def _same(model, arguments):
    """Whether a model that is a layer was called with its own structure, and no more."""
    import keras

    struct, first = inputs_structure(model), arguments[0]
    more = keras.tree.flatten(arguments[1:])  # `mask`, which is mostly None
    if any(isinstance(value, keras.KerasTensor) for value in more):
        return False
    if isinstance(struct, dict) or isinstance(first, dict):
        return isinstance(struct, dict) and isinstance(first, dict) and set(struct) == set(first)
    if isinstance(struct, list | tuple) or isinstance(first, list | tuple):
        return type(struct) is type(first) and len(struct) == len(first)
    return True
