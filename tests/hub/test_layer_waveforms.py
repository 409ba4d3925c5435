"""Modules that take one waveform, over a batch: answers, gradients, and no Flex operator."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from modules import YAMNET_SAMPLES, function_module

from mmzoo.export import to_onnx, to_saved_model, to_tflite
from mmzoo.hub import HubLayer

WAVES = np.random.default_rng(1).standard_normal((3, 32_000)).astype("float32")
ONE_PATCH = WAVES[:, :YAMNET_SAMPLES]


def one_by_one(folder, waves):
    """Each waveform alone, by TensorFlow itself; answers stacked."""
    module = tf.saved_model.load(str(folder))
    answers = [tf.nest.flatten(module(tf.constant(wave))) for wave in waves]
    return [np.stack(parts) for parts in zip(*answers, strict=True)]


@pytest.mark.parametrize("length", [32_000, None], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    "name, shapes",
    [("yamnet", [(3, 3, 521), (3, 3, 1024), (3, 198, 64)]), ("vggish", [(3, 2, 128)])],
)
def test_a_batch_equals_its_waveforms_alone(folder_of, name, shapes, length):
    layer = HubLayer(folder_of(name))
    expected = one_by_one(folder_of(name), WAVES)
    assert [value.shape for value in expected] == shapes
    x = keras.Input((length,), name="audio")
    model = keras.Model(x, layer(x))
    fixed = shapes if length else [(None, None, *shape[2:]) for shape in shapes]
    assert [t.shape for t in model.outputs] == [(None, *shape[1:]) for shape in fixed]
    answers = tf.nest.flatten(model.predict(WAVES, batch_size=2, verbose=0))
    for values in (answers, tf.nest.flatten(layer(WAVES)), tf.nest.flatten(model(WAVES))):
        for value, reference in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)
    if length is None:
        shorter = tf.nest.flatten(model.predict(ONE_PATCH, verbose=0))
        for value, reference in zip(shorter, one_by_one(folder_of(name), ONE_PATCH), strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


def test_integers_are_cast_and_one_layer_takes_many_lengths(folder_of):
    layer = HubLayer(folder_of("vggish"))
    samples = (100 * WAVES).astype("int16")
    for part in (samples, samples[:, :16_000], samples[:1]):
        (expected,) = one_by_one(folder_of("vggish"), part.astype("float32"))
        np.testing.assert_allclose(layer(part), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("length", [YAMNET_SAMPLES, None], ids=["static", "dynamic"])
def test_gradients_through_the_loop(folder_of, length):
    """The gradient of a batch is the sum of its waveforms' gradients."""
    layer = HubLayer(folder_of("vggish"), trainable=True)
    weight = layer.module_weights["vggish/dense"].value
    x = keras.Input((length,))
    model = keras.Model(x, layer(x))
    total = np.zeros(weight.shape)
    for wave in ONE_PATCH:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer.module.function(tf.constant(wave)) ** 2)
        total += tape.gradient(loss, weight)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(ONE_PATCH) ** 2)
    np.testing.assert_allclose(tape.gradient(loss, weight), total, rtol=1e-4)
    model.compile(optimizer="sgd", loss="mse")
    before = weight.numpy()
    model.fit(ONE_PATCH, np.zeros((3, 1, 128)), verbose=0)
    assert np.abs(weight.numpy() - before).max() > 0


def test_training_reaches_a_module_of_one_waveform(tmp_path):
    function_module(
        tmp_path / "m", lambda x, training=False: -x if training else x,
        tf.TensorSpec([None]), training=True,
    )  # fmt: skip
    layer = HubLayer(tmp_path / "m", trainable=True)
    np.testing.assert_array_equal(layer(WAVES, training=True), -WAVES)
    np.testing.assert_array_equal(layer(WAVES), WAVES)
    layer.trainable = False
    np.testing.assert_array_equal(layer(WAVES, training=True), WAVES)


def test_batched_settles_what_a_signature_leaves_open(tmp_path):
    """A vector may be one waveform, or a batch of numbers."""
    function_module(tmp_path / "vector", tf.cumsum, tf.TensorSpec([None]))
    column = np.ones(4, "float32")
    np.testing.assert_array_equal(HubLayer(tmp_path / "vector", batched=True)(column), [1, 2, 3, 4])
    rows = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(HubLayer(tmp_path / "vector")(rows), [[1, 2, 3, 4]] * 2)


@pytest.mark.parametrize("length", [16, None], ids=["static", "dynamic"])
def test_a_signature_of_one_waveform(tmp_path, length):
    root = tf.train.Checkpoint()
    root.serve = tf.function(
        lambda wave: {"double": 2 * wave}, input_signature=[tf.TensorSpec([None], name="wave")]
    )
    tf.saved_model.save(root, str(tmp_path / "m"), signatures=root.serve)
    layer = HubLayer(tmp_path / "m", batched=False, output_key="double")
    x = keras.Input((length,))
    model = keras.Model(x, layer(x))
    np.testing.assert_array_equal(model(WAVES[:, :16]), 2 * WAVES[:, :16])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_loop_under_mixed_precision(folder_of, policy):
    layer = HubLayer(folder_of("vggish"), trainable=True, dtype=policy)
    half = layer(tf.cast(ONE_PATCH, layer.compute_dtype))
    assert half.dtype.name == layer.compute_dtype
    (expected,) = one_by_one(folder_of("vggish"), ONE_PATCH)
    scale = np.abs(expected).max()
    assert np.abs(tf.cast(half, "float32") - expected).max() < 0.05 * scale


@pytest.fixture(scope="module")
def yamnet_model(folder_of):
    audio = keras.Input((YAMNET_SAMPLES,), name="waveform")
    scores, embeddings, log_mel = HubLayer(folder_of("yamnet"), name="yamnet")(audio)
    outputs = {"scores": scores, "embeddings": embeddings, "log_mel": log_mel}
    return keras.Model({"waveform": audio}, outputs)


def test_tflite_of_builtins_alone(yamnet_model, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = to_tflite(yamnet_model, tmp_path / "model.tflite")  # verifies the values
    operators = {each["op_name"] for each in Interpreter(str(path))._get_ops_details()}
    assert "WHILE" in operators and len(operators) > 5
    assert not [name for name in operators if "Flex" in name or "CUSTOM" in name.upper()]
    content = path.read_bytes()
    assert b"Flex" not in content and b"FlexTensorList" not in content


def test_onnx_and_saved_model(yamnet_model, tmp_path):
    import onnx

    path = to_onnx(yamnet_model, tmp_path / "model.onnx")
    domains = {node.domain for node in onnx.load(str(path)).graph.node}
    assert domains <= {"", "ai.onnx"}
    to_saved_model(yamnet_model, tmp_path / "saved")
