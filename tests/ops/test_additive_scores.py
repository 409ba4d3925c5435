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
    module = sys.modules["mmzoo.ops.additive_attention"]
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


def chosen(left, right, v):
    """Name of the way that these tokens take."""
    module = sys.modules["mmzoo.ops.additive_attention"]
    ways = [lambda *_, way=way: tf.constant(way) for way in ("close", "far", "plain")]
    tensors = (tf.constant(each, tf.float32) for each in (left, right, v))
    return module._choose(*ways, *tensors).numpy().decode()


def tokens(*values):
    """One unit, and a token of each value."""
    return np.array(values, "float32")[None, :, None]


def above(value):
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


@pytest.mark.parametrize(
    ("left", "right", "way"),
    [
        ((8, -8), (8, -8), "close"),
        ((-8, 0), (above(8), 0), "close"),  # both ends are on one side: they can be moved
        ((8, -8), (above(8), 0), "far"),
        ((-above(8), 8), (0, 0), "far"),
        ((1008, 992), (-1008, -992), "close"),
        ((1009, 992), (-1008, -992), "plain"),
        ((-50, -34), (50, 34), "close"),
        ((36, -36), (36, -36), "far"),
        ((36, -36), (above(36), 0), "plain"),
        ((-above(36), 36), (0, 0), "plain"),
        ((0.35, 0), (0.35, 0), "close"),
        ((0.35, 0), (0.3499999, 0), "plain"),
        ((0.5, 0.5), (-0.5001, -0.5), "plain"),
        ((3e38, 0), (0, 0), "plain"),
        ((np.inf, 0), (0, 0), "plain"),
        ((np.nan, 0), (0, 0), "plain"),
    ],
)
def test_each_way_is_taken_up_to_its_limit(left, right, way):
    assert chosen(tokens(*left), tokens(*right), [1]) == way
    assert chosen(tokens(*right), tokens(*left), [-2]) == way


def test_units_near_zero_count_by_their_weight():
    left, right = np.full([1, 3, 4], 1e-4), np.full([1, 2, 4], 1e-4)
    left[..., 0] = 2
    assert chosen(left, right, [1, 0, 0, 0]) == "close"
    assert chosen(left, right, [0, 1, 0, 0]) == "plain"
    assert chosen(left, right, [1, 1, 0, 0]) == "plain"


def at_the_limit(limit, kind, shape):
    """left, right, v and an upstream gradient: tokens at the limit of both signs."""
    rng = np.random.default_rng(1)
    batch, rows, columns, units = shape
    left = rng.choice([-limit, limit], [batch, rows, units])
    right = rng.choice([-limit, limit], [batch, columns, units])
    v, upstream = rng.standard_normal(units), rng.standard_normal([batch, rows, columns])
    if kind == "mixed":  # sums of every size
        left *= rng.random(left.shape)
    elif kind == "opposite":  # the least and the largest denominators
        left, right = np.abs(left), -np.abs(right)
        left[:, ::3], right[:, ::2] = -limit, limit
    elif kind == "weights":
        v *= rng.choice([1, 1e-8], v.shape)
        upstream *= rng.choice([1, 1e-8], upstream.shape)
    return left, right, v, upstream


def check_all(values, accuracy):
    """Scores and derivatives, that of v by the sizes of the upstream gradient."""
    expected = reference(*values)
    upstream = np.abs(np.asarray(tf.cast(values[3], "float64"))).sum()
    check(run(*values), expected, accuracy, [*(np.abs(x).max() for x in expected[:3]), upstream])


@pytest.mark.parametrize("kind", ["signs", "mixed", "opposite", "weights"])
@pytest.mark.parametrize("limit", [8.0, above(8), 12.0, 36.0, above(36), 45.0])
def test_at_the_limits_it_is_the_formula(limit, kind):
    for shape in [(2, 13, 7, 19), (1, 16, 32, 64), (1, 80, 72, 64)]:
        values = [tf.cast(x, "float32") for x in at_the_limit(limit, kind, shape)]
        check_all(values, ACCURACY["float32"])


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("limit", [8.0, 8.0625, 36.0, 36.25])
def test_at_the_limits_in_other_dtypes(limit, dtype):
    values = [tf.cast(x, dtype) for x in at_the_limit(limit, "signs", (2, 13, 7, 19))]
    check_all(values, ACCURACY[dtype])


@pytest.mark.parametrize("limit", [8.0, 36.0])
@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e30])
def test_weights_of_any_size(size, limit):
    left, right, v, upstream = at_the_limit(limit, "opposite", (2, 13, 7, 19))
    for v_size, upstream_size in [(size, 1), (1, size)]:
        values = [left, right, v_size * v, upstream_size * upstream]
        check_all([tf.cast(x, "float32") for x in values], ACCURACY["float32"])


@pytest.mark.parametrize("offset", [7, 10, 20, -19])
def test_gradients_of_saturated_tokens_are_small_and_right(offset):
    left, right, v, upstream = data(1)
    check_all([left + offset, right + offset, v, upstream], ACCURACY["float32"])


def test_sums_near_zero_of_tokens_that_are_not():
    left, right, v, upstream = data(1e-4)
    check_all([left + 0.5, right - 0.5, v, upstream], ACCURACY["float32"])
    unit = tf.one_hot(0, v.shape[0])
    check_all([left + 4 * unit, right, v * (1 - unit), upstream], ACCURACY["float32"])


@pytest.mark.parametrize("far", [-14.0, 15.4, 30.0, -60.0])
def test_one_token_far_from_the_others(far):
    """A shift would round the others: it is small, or there is none."""
    left, right, v, upstream = data(0.3, (2, 64, 64, 1))
    left = tf.concat([left[:, :-1], tf.fill([2, 1, 1], far)], 1)
    check_all([left, right, v, upstream], ACCURACY["float32"])


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
    module = sys.modules["mmzoo.ops.additive_attention"]
    left, right, v, _ = data(1)
    monkeypatch.setattr(module, "LEAST_FIXED", 13 * 7 * 19)
    assert operators(additive_scores, left, right, v)[1]
    monkeypatch.setattr(module, "LEAST_FIXED", 13 * 7 * 19 + 1)
    assert not operators(additive_scores, left, right, v)[1]


@pytest.mark.parametrize(
    ("least", "kernel"), [(2 * 13 * 7 * 19, True), (2 * 13 * 7 * 19 + 1, False)]
)
def test_free_sizes_choose_when_they_run(monkeypatch, least, kernel):
    module = sys.modules["mmzoo.ops.additive_attention"]
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


@pytest.mark.parametrize("rows", [1, None])
def test_the_formula_multiplies_matrices_alone(rows):
    """Of a 4D tensor whose second axis is 1, TensorFlow 2.21 with oneDNN corrupts its memory."""
    specs = [tf.TensorSpec((None, size, 2)) for size in (rows, None)] + [tf.TensorSpec((2,))]
    with portable_operators():
        traced = tf.function(additive_scores).get_concrete_function(*specs)
    operators = {operation.type for operation in traced.graph.get_operations()}
    assert "MatMul" in operators and not any("BatchMatMul" in each for each in operators)
