"""Additive scores against the formula in float64, where float32 has its limits too."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.ops import additive_scores, portable_operators

SCALES = (1e-3, 0.05, 0.2, 1, 5, 14, 30, 100, 1e4)
ACCURACY = {"float64": 1e-9, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


@pytest.fixture(autouse=True)
def kernel_for_any_size(monkeypatch):
    """Small sizes too, which otherwise run the formula as it stands."""
    module = sys.modules["mmzoo.ops.additive_scores"]
    monkeypatch.setattr(module, "LEAST_FIXED", 0)
    monkeypatch.setattr(module, "LEAST_FREE", 0)


def data(scale, shape=(2, 13, 7, 19), dtype="float32", seed=0):
    """left, right, v and an upstream gradient, as the dtype holds them."""
    batch, rows, columns, units = shape
    rng = np.random.default_rng(seed)
    sizes = ((batch, rows, units), (batch, columns, units), (units,), (batch, rows, columns))
    values = [rng.standard_normal(size) for size in sizes]
    return [tf.cast(x * s, dtype) for x, s in zip(values, (scale, scale, 1, 1), strict=True)]


def reference(left, right, v, upstream):
    """score(i, j) = sum_h v_h tanh(a_ih + b_jh) and its three derivatives."""
    a, b, v, g = (np.asarray(tf.cast(x, "float64")) for x in (left, right, v, upstream))
    hidden = a[:, :, None] + b[:, None]
    slope = g[..., None] / np.cosh(np.minimum(np.abs(hidden), 300)) ** 2
    return [
        np.tanh(hidden) @ v, v * slope.sum(2), v * slope.sum(1),
        (g[..., None] * np.tanh(hidden)).sum((0, 1, 2)),
    ]  # fmt: skip


def run(left, right, v, upstream):
    with tf.GradientTape() as tape:
        tape.watch([left, right, v])
        scores = additive_scores(left, right, v)
    return [scores, *tape.gradient(scores, [left, right, v], upstream)]


def check(found, expected, accuracy, scales=()):
    """Within `accuracy` of the largest value, or of a scale of its own."""
    scales = [*scales, *(np.abs(each).max() for each in expected[len(scales) :])]
    for actual, wanted, scale in zip(found, expected, scales, strict=True):
        actual = np.asarray(tf.cast(actual, "float64"))
        assert actual.shape == wanted.shape and np.isfinite(actual).all()
        assert np.abs(actual - wanted).max() <= accuracy * scale


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_values_and_gradients_are_those_of_the_formula(scale, jit_compile):
    values = data(scale)
    found = tf.function(run, jit_compile=jit_compile)(*values)
    check(found, reference(*values), ACCURACY["float32"])


@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("scale", [0.05, 3])
def test_dtypes(dtype, scale):
    values = data(scale, dtype=dtype)
    found = run(*values)
    assert {x.dtype.name for x in found} == {dtype}
    check(found, reference(*values), ACCURACY[dtype])


@pytest.mark.parametrize("offset", [50.0, -300.0, 1e4])
def test_what_all_tokens_share_cancels_without_loss(offset):
    """The sums are of size 1, though each side is far away: exponentials are out of reach."""
    left, right, v, upstream = data(1)
    left, right = tf.round(left * 64) / 64 + offset, tf.round(right * 64) / 64 - offset
    values = [left, right, v, upstream]
    check(run(*values), reference(*values), ACCURACY["float32"])


def test_tokens_far_apart_on_both_sides():
    """No shift brings both in reach, and the sums that are near 0 are still right."""
    left, right, v, upstream = data(1, (1, 4, 4, 3))
    far = tf.constant([1e4, -1e4, 5e3, 0])[None, :, None]
    values = [tf.round(left * 64) / 64 + far, tf.round(right * 64) / 64 - far, v, upstream]
    expected = reference(*values)
    assert np.abs(expected[0]).min() < np.abs(expected[0]).max() / 2
    check(run(*values), expected, ACCURACY["float32"])


@pytest.mark.parametrize("extreme", [3e38, -3e38])
def test_the_largest_numbers_give_no_nan(extreme):
    left, right, v, upstream = data(1)
    left = tf.tensor_scatter_nd_update(left, [[0, 0, 0]], [extreme])
    found = run(left, right, v, upstream)
    check(found[:1], reference(left, right, v, upstream)[:1], ACCURACY["float32"])
    assert all(np.isfinite(x).all() for x in found)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 70, 2), (2, 65, 9, 16), (1, 8, 8, 33)])
def test_any_sizes(shape):
    left, right, v, upstream = values = data(1, shape)
    expected = reference(*values)
    # The terms of the last derivative nearly cancel in one case: their sizes are its scale.
    sizes = reference(tf.abs(left), tf.abs(right), v, tf.abs(upstream))[3].max()
    scales = [*(np.abs(each).max() for each in expected[:3]), sizes]
    check(run(*values), expected, ACCURACY["float32"], scales)


def test_no_tokens_give_no_scores():
    left, right, v, _ = data(1)
    assert additive_scores(left[:, :0], right, v).shape == (2, 0, 7)
    assert additive_scores(left, right[:, :0], v).shape == (2, 13, 0)


def test_sizes_known_only_when_it_runs():
    values = data(1)
    widths = (19, 19, 19, None)
    specs = [
        tf.TensorSpec([*[None] * (x.shape.rank - 1), width])
        for x, width in zip(values, widths, strict=True)
    ]
    found = tf.function(run, input_signature=specs)(*values)
    check(found, reference(*values), ACCURACY["float32"])


def test_second_derivative():
    left, right, v, _ = data(1, (1, 3, 2, 4))

    def size_of_gradient(scores_of):
        with tf.GradientTape() as outer:
            outer.watch(left)
            with tf.GradientTape() as tape:
                tape.watch(left)
                total = tf.reduce_sum(scores_of(left, right, v) ** 2)
            size = tf.reduce_sum(tape.gradient(total, left) ** 2)
        return outer.gradient(size, left).numpy()

    def plain(left, right, v):
        return tf.reduce_sum(v * tf.tanh(left[:, :, None] + right[:, None]), -1)

    expected = size_of_gradient(plain)
    np.testing.assert_allclose(
        size_of_gradient(additive_scores), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_under_a_strategy_it_is_one_device_in_parts():
    values = data(1, (4, 6, 5, 8))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])

    @tf.function
    def step(*values):
        return strategy.run(run, args=values)

    for a, b in zip(step(*values), run(*values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def operators(function, *values):
    """Types of all operators of a traced function, in the functions that it calls too."""
    graph = tf.function(function).get_concrete_function(*values).graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    compiled = any("_XlaMustCompile" in each.attr for each in graph.library.function)
    return {node.op for node in [*graph.node, *inner]}, compiled


def test_few_terms_are_not_compiled(monkeypatch):
    module = sys.modules["mmzoo.ops.additive_scores"]
    left, right, v, _ = data(1)
    monkeypatch.setattr(module, "LEAST_FIXED", 13 * 7 * 19)
    assert operators(additive_scores, left, right, v)[1]
    monkeypatch.setattr(module, "LEAST_FIXED", 13 * 7 * 19 + 1)
    assert not operators(additive_scores, left, right, v)[1]


@pytest.mark.parametrize(
    ("least", "kernel"), [(2 * 13 * 7 * 19, True), (2 * 13 * 7 * 19 + 1, False)]
)
def test_free_sizes_choose_when_they_run(monkeypatch, least, kernel):
    module = sys.modules["mmzoo.ops.additive_scores"]
    monkeypatch.setattr(module, "LEAST_FREE", least)
    seen = []
    monkeypatch.setattr(module, "_kernel", marked(module._kernel, "kernel", seen))
    monkeypatch.setattr(module, "_formula", marked(module._formula, "formula", seen))
    values = data(1)
    specs = [tf.TensorSpec([None, None, 19])] * 2 + [tf.TensorSpec([19]), tf.TensorSpec([None] * 3)]
    found = tf.function(run, input_signature=specs)(*values)
    assert seen == ["kernel" if kernel else "formula"]
    check(found, reference(*values), ACCURACY["float32"])


def marked(function, name, seen):
    """The function, which notes its name whenever it runs, not when it is traced."""

    def run(*values):
        with tf.control_dependencies([tf.py_function(lambda: seen.append(name), [], [])]):
            return function(*(tf.identity(value) for value in values))

    return run


def test_portable_it_is_the_plain_formula():
    left, right, v, _ = data(1)
    found, compiled = operators(additive_scores, left, right, v)
    assert compiled
    with portable_operators():
        found, compiled = operators(additive_scores, left, right, v)
        scores = additive_scores(left, right, v)
    assert not compiled
    assert found <= {
        "Placeholder", "StridedSlice", "Const", "AddV2", "Tanh", "BatchMatMulV2", "Squeeze",
        "Identity", "MatMul", "Reshape", "Pack", "Shape", "Prod", "ConcatV2", "GatherV2",
        "Tensordot", "Mul", "ExpandDims",
    }  # fmt: skip
    check([scores], reference(left, right, v, tf.ones([2, 13, 7]))[:1], ACCURACY["float32"])


def test_in_a_compiled_keras_model():
    """Keras compiles train steps where it can: the kernel must go with it."""
    left, right = keras.Input((None, 8), name="left"), keras.Input((None, 8), name="right")

    class Scores(keras.layers.Layer):
        def build(self, *shapes):
            self.v = self.add_weight(shape=(8,), name="v")

        def call(self, left, right):
            return additive_scores(left, right, self.v)

        def compute_output_shape(self, left_shape, right_shape):
            return (*left_shape[:2], right_shape[1])

    a, b, _, upstream = data(1, (4, 6, 5, 8))
    losses = {}
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Model([left, right], Scores()(left, right))
        model.compile(optimizer="sgd", loss="mse", jit_compile=jit_compile)
        losses[jit_compile] = model.fit([a, b], upstream, epochs=4, verbose=0).history["loss"]
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-4)
    assert losses[True][-1] < losses[True][0]


@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (2, 3, 4), (4,)), ((2, 3, 4), (2, 3, 5), (4,)), ((2, 3, 4), (2, 3, 4), (4, 1))],
)
def test_shape_error(shapes):
    with pytest.raises(ValueError, match=r"Expected `left` \(batch, T, H\), .* Received: "):
        additive_scores(*(tf.zeros(shape) for shape in shapes))
