"""How a layer's inputs become a module's, and a module's outputs the layer's."""

import keras
import tensorflow as tf

from mmzoo.hub.inline_function import inline_call, takes
from mmzoo.hub.module import Module


def fit_inputs(inputs, module: Module, one_by_one: bool, layer: str):
    """Casts inputs to what the module takes.

    Raises:
        ValueError: If structure, kind or shape fit none of the module's input specs.
    """
    inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    if any(not isinstance(value, tf.Tensor) for value in tf.nest.flatten(inputs)):
        raise ValueError(f"Layer {layer!r} expected dense tensors. Received: {inputs}.")
    specs = module.input_specs
    if one_by_one:
        specs = [tf.nest.map_structure(_with_batch, spec) for spec in specs]
    # A module traced for several dtypes gets the one that came, if it can have it.
    given = _places(inputs)
    alike = [spec for spec in specs if _places(spec) == given]
    for cast in (False, True):
        for spec in alike:
            pairs = zip(tf.nest.flatten(inputs), tf.nest.flatten(spec), strict=True)
            found = [_fit(value, each, cast) for value, each in pairs]
            if all(value is not None for value in found):
                return tf.nest.pack_sequence_as(inputs, found)
    if not specs:
        return inputs
    known = dict.fromkeys(_describe(spec) for spec in specs)
    raise ValueError(
        f"Layer {layer!r} expected inputs {' or '.join(known)}. Received: {_describe(inputs)}."
        + _as_first_layer(inputs, specs[0])
    )


def _as_first_layer(inputs, spec):
    """The way out of a Sequential without an input, which gives its first layer floats."""
    leaves = [tf.nest.flatten(each) for each in (inputs, spec)]
    if [len(each) for each in leaves] != [1, 1]:
        return ""
    [[value], [wanted]] = leaves
    if not value.dtype.is_floating or wanted.dtype.is_floating or wanted.shape.rank is None:
        return ""
    shape = tuple(wanted.shape.as_list()[1:])
    return (
        f" Put keras.Input({shape}, dtype={wanted.dtype.name!r}) in front: a Sequential without "
        "one takes floats."
    )


def _places(structure):
    """Where the leaves of a nested structure stand; lists and tuples are alike."""
    return sorted(str(path) for path, _ in keras.tree.flatten_with_path(structure))


def _fit(value, spec, cast):
    """The value as `spec` takes it, or None."""
    if (value.dtype == tf.string) != (spec.dtype == tf.string):
        return None
    if value.dtype == tf.string and value.shape.rank == 2 and spec.shape.rank == 1:
        if value.shape[1] not in (1, None):
            return None
        value = tf.squeeze(value, 1)
    if not spec.shape.is_compatible_with(value.shape):
        return None
    if value.dtype == spec.dtype:
        return value
    if value.dtype.is_floating and not spec.dtype.is_floating:
        return None  # pictures in [0, 1] would be black ones
    return tf.cast(value, spec.dtype) if cast else None


def _with_batch(spec):
    return tf.TensorSpec(tf.TensorShape([None]).concatenate(spec.shape), spec.dtype)


def _describe(structure):
    def one(each):
        return f"{each.dtype.name}{[size for size in each.shape]}"

    return str(tf.nest.map_structure(one, structure)).replace("'", "")


def run(module: Module, inputs, options: dict):
    """Runs a module; in training, where it can be, so that its gradient is built in place."""
    if options.get("training") and not tf.executing_eagerly():
        for concrete in module.can_inline:
            if takes(concrete, inputs, True):
                return inline_call(concrete, inputs)
    return module.function(inputs, **options)


def run_one_by_one(module: Module, waveforms, options: dict, known: dict):
    """Runs a module that takes one waveform over a batch `(batch, time)`.

    With a static length the outputs' shapes are found once, by running the module on silence:
    only a loop of static shapes becomes TFLite builtins. `known` remembers them.
    """
    length = waveforms.shape[1]
    if length is None:
        signature = tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), module.output_spec
        )
    else:
        if length not in known:
            with tf.init_scope():
                found = module.function(tf.zeros([length], waveforms.dtype), **options)
            known[length] = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), found)
        signature = known[length]

    def run(waveform):
        outputs = module.function(waveform, **options)
        for value, spec in zip(tf.nest.flatten(outputs), tf.nest.flatten(signature), strict=True):
            value.set_shape(spec.shape)
        return outputs

    return tf.map_fn(run, waveforms, fn_output_signature=signature)


def cast_outputs(outputs, dtype: str, layer: str):
    """Casts floats to `dtype`.

    Raises:
        ValueError: If an output is ragged or sparse, which a Keras model can't pass on.
    """

    def cast(value):
        if not isinstance(value, tf.Tensor):
            raise ValueError(
                f"Layer {layer!r} expected a module with dense outputs. Received: "
                f"{type(value).__name__}. Pad it in a layer of your own around the module."
            )
        return tf.cast(value, dtype) if value.dtype.is_floating else value

    return tf.nest.map_structure(cast, outputs)


def pick_output(outputs, key):
    """The output of one key.

    Raises:
        ValueError: If the module returns no dict, or none with the key.
    """
    if not isinstance(outputs, dict) or key not in outputs:
        known = sorted(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        raise ValueError(
            f"Expected `output_key` as one of the module's outputs {known}. "
            f"Received: output_key={key!r}."
        )
    return outputs[key]


def check_strategy(variable: tf.Variable, layer: str) -> None:
    """Raises ValueError if a variable to train was made outside the strategy that runs."""
    if not tf.distribute.has_strategy():
        return
    if not tf.distribute.get_strategy().extended.variable_created_in_scope(variable):
        raise ValueError(
            f"Expected the trainable layer {layer!r} to be made inside `strategy.scope()`, where "
            "its module is loaded. Received: weights made outside. Build the model in the scope, "
            "or set `trainable=False`."
        )
