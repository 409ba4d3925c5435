"""A model's towers and what joins them, apart: so that embeddings can be kept."""

import dataclasses

import keras
from keras import ops

from mmzoo.compat.functional import calls_of, inputs_structure, maker_of, run_through_graph
from mmzoo.export.surgery.model_description import describe, leaves
from mmzoo.export.surgery.tokenizers import walk
from mmzoo.fusion import HideAbsent

HALF = ("float16", "bfloat16")  # what a client can't be asked to send


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
        None if there is no such layer, if something else reads such an input too, or if layers
        of one name would come together. Models that read more than one input are looked into.
    """
    given = {t.name: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in model.inputs}
    origin = {id(tensor): name for name, tensor in given.items()}
    encoders: dict[str, keras.Model] = {}
    names: dict[str, dict[str, str]] = {}
    cut: dict[str, keras.KerasTensor] = {}

    def call(operation, *args, **kwargs):
        taken = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        if isinstance(operation, HideAbsent):
            values, presence = args if len(args) == 2 else (kwargs["inputs"], kwargs["presence"])
            # One by one: what is hidden together would be read together.
            result = {k: operation({k: t}, {k: presence[k]})[k] for k, t in values.items()}
            origin.update(
                {id(result[k]): origin[id(t)] for k, t in values.items() if id(t) in origin}
            )
            return result
        if isinstance(operation, keras.Model) and len(taken) > 1:
            return walk(operation, args[0] if args else kwargs["inputs"], call)
        tower = isinstance(operation, keras.Model) and len(taken) == 1 and id(taken[0]) in origin
        name = origin[id(taken[0])] if tower else ""
        if not tower or name in encoders:
            return operation(*args, **kwargs)
        result = operation(*args, **kwargs)
        made = result if isinstance(result, dict) else {"": result}
        fits = all(isinstance(leaf, keras.KerasTensor) for leaf in made.values())
        if not fits or not all(key.isidentifier() for key in made if key):
            return result
        encoders[name] = operation
        names[name] = {key: f"{name}_{key}" if key else f"{name}_encoded" for key in made}
        new = {}
        for key, leaf in made.items():
            half = leaf.dtype in HALF
            dtype = "float32" if half else leaf.dtype
            given_back = keras.Input(leaf.shape[1:], dtype=dtype, name=names[name][key])
            cut[given_back.name] = given_back
            new[key] = ops.cast(given_back, leaf.dtype) if half else given_back
        return new if isinstance(result, dict) else new[""]

    structure = keras.tree.map_structure(lambda t: given[t.name], inputs_structure(model))
    outputs = run_through_graph(model, structure, call=call)
    read = _inputs_of(keras.tree.flatten(outputs))
    if not encoders or set(encoders) & read or len(read) < 2:
        return None
    taken = {name: (given | cut)[name] for name in (*given, *cut) if name in read}
    # An output of an encoder that nothing reads is no input of the head.
    names = {m: {k: n for k, n in keys.items() if n in read} for m, keys in names.items()}
    named = [tensor.name for tensor in describe(model)[1]]
    outputs = dict(zip(named, leaves(outputs, "outputs"), strict=True))
    operations = {id(each): each.name for each in _operations_of(keras.tree.flatten(outputs))}
    if len(set(operations.values())) < len(operations):
        return None  # models that were looked into have layers of one name: Keras joins no such
    return Towers(encoders, names, keras.Model(taken, outputs, name=f"{model.name}_head"))


def _inputs_of(outputs):
    """Names of the inputs that symbolic tensors are made of."""
    return {
        tensor.name
        for operation, index in _nodes_of(outputs)
        if not calls_of(operation)[index].input_tensors
        for tensor in calls_of(operation)[index].output_tensors
    }


def _operations_of(outputs):
    return [operation for operation, _ in _nodes_of(outputs)]


def _nodes_of(outputs):
    """Every operation that symbolic tensors are made by, with the index of its call."""
    found, waiting = {}, list(outputs)
    while waiting:
        operation, index, _ = maker_of(waiting.pop())
        if (id(operation), index) not in found:
            found[id(operation), index] = operation, index
            waiting += calls_of(operation)[index].input_tensors
    return list(found.values())
