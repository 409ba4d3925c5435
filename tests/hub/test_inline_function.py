"""A module's training graph inlined: the same numbers as a call, and a gradient in place."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.hub import HubLayer
from mmzoo.hub.inline_function import can_inline, inline_call, takes
from mmzoo.hub.module import load_module

RNG = np.random.default_rng(0)
IMAGES = tf.constant(RNG.random((4, 8, 8, 3), "float32"))


def saved(folder, call, spec, **variables):
    """A folder with a module of one function, traced without and with `training`."""
    root = tf.train.Checkpoint()
    function = tf.function(call)
    for training in (False, True):
        function.get_concrete_function(spec, training=training)
    root.__call__ = function
    root.variables = root.trainable_variables = list(variables.values())
    tf.saved_model.save(root, str(folder))
    return folder


def training_trace(module, inputs):
    (found,) = [each for each in module.concrete if takes(each, inputs, True)]
    return found


def gradients(run, module, inputs):
    """Value, first and second derivative of a function of a module, in a graph."""
    variables = [module.variables[name] for name in module.trainable]

    @tf.function
    def derive():
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.reduce_sum(tf.square(run()))
            first = tape.gradient(loss, [*variables, inputs])
            size = tf.add_n([tf.reduce_sum(tf.square(each)) for each in first])
        return loss, first, outer.gradient(size, [*variables, inputs])

    return tf.nest.map_structure(lambda t: t.numpy(), derive())


def smooth(folder):
    """A module with a lookup of its weights, several outputs of one operator, and a concat."""
    rng = np.random.default_rng(1)
    weight = tf.Variable(rng.standard_normal((6, 4)).astype("float32"), name="kernel")
    scale = tf.Variable(rng.standard_normal(2).astype("float32"), name="scale")

    def call(inputs, training=False):
        left, right = tf.split(tf.math.tanh(inputs @ weight), 2, axis=-1)
        joined = tf.concat([left * scale, tf.where(right > 0, right, right**3)], -1)
        return {"mean": tf.reduce_mean(joined, -1), "all": joined if training else 2 * joined}

    return saved(folder, call, tf.TensorSpec([None, 6]), weight=weight, scale=scale)


def test_values_and_both_derivatives_are_those_of_a_call(tmp_path):
    module = load_module(smooth(tmp_path))
    inputs = tf.constant(RNG.standard_normal((3, 6)).astype("float32"))
    trace = training_trace(module, inputs)
    assert can_inline(trace)
    called = gradients(lambda: module.function(inputs, training=True)["all"], module, inputs)
    played = gradients(lambda: inline_call(trace, inputs)["all"], module, inputs)
    assert all(np.any(each) for each in tf.nest.flatten(called))
    for a, b in zip(tf.nest.flatten(called), tf.nest.flatten(played), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * np.abs(a).max())


def test_outputs_are_nested_as_before(tmp_path):
    module = load_module(smooth(tmp_path))
    inputs = tf.ones([2, 6])
    found = tf.function(lambda: inline_call(training_trace(module, inputs), inputs))()
    assert sorted(found) == ["all", "mean"]
    assert found["mean"].shape == (2,) and found["all"].shape == (2, 4)


def test_statistics_move_as_in_a_call(folder_of):
    called, played = (load_module(folder_of("image")) for _ in range(2))
    before = called.variables["stem/norm/moving_mean"].numpy()
    call = tf.function(lambda: called.function(IMAGES, training=True))
    play = tf.function(lambda: inline_call(training_trace(played, IMAGES), IMAGES))
    for _ in range(2):
        call()
        play()
    assert not np.array_equal(called.variables["stem/norm/moving_mean"].numpy(), before)
    for name, variable in called.variables.items():
        np.testing.assert_allclose(
            played.variables[name].numpy(), variable.numpy(), rtol=1e-5, atol=1e-6
        )


def test_dropout_draws_anew_each_step(folder_of):
    module = load_module(folder_of("image"))
    trace = training_trace(module, IMAGES)
    run = tf.function(lambda: inline_call(trace, IMAGES))
    assert not np.array_equal(run().numpy(), run().numpy())


def test_a_layer_trains_without_a_function_call_in_its_graph(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True)

    def calls(training):
        graph = tf.function(lambda: layer(IMAGES, training=training)).get_concrete_function().graph
        return [op.type for op in graph.get_operations() if "PartitionedCall" in op.type]

    assert calls(training=True) == []
    assert calls(training=False) == ["StatefulPartitionedCall"]


def test_a_frozen_layer_runs_the_inference_trace(folder_of):
    layer = HubLayer(folder_of("image"))
    run = tf.function(lambda: layer(IMAGES, training=True))
    np.testing.assert_allclose(run(), layer(IMAGES, training=False), rtol=1e-5, atol=1e-5)


def loop(inputs, weight):
    return tf.while_loop(
        lambda i, x: i < 3, lambda i, x: (i + 1, tf.tanh(x * weight)), (0, inputs)
    )[1]


def own_gradient(inputs, weight):
    @tf.custom_gradient
    def seven(x):
        return tf.identity(x), lambda upstream: 7.0 * upstream

    return seven(inputs * weight)


@pytest.mark.parametrize("body", [loop, own_gradient])
def test_what_cannot_be_inlined_is_called(tmp_path, body):
    weight = tf.Variable([0.5, 2.0], name="weight")
    saved(
        tmp_path, lambda inputs, training=False: body(inputs, weight),
        tf.TensorSpec([None, 2]), weight=weight,
    )  # fmt: skip
    layer = HubLayer(tmp_path, trainable=True)
    assert layer.module.can_inline == []
    inputs = tf.constant([[0.3, -0.2]])

    @tf.function
    def gradient(run, variable):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(run())
        return tape.gradient(loss, variable)

    found = gradient(lambda: layer(inputs, training=True), layer.trainable_weights[0].value)
    np.testing.assert_allclose(found, gradient(lambda: body(inputs, weight), weight), rtol=1e-5)


def test_other_inputs_are_not_taken(tmp_path):
    module = load_module(smooth(tmp_path))
    (trace,) = [each for each in module.concrete if takes(each, tf.ones([2, 6]), True)]
    assert not takes(trace, tf.ones([2, 6]), False)
    assert not takes(trace, tf.ones([2, 5]), True)
    assert not takes(trace, tf.ones([2, 6], "float64"), True)
    assert not takes(trace, {"inputs": tf.ones([2, 6])}, True)


def test_a_published_module_is_inlined_also_after_it_was_published_again(tmp_path):
    """Each round of saving nests the function once more; inlined, it stays flat."""
    from mmzoo import hub

    folder = folder_of_dense(tmp_path / "first")
    for turn in ("second", "third"):
        layer = HubLayer(folder, trainable=True)
        assert [takes(each, tf.ones([1, 3]), True) for each in layer.module.can_inline].count(True)
        x = keras.Input((3,), name="x")
        folder = hub.publish(keras.Model(x, layer(x), name=turn), tmp_path / turn)


def folder_of_dense(folder):
    from mmzoo import hub

    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, name="dense")(x), name="first")
    return hub.publish(model, folder)
