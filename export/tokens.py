"""Where strings end in a model: its tokenizers, cut off for the formats that carry none."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.samples import as_strings


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
        tokenizer gives a dict), with the same layers; and the tokenizers.

    Raises:
        ValueError: If something else than integers is made of a string: such a model runs as a
            SavedModel alone, for example from `tf.saved_model` by hand.
    """
    strings = {id(t): t for t in model.inputs if t.dtype == "string"}
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
        if not isinstance(result, dict | keras.KerasTensor):
            raise ValueError(
                f"Expected a tensor of token ids, or a dict of them. Received: "
                f"{type(result).__name__} from layer {operation.name!r}."
            )
        made = dict(result) if isinstance(result, dict) else {"": result}
        leaves = keras.tree.flatten(made)
        if all(leaf.dtype == "string" for leaf in leaves):
            origin.update({id(leaf): source for leaf in leaves})
            return result
        if len(tensors) > 1 or not all(leaf.dtype.startswith(("int", "uint")) for leaf in leaves):
            raise ValueError(
                f"Expected token ids of the string input {source.name!r}. Received: "
                f"{[leaf.dtype for leaf in leaves]} from layer {operation.name!r}. TFLite and "
                "ONNX carry no strings: tokenise in a layer of its own."
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
            raise ValueError(
                f"Expected one tokenizer a string input, and no other input of the names {found}. "
                f"Received: {clash} twice. Give each tokenizer an input of its own."
            )
        made_names.update(found)
        tokenizers.append(Tokenizer(source.name, found, keras.Model(source, result)))
        replaced[source.name] += tokens.values()
        done[id(operation), id(tensors[0])] = tokens if isinstance(result, dict) else tokens[""]
        return done[id(operation), id(tensors[0])]

    inputs = keras.tree.map_structure(lambda t: given[id(t)], model._inputs_struct)
    outputs = walk(model, inputs, call)
    taken = {
        token.name: token
        for t in model.inputs
        for token in (replaced[t.name] if id(t) in strings else [given[id(t)]])
    }
    return keras.Model(taken, outputs, name=model.name), tokenizers


def walk(function, inputs, call):
    """Calls a functional model's layers one by one, on symbolic tensors."""
    if isinstance(function, keras.Sequential):
        function = function._functional
    given = inputs
    if isinstance(inputs, dict) and not isinstance(function._inputs_struct, dict):
        inputs = [inputs.get(t.name) for t in function.inputs]  # as Keras matches them: by name
        fits = len(given) == len(inputs) and all(value is not None for value in inputs)
    else:
        paths = [
            [path for path, _ in keras.tree.flatten_with_path(each)]
            for each in (inputs, function._inputs_struct)
        ]
        fits = paths[0] == paths[1]
    if not fits:
        raise ValueError(
            f"Expected the nested model {function.name!r} to be called with "
            f"{function._inputs_struct}. Received: {given}."
        )
    return function._run_through_graph(inputs, call_fn=call)
