"""Operations by TensorFlow's profiler, against counts by hand."""

import keras
import pytest
import tensorflow as tf
from keras import layers, ops

from mmzoo import fusion
from mmzoo.evaluation.flops import count_flops


class Einsum(layers.Layer):
    def __init__(self, equation):
        super().__init__()
        self.equation = equation

    def call(self, one, other):
        return tf.einsum(self.equation, one, other)

    def compute_output_spec(self, one, other):
        return keras.KerasTensor((None,), "float32")


class Apply(layers.Layer):
    """A function of tensors, of any TensorFlow operators."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)

    def compute_output_spec(self, *tensors):
        return keras.KerasTensor(tensors[0].shape, "float32")


def model_of(layer, *shapes):
    inputs = [keras.Input(shape, name=f"input_{k}") for k, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(*inputs))


@pytest.mark.parametrize(
    "layer, shapes, expected",
    [
        (layers.Dense(3), [(10,)], 2 * 10 * 3 + 3),
        (layers.Dense(3, use_bias=False), [(7, 10)], 7 * 2 * 10 * 3),
        (layers.Conv2D(4, 3), [(8, 9, 5)], 6 * 7 * 4 * (2 * 3 * 3 * 5 + 1)),
        (layers.Conv1D(4, 3, use_bias=False), [(8, 5)], 6 * 4 * 2 * 3 * 5),
        (layers.DepthwiseConv2D(3, use_bias=False), [(8, 9, 5)], 6 * 7 * 5 * 2 * 3 * 3),
        (ops.matmul, [(2, 6, 8), (2, 8, 5)], 2 * 2 * 6 * 8 * 5),  # the scores of two heads
        (ops.add, [(6, 8), (6, 8)], 6 * 8),
    ],
)
def test_counts_by_hand(layer, shapes, expected):
    assert count_flops(model_of(layer, *shapes)) == expected


@pytest.mark.parametrize(
    "equation, shapes, expected",
    [
        ("bij,bkj->bik", [(6, 8), (5, 8)], 2 * 6 * 8 * 5),
        ("bqhd, bkhd -> bhqk", [(6, 2, 8), (5, 2, 8)], 2 * 2 * 6 * 5 * 8),
        ("...ij,...jk->...ik", [(3, 6, 8), (3, 8, 5)], 2 * 3 * 6 * 8 * 5),
        ("...ij,...j->...i", [(3, 6, 8), (1, 8)], 2 * 3 * 6 * 8),
    ],
)
def test_einsum_counts_for_which_the_profiler_has_no_rule(equation, shapes, expected):
    assert count_flops(model_of(Einsum(equation), *shapes)) == expected


def test_attention_counts_its_products_of_matrices():
    tokens, width, heads, key = 6, 16, 2, 4
    inputs = keras.Input((tokens, width))
    attended = layers.MultiHeadAttention(heads, key, use_bias=False)(inputs, inputs)
    projections = 4 * 2 * tokens * width * heads * key  # query, key, value, output
    products = 2 * 2 * tokens * tokens * heads * key  # scores, contexts
    found = count_flops(keras.Model(inputs, attended))
    assert projections + products < found < 1.1 * (projections + products)


@pytest.mark.parametrize("size", [4, 400])
def test_compiled_scores_are_counted_as_their_formula(size):
    """From 2 ** 16 terms on they run as a compiled function, whose inside can't be counted."""
    inputs = {name: keras.Input((size, 3), name=name) for name in ("image", "text")}
    fused = fusion.InteractiveAttention(4)(inputs)
    # Of each ordered pair: a + b for every term, and its product with v.
    terms = 2 * size * size * 4
    assert 3 * terms < count_flops(keras.Model(inputs, fused)) < 10 * terms


def test_open_sizes_are_asked_for():
    model = model_of(layers.Dense(3, use_bias=False), (None, 10))
    assert count_flops(model, {"input_0": (7, 10)}) == 7 * 2 * 10 * 3
    with pytest.raises(ValueError, match=r"every size of 'input_0'.*Received: \{\}. Pass them in"):
        count_flops(model)


def test_a_loop_is_refused():
    loop = Apply(lambda x: tf.map_fn(lambda row: row * 2, x))
    with pytest.raises(ValueError, match=r"without loops.*Received: \w*While .*Count the model"):
        count_flops(model_of(loop, (5,)))


def test_a_product_of_unknown_size_is_not_counted_as_nothing():
    def kept_rows(x):
        return tf.boolean_mask(x, x[:, 0] > 0) @ tf.ones([5, 5])

    with pytest.raises(ValueError, match=r"MatMul\) to have a known size. Received: .*None, 5"):
        count_flops(model_of(Apply(kept_rows), (5,)))
