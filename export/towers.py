"""A model's towers and what joins them, apart: so that embeddings can be kept."""

import dataclasses

import keras

from mmzoo.fusion import HideAbsent


@dataclasses.dataclass(frozen=True)
class Towers:
    """A functional model cut behind the encoders of its modalities.

    Attributes:
        encoders: Dict of a modality's input name to its encoder, a layer of the model that is
            a functional model itself.
        names: Dict of modality to a dict of the encoder's output key ("tokens", or "" for a
            single tensor) to the name of the head's input ("image_tokens").
        head: Model of the encoders' outputs, and of every other input that it reads, to the
            whole model's outputs.
    """

    encoders: dict[str, keras.Model]
    names: dict[str, dict[str, str]]
    head: keras.Model


def split_towers(model: keras.Model) -> Towers | None:
    """Cuts a model behind its encoders.

    An encoder is a functional model among the layers that reads one input, as it comes or
    behind `HideAbsent`: whether it is there is asked again where the modalities are joined.

    Returns:
        None if there is no such layer, or if something else reads such an input too.
    """
    given = {t.name: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in model.inputs}
    origin = {id(tensor): name for name, tensor in given.items()}
    encoders: dict[str, keras.Model] = {}
    names: dict[str, dict[str, str]] = {}
    cut: dict[str, keras.KerasTensor] = {}

    def call(operation, *args, **kwargs):
        taken = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        if isinstance(operation, HideAbsent):
            result = operation(*args, **kwargs)
            values = args[0] if args else kwargs["inputs"]
            origin.update(
                {id(result[k]): origin[id(t)] for k, t in values.items() if id(t) in origin}
            )
            return result
        tower = isinstance(operation, keras.Model) and len(taken) == 1 and id(taken[0]) in origin
        name = origin[id(taken[0])] if tower else ""
        if not tower or name in encoders:
            return operation(*args, **kwargs)
        result = operation.output
        made = result if isinstance(result, dict) else {"": result}
        if not all(isinstance(leaf, keras.KerasTensor) for leaf in made.values()):
            return operation(*args, **kwargs)
        encoders[name] = operation
        names[name] = {key: f"{name}_{key}" if key else f"{name}_encoded" for key in made}
        new = {
            key: keras.Input(leaf.shape[1:], dtype=leaf.dtype, name=names[name][key])
            for key, leaf in made.items()
        }
        cut.update({tensor.name: tensor for tensor in new.values()})
        return new if isinstance(result, dict) else new[""]

    structure = keras.tree.map_structure(lambda t: given[t.name], model._inputs_struct)
    outputs = model._run_through_graph(structure, call_fn=call)
    read = _inputs_of(keras.tree.flatten(outputs))
    if not encoders or set(encoders) & read or len(read) < 2:
        return None
    taken = {name: (given | cut)[name] for name in (*given, *cut) if name in read}
    # An output of an encoder that nothing reads is no input of the head.
    names = {m: {k: n for k, n in keys.items() if n in read} for m, keys in names.items()}
    return Towers(encoders, names, keras.Model(taken, outputs, name=f"{model.name}_head"))


def _inputs_of(outputs):
    """Names of the inputs that symbolic tensors are made of."""
    found, seen, waiting = set(), set(), list(outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, index, _ = tensor._keras_history
        before = operation._inbound_nodes[index].input_tensors
        if not before:
            found.add(tensor.name)
        waiting += before
    return found
