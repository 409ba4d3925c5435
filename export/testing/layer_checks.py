"""What a Keras layer has to stand to be shipped: `check_layer`, one call a layer.

And the pieces of it that tests of whole models use: `check_parity`, `check_gradients`.
"""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.runtimes.process import run_artifact

# Unverified: the comparison here is our own, so that a fault in the library's is no fault here.
WRITERS = {"saved_model": write_saved_model, "tflite": write_tflite, "onnx": write_onnx}
FORMATS = tuple(WRITERS)
POLICIES = ("mixed_float16", "mixed_bfloat16")
BATCHES = (1, 3)
TOLERANCE = 1e-5  # of the output's scale
HALF_TOLERANCE = 0.05  # of the output's scale, for 8 to 11 bits of mantissa


def check_layer(
    make,
    call,
    *,
    inputs,
    folder,
    num_weights=None,
    output_shape=None,
    num_frozen=0,
    shapes=None,
    formats=FORMATS,
    policies=POLICIES,
    more=(),
):
    """Puts a layer through everything that a layer of this library has to stand.

    Args:
        make: Function without arguments that returns a new layer.
        call: Function of a layer and a dict of tensors, eager or symbolic, that returns the
            layer's result. Inputs are numbers: masks are made in it (`x["mask"] > 0`).
        inputs: Dict of name to array `(3, ...)`; three samples that differ.
        folder: Where to save (`tmp_path`).
        num_weights: Exact number of trainable parameters. None: not checked.
        output_shape: Shape of the result for `inputs`; a list of shapes for more than one
            tensor, in the order of `keras.tree.flatten`. None: not checked.
        num_frozen: Exact number of parameters that never train.
        shapes: Dict of input name to its shape without the batch axis, for inputs with
            other free axes; default: as `inputs`.
        formats: Formats to export to.
        policies: Mixed precision policies to run.
        more: Further inputs to run through the artifacts.

    Raises:
        AssertionError: At the first thing that does not hold.
    """
    assert {len(value) for value in inputs.values()} == {3}
    keras.utils.set_random_seed(7)
    layer = make()
    expected = flat(call(layer, inputs))
    randomize(layer)
    expected = flat(call(layer, inputs))
    for value in expected.values():
        assert np.isfinite(value).all()
    shapes_expected = output_shape if isinstance(output_shape, list) else [output_shape]
    if output_shape is not None:
        assert [value.shape for value in expected.values()] == shapes_expected

    found = count(layer.trainable_weights)
    assert num_weights in (None, found), f"{found} trainable parameters, not {num_weights}"
    assert count(layer.non_trainable_weights) == num_frozen
    layer.trainable = False
    assert count(layer.trainable_weights) == 0
    layer.trainable = True
    assert count(layer.trainable_weights) == found, "what is fixed must not be unfrozen"
    layer = copy_of(layer, make, call, inputs)

    check_config(layer, call, inputs, expected)
    check_symbolic(layer, call, inputs, expected, shapes)
    check_gradients(layer.trainable_weights, lambda: call(layer, inputs))
    for policy in policies:
        check_policy(layer, make, call, inputs, expected, policy)
    model = wrap(layer, call, inputs, shapes)
    check_saving(model, layer, inputs, folder)
    for name in formats:
        check_parity(model, inputs, name, folder, more)


def copy_of(layer, make, call, inputs):
    """A new layer with the weights of another."""
    other = make()
    call(other, inputs)
    other.set_weights(layer.get_weights())
    return other


def randomize(layer, scale=0.2):
    """Moves every trainable weight off its initial value, where zeros and ones hide faults."""
    rng = np.random.default_rng(5)
    for weight in layer.trainable_weights:
        weight.assign(weight.numpy() + scale * rng.standard_normal(weight.shape))


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def flat(outputs):
    """Dict of `output_k` to array, in the order in which Keras flattens a structure."""
    tensors = keras.tree.flatten(outputs)
    return {f"output_{k}": np.asarray(tensor) for k, tensor in enumerate(tensors)}


def wrap(layer, call, inputs, shapes=None):
    """A functional model around a layer, with a free batch axis."""
    free = {name: value.shape[1:] for name, value in inputs.items()} | (shapes or {})
    symbols = {
        name: keras.Input(free[name], dtype=str(value.dtype), name=name)
        for name, value in inputs.items()
    }
    outputs = keras.tree.flatten(call(layer, symbols))
    return keras.Model(symbols, {f"output_{k}": tensor for k, tensor in enumerate(outputs)})


def check_config(layer, call, inputs, expected):
    """Config round trip: equal config, fit for JSON, and with the weights equal output."""
    config = layer.get_config()
    json.dumps(keras.saving.serialize_keras_object(layer))
    registered = keras.saving.get_registered_name(type(layer))
    assert registered.endswith(f">{type(layer).__name__}"), f"{registered} is not registered"
    clone = type(layer).from_config(config)
    assert clone.get_config() == config
    call(clone, inputs)
    clone.set_weights(layer.get_weights())
    assert_same(flat(call(clone, inputs)), expected, 0)


def check_symbolic(layer, call, inputs, expected, shapes):
    """Symbolic shapes and dtypes are the eager ones, and None where an input's are."""
    symbols = {
        name: keras.Input(batch_shape=value.shape, dtype=str(value.dtype))
        for name, value in inputs.items()
    }
    for symbol, value in zip(
        keras.tree.flatten(call(layer, symbols)), expected.values(), strict=True
    ):
        assert tuple(symbol.shape) == value.shape
        assert keras.backend.standardize_dtype(symbol.dtype) == str(value.dtype)
    free = wrap(layer, call, inputs, shapes).output
    for symbol, value in zip(free.values(), expected.values(), strict=True):
        assert symbol.shape[0] is None and len(symbol.shape) == value.ndim
        for size, actual in zip(symbol.shape[1:], value.shape[1:], strict=True):
            assert size in (None, actual)


def check_gradients(weights, function):
    """Every weight gets a finite gradient that is not all zeros."""
    with tf.GradientTape() as tape:
        loss = weighted_sum(keras.tree.flatten(function()))
    gradients = tape.gradient(loss, [weight.value for weight in weights]) if weights else []
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None, f"{weight.path} has no gradient"
        gradient = np.asarray(tf.convert_to_tensor(gradient), "float64")
        assert np.isfinite(gradient).all(), f"{weight.path} has a gradient that is not finite"
        assert np.abs(gradient).max() > 0, f"{weight.path} has a gradient of zeros"


def weighted_sum(tensors):
    """Fixed random weights: a plain sum is blind, as the sum of a softmax is always 1."""
    rng = np.random.default_rng(3)
    total = tf.constant(0.0)
    for tensor in tensors:
        if tensor.dtype.is_floating:
            weight = tf.constant(rng.standard_normal(tensor.shape), "float32")
            total += tf.reduce_sum(tf.cast(tensor, "float32") * weight)
    return total


@contextlib.contextmanager
def dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_policy(layer, make, call, inputs, expected, policy):
    """Mixed precision: computes in half, keeps float32 weights, stays near and finite."""
    with dtype_policy(policy):
        half = make()
        outputs = keras.tree.flatten(call(half, inputs))
        half.set_weights(layer.get_weights())
        outputs = keras.tree.flatten(call(half, inputs))
        symbols = wrap(half, call, inputs).outputs
    assert half.compute_dtype == policy.removeprefix("mixed_")
    assert {weight.dtype for weight in half.weights} <= {"float32"}
    for tensor, symbol, value in zip(outputs, symbols, expected.values(), strict=True):
        assert keras.backend.standardize_dtype(symbol.dtype) == tensor.dtype.name
        if value.dtype.kind != "f":
            assert tensor.dtype.name == str(value.dtype)
            np.testing.assert_array_equal(tensor, value)
            continue
        assert tensor.dtype.name == half.compute_dtype
        actual = np.asarray(tf.cast(tensor, "float32"))
        assert_near(actual, value, HALF_TOLERANCE, policy)
    check_gradients(half.trainable_weights, lambda: call(half, inputs))


def check_saving(model, layer, inputs, folder):
    """`.keras` save and load: equal output and config."""
    path = folder / "layer.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_layer(layer.name).get_config() == layer.get_config()
    assert_same(flat(loaded(inputs)), flat(model(inputs)), 0)


def check_parity(model, inputs, format, folder, more=()):
    """Exports once and runs it in its own runtime at batch 1 and 3, against Keras.

    Args:
        model: Functional model with a dict of outputs.
        inputs: Dict of name to array of three samples.
        more: Further inputs to run through the same artifact, of other free sizes.
    """
    path = folder / f"artifact_{format}"
    WRITERS[format](model, path)
    sets = [values for values in (inputs, *more) for _ in BATCHES]
    further = list(zip(sets, BATCHES * (1 + len(more)), strict=True))[1:]
    result = run_artifact(format, path, inputs, [(BATCHES[0], 3)], further=further)
    for k, values in enumerate((inputs, *more)):
        structured = values if isinstance(model.input, dict) else next(iter(values.values()))
        reference = model(structured, training=False)
        expected = {output: np.asarray(value) for output, value in reference.items()}
        for outputs in result.outputs[len(BATCHES) * k : len(BATCHES) * (k + 1)]:
            assert_same(outputs, expected, TOLERANCE, format)


def assert_same(actual, expected, tolerance, note=""):
    """Same names, dtypes, shapes; floats within `tolerance` of scale, others equal."""
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, f"{note} {name}"
        assert_near(actual[name], value, tolerance, f"{note} {name}")


def assert_near(actual, expected, tolerance, note=""):
    """Largest difference within `tolerance` of the largest absolute expected value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{note}: {actual.shape}, not {expected.shape}"
    assert np.isfinite(actual).all(), f"{note}: not finite"
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, note)
    elif expected.size:
        difference = np.abs(actual.astype("float64") - expected).max()
        scale = np.abs(expected).max()
        assert difference <= tolerance * scale, f"{note}: off by {difference:.3g} of {scale:.3g}"
