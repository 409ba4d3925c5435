"""Answers under other rounding: what hangs on the last digit of a result in between is told."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mmzoo.export import Samples, to_onnx, to_saved_model, to_tflite
from mmzoo.export.certify.edge_cases.probe_answers import answer_probes
from mmzoo.export.certify.edge_cases.rounding import EPSILON, NOISE, round_differently
from mmzoo.export.certify.reference_answers import predict
from mmzoo.export.surgery.model_description import describe

X = np.random.default_rng(0).normal(size=(17, 100)).astype("float32")


def asked(model, values=X):
    """What `answer_probes` says of a model of one input `x`."""
    samples = Samples({"x": values})
    inputs, _ = describe(model)
    return answer_probes(model, samples, inputs, predict(model, samples.inputs), 1e-5)[1]


def silence():
    """The logarithm of nothing, the same a hundred times, less its mean, over its spread."""
    x = keras.Input((100,), name="x")
    level = ops.log(ops.square(x) + 1e-6)
    return keras.Model(x, {"y": layers.LayerNormalization(name="norm")(level)})


def test_equal_values_that_are_normalized_are_unsteady():
    said = asked(silence())
    assert "x=0" in said["unsteady"] and "x=95" in said["unsteady"]
    assert len(said["unsteady"]) < said["rows"]


class Called(layers.Layer):
    """A program that the graph calls, as those of TF-Hub's modules are."""

    def call(self, x):
        return tf.function(lambda x: x - tf.reduce_mean(x, -1, keepdims=True), autograph=False)(x)


def test_where_a_function_is_called_its_inputs_are_rounded():
    x = keras.Input((100,), name="x")
    model = keras.Model(x, {"y": Called()(x)})
    assert {"x=95", "x=-95"} <= set(asked(model, X / 100)["unsteady"])


@pytest.mark.parametrize("write", [to_saved_model, to_tflite, to_onnx])
def test_such_a_model_is_exported(tmp_path, write):
    write(silence(), tmp_path / "model", samples=Samples({"x": X}))


def models():
    x = keras.Input((100,), name="x")
    yield "dense", keras.Model(x, {"y": layers.Dense(3, activation="tanh")(x)})
    steps = layers.Reshape((10, 10))(x)
    yield "loop", keras.Model(x, {"y": layers.GRU(4)(steps), "z": layers.Dense(1)(x)})
    half = layers.Dense(3, dtype="float16")(x)
    yield "half", keras.Model(x, {"y": layers.Dense(2, dtype="bfloat16")(half)})
    table = layers.IntegerLookup(vocabulary=[-1, 0, 1])(ops.cast(x, "int64"))
    yield "table", keras.Model(x, {"y": layers.Dense(2)(ops.cast(table, "float32"))})
    image = layers.Reshape((5, 5, 4))(x)
    grouped = layers.Conv2D(4, 3, groups=2)(image)
    yield "convolution", keras.Model(x, {"y": layers.BatchNormalization()(grouped)})


@pytest.mark.parametrize("name, model", list(models()))
def test_answers_move_by_the_last_digits_at_each_call(name, model):
    known = {key: value.numpy() for key, value in model(X).items()}
    run = round_differently(model, {"x": X})
    first, second = ({n: v.numpy() for n, v in run({"x": tf.constant(X)}).items()} for _ in "ab")
    assert set(first) == set(known)
    epsilon = EPSILON["bfloat16" if name == "half" else "float32"]
    for key, value in known.items():
        value = value.astype("float64")
        scale = np.abs(value).max()
        for made in (first, second):
            off = np.abs(made[key] - value).max() / scale
            assert 0 < off < 40 * NOISE * epsilon
        assert not np.array_equal(first[key], second[key])
    for key, value in known.items():  # the model itself is as it was
        np.testing.assert_array_equal(model(X)[key], value)


def test_what_is_exact_stays_so():
    """Comparisons and whole numbers are no matter of rounding."""
    x = keras.Input((100,), name="x")
    one_hot = ops.one_hot(ops.argmax(x, -1), 100)
    model = keras.Model(x, {"y": ops.where(x > 0, x, one_hot), "floor": ops.floor(ops.relu(x))})
    run = round_differently(model, {"x": X})
    for key, value in run({"x": tf.constant(X)}).items():
        np.testing.assert_array_equal(value, model(X)[key])
    assert asked(model)["unsteady"] == []
