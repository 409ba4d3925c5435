"""`GradientScale`: nothing on the way forward, a factor on the way back."""

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from mmzoo.export.testing.layer_checks import WRITERS, check_layer, check_parity, dtype_policy
from mmzoo.fusion import GradientScale

DTYPES = ("float16", "bfloat16", "float32", "float64")


def values(shape=(3, 4, 5), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def gradient(layer, x):
    """That of `sum(x * y)` where y is the layer's output, with respect to its input."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.stop_gradient(x) * layer(x))
    return tape.gradient(loss, x)


def test_conformance(tmp_path):
    check_layer(
        lambda: GradientScale(name="scale"),
        lambda layer, inputs: layer(inputs["x"]),
        inputs={"x": values()},
        num_weights=0,
        num_frozen=1,
        output_shape=(3, 4, 5),
        policies=(),  # the dtype is the input's: below
        folder=tmp_path,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_forward_is_the_input_itself(dtype, policy):
    x = np.array([1.1, -0.0, np.inf, -np.inf, np.nan, 60_000.0, 1e-7])
    x = tf.cast(x, dtype)
    with dtype_policy(policy):
        layer = GradientScale()
    layer.set_scale(0.3)
    for call in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
        y = call(x)
        assert y.dtype == x.dtype
        assert tf.io.serialize_tensor(y) == tf.io.serialize_tensor(x)  # to the bit
    assert keras.backend.standardize_dtype(layer(keras.Input((7,), dtype=dtype)).dtype) == dtype
    assert layer.scale.dtype == "float32"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0, -1.0])
def test_the_gradient_is_scaled(dtype, scale):
    x = tf.cast(values((2, 3)), dtype)
    layer = GradientScale()
    layer.set_scale(scale)
    found = gradient(layer, x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found.numpy(), (scale * x).numpy())


def test_it_starts_at_one_and_is_not_trained():
    layer = GradientScale()
    assert float(layer.scale) == 1.0 and layer.trainable_weights == []
    x = values()
    np.testing.assert_array_equal(gradient(layer, x), x)


def test_only_what_passes_through_is_scaled():
    x = tf.constant(values((2, 3)))
    layer = GradientScale()
    layer.set_scale(0.25)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x) + x)
    np.testing.assert_array_equal(tape.gradient(loss, x), np.full((2, 3), 1.25))


def between(**compiled):
    """Dense, scale, dense: a model, and its scale."""
    inputs = keras.Input((4,), name="x")
    layer = GradientScale(name="scale")
    code = layer(keras.layers.Dense(5, name="before")(inputs))
    model = keras.Model({"x": inputs}, {"y": keras.layers.Dense(2, name="after")(code)})
    model.compile(keras.optimizers.SGD(0.1), loss="mse", **compiled)
    return model, layer


def moved(model, layer, scale, start):
    """How far one step moves the weights before and after the scale."""
    model.set_weights(start)
    layer.set_scale(scale)
    before = [w.numpy() for w in model.trainable_weights]
    model.fit({"x": values((8, 4))}, {"y": values((8, 2), 1)}, batch_size=8, verbose=0)
    return [w.numpy() - b for w, b in zip(model.trainable_weights, before, strict=True)]


@pytest.mark.parametrize("jit", [False, True])
def test_a_step_of_a_compiled_fit(jit):
    keras.utils.set_random_seed(0)
    model, layer = between(jit_compile=jit)
    start = model.get_weights()
    traces = []
    call = layer.call
    layer.call = lambda inputs: traces.append(1) or call(inputs)
    whole, half, none = (moved(model, layer, scale, start) for scale in (1.0, 0.5, 0.0))
    assert all(np.abs(step).max() > 1e-4 for step in whole)
    for k in (0, 1):  # kernel and bias before the scale
        np.testing.assert_allclose(half[k], whole[k] / 2, rtol=1e-4, atol=1e-8)
        np.testing.assert_array_equal(none[k], 0 * none[k])
    for k in (2, 3):  # after it
        np.testing.assert_allclose(half[k], whole[k], rtol=1e-5)
        np.testing.assert_allclose(none[k], whole[k], rtol=1e-5)
    assert traces == [1], "a new scale must not trace the step anew"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_with_it(policy):
    keras.utils.set_random_seed(0)
    with dtype_policy(policy):
        model, layer = between()
    start = model.get_weights()
    whole, half, none = (moved(model, layer, scale, start) for scale in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(half[0], whole[0] / 2, rtol=0.02, atol=1e-4)
    assert np.abs(whole[0]).max() > 1e-3 and not none[0].any()


@pytest.mark.parametrize("format", list(WRITERS))
def test_it_exports_as_nothing(tmp_path, format):
    model, layer = between()
    layer.set_scale(0.3)
    check_parity(model, {"x": values((3, 4))}, format, tmp_path)
    path = tmp_path / f"artifact_{format}"
    if format == "onnx":
        operators = [node.op_type for node in onnx.load(path).graph.node]
        assert set(operators) <= {"MatMul", "Add", "Gemm", "Identity"}
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        operators = {each["op_name"] for each in Interpreter(str(path))._get_ops_details()}
        assert operators <= {"FULLY_CONNECTED", "DELEGATE"}


def test_a_saved_model_keeps_its_scale(tmp_path):
    model, layer = between()
    layer.set_scale(0.3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.get_layer("scale").scale) == pytest.approx(0.3)


def test_a_mask_goes_along():
    ids = keras.Input((None,), dtype="int32")
    tokens = GradientScale()(keras.layers.Embedding(5, 3, mask_zero=True)(ids))
    pooled = keras.layers.GlobalAveragePooling1D()(tokens)
    model = keras.Model(ids, pooled)
    short, long = model(np.array([[1, 2]])), model(np.array([[1, 2, 0, 0]]))
    np.testing.assert_allclose(short, long, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_input_error(dtype):
    match = f"Expected a float tensor: .*Received: dtype={dtype}. Put the layer behind"
    with pytest.raises(ValueError, match=match):
        GradientScale()(tf.cast([1, 0], dtype))
    with pytest.raises(ValueError, match=match):
        GradientScale()(keras.Input((2,), dtype=dtype))


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_scale_error(scale):
    with pytest.raises(ValueError, match=r"`scale` must be a finite float. Received: scale="):
        GradientScale().set_scale(scale)
