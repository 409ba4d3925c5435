"""Where strings end in a model: its tokenizers, cut off for the formats that carry none."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mmzoo.compat.functional import functional_of, inputs_structure, run_through_graph
from mmzoo.export.samples.samples import as_strings


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """What makes token ids of one string input.

    Attributes:
        source: Name of the string input.
        names: Names of the tensors that it makes, in the order of the model's output.
        model: Keras model: strings `(batch,)` to token ids, or a dict of them.
    """

    source: str
    names: tuple[str, ...]
    model: keras.Model

    def ids(self, strings) -> dict[str, tf.Tensor]:
        """Token ids by name, of a string tensor `(batch,)`."""
        made = self.model(strings)
        return dict(
            zip(self.names, made.values() if isinstance(made, dict) else [made], strict=True)
        )

    def ids_of_bytes(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Token ids by name, of uint8 `(samples, length)`: UTF-8 bytes, zero padded."""
        strings = tf.constant(as_strings(rows))
        return {name: value.numpy() for name, value in self.ids(strings).items()}


def split_tokenizers(model: keras.Model) -> tuple[keras.Model, list[Tokenizer]]:
    """Cuts a functional model where strings become token ids, inside nested models too.

    Args:
        model: Functional model. One without string inputs is returned as it is.

    Returns:
        The model that takes the ids under the name of the string input (`name_key` where a
        tokenizer gives a dict), with the same layers; and the tokenizers. A string input stays
        one where something other than token ids is made of it: see `uncut_strings`.

    Raises:
        ValueError: If a nested model is called with other inputs than its own.
    """
    return _split(model)[:2]


def uncut_strings(model: keras.Model) -> dict[str, str]:
    """Dict of each string input that no token ids can take the place of to the reason.

    Args:
        model: Functional model, its tokenizers cut off or not.
    """
    return _split(model)[2]


class _Uncut(Exception):
    """A string input that stays one; says why."""

    def __init__(self, source, reason):
        super().__init__(reason)
        self.source, self.reason = source, reason


def _split(model):
    """The model, its tokenizers, and the strings that are left, each with the reason."""
    left = {
        tensor.name: f"It is of shape {tensor.shape}, not one text a sample."
        for tensor in model.inputs
        if tensor.dtype == "string" and tuple(tensor.shape[1:]) not in ((), (1,))
    }
    while True:
        try:
            return *_cut(model, left), left
        except _Uncut as found:
            left |= {found.source: found.reason}


def _cut(model, left):
    """Cuts the strings that are not `left`; raises `_Uncut` at one that can't be."""
    strings = {id(t): t for t in model.inputs if t.dtype == "string" and t.name not in left}
    if not strings:
        return model, []
    names = {t.name for t in model.inputs}
    given = {id(t): keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in model.inputs}
    # From each string tensor to the input that it comes from.
    origin = {id(given[key]): given[key] for key in strings}
    tokenizers: list[Tokenizer] = []
    done: dict[tuple[int, int], Any] = {}
    made_names: set[str] = set()
    replaced: dict[str, list] = {name: [] for name in names}

    def call(operation, *args, **kwargs):
        tensors = [t for t in keras.tree.flatten((args, kwargs)) if id(t) in origin]
        if isinstance(operation, keras.Model) and tensors:
            return walk(operation, args[0] if args else kwargs["inputs"], call)
        if tensors and (id(operation), id(tensors[0])) in done:
            return done[id(operation), id(tensors[0])]  # the same tokenizer once more
        result = operation(*args, **kwargs)
        if not tensors:
            return result
        source = origin[id(tensors[0])]
        given_too = [t for t in keras.tree.flatten((args, kwargs)) if t is not tensors[0]]
        if any(isinstance(t, keras.KerasTensor) for t in given_too):
            raise _Uncut(source.name, f"Layer {operation.name!r} reads it together with others.")
        if not isinstance(result, dict | keras.KerasTensor):
            kind = type(result).__name__
            raise _Uncut(source.name, f"Layer {operation.name!r} makes a {kind} of it.")
        made = dict(result) if isinstance(result, dict) else {"": result}
        leaves = keras.tree.flatten(made)
        if all(leaf.dtype == "string" for leaf in leaves):
            origin.update({id(leaf): source for leaf in leaves})
            return result
        if not all(_holds_ids(leaf) for leaf in leaves):
            kinds = " and ".join(sorted({f"{leaf.dtype} of shape {leaf.shape}" for leaf in leaves}))
            raise _Uncut(
                source.name, f"Layer {operation.name!r} makes {kinds} of it, not token ids."
            )
        tokens = {
            key: keras.Input(
                leaf.shape[1:],
                dtype=leaf.dtype,
                name=f"{source.name}_{key}" if key else source.name,
            )
            for key, leaf in made.items()
        }
        found = tuple(token.name for token in tokens.values())
        clash = sorted(set(found) & (names - {source.name} | made_names))
        if clash:
            raise _Uncut(
                source.name,
                f"Its token ids would be called {', '.join(map(repr, clash))}, as another input "
                "or other token ids are. Give each tokenizer an input of its own.",
            )
        made_names.update(found)
        tokenizers.append(Tokenizer(source.name, found, keras.Model(source, result)))
        replaced[source.name] += tokens.values()
        done[id(operation), id(tensors[0])] = tokens if isinstance(result, dict) else tokens[""]
        return done[id(operation), id(tensors[0])]

    inputs = keras.tree.map_structure(lambda t: given[id(t)], inputs_structure(model))
    outputs = walk(model, inputs, call)
    for leaf in keras.tree.flatten(outputs):
        if id(leaf) in origin:
            raise _Uncut(origin[id(leaf)].name, "The model gives strings of it as an output.")
    taken = {
        token.name: token
        for t in model.inputs
        for token in (replaced[t.name] if id(t) in strings else [given[id(t)]])
    }
    return keras.Model(taken, outputs, name=model.name), tokenizers


def _holds_ids(tensor):
    return tensor.dtype.startswith(("int", "uint")) and len(tensor.shape) <= 2


def walk(function, inputs, call):
    """Calls a functional model's layers one by one, on symbolic tensors."""
    if isinstance(function, keras.Sequential):
        function = functional_of(function)
    given = inputs
    if isinstance(inputs, dict) and not isinstance(inputs_structure(function), dict):
        inputs = [inputs.get(t.name) for t in function.inputs]  # as Keras matches them: by name
        fits = len(given) == len(inputs) and all(value is not None for value in inputs)
    else:
        paths = [
            [path for path, _ in keras.tree.flatten_with_path(each)]
            for each in (inputs, inputs_structure(function))
        ]
        fits = paths[0] == paths[1]
    if not fits:
        raise ValueError(
            f"Expected the nested model {function.name!r} to be called with "
            f"{inputs_structure(function)}. Received: {given}."
        )
    return run_through_graph(function, inputs, call=call)
