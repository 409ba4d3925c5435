"""Contrastive losses against NumPy, and what holds for them."""

import keras
import numpy as np
import pytest
from keras import ops

from mmzoo import losses

DRAW = np.random.default_rng(0)
PAIRS = DRAW.normal(size=(6, 2, 5)).astype("float32")
IDS = np.array([0, 1, 2, 0, 4, 5])  # samples 0 and 3 are alike


def info_nce(a, b, ids):
    """The formula of the docstring, sample by sample."""
    found = []
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j == i or ids[j] != ids[i]]
        forth = np.log(np.sum(np.exp([a[i] @ b[j] for j in others]))) - a[i] @ b[i]
        back = np.log(np.sum(np.exp([b[i] @ a[j] for j in others]))) - a[i] @ b[i]
        found.append((forth + back) / 2)
    return np.array(found)


def sigmoid(a, b, ids):
    found = []
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j == i or ids[j] != ids[i]]
        signs = [1 if j == i else -1 for j in others]
        signed = zip(signs, others, strict=True)
        found.append(sum(np.log1p(np.exp(-sign * (a[i] @ b[j]))) for sign, j in signed))
    return np.array(found)


def squared_distance(a, b, ids, margin=3.0):
    found = []
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j != i and ids[j] != ids[i]]
        near = [max(0, margin - np.linalg.norm(a[i] - b[j])) ** 2 for j in others]
        found.append(np.sum((a[i] - b[i]) ** 2) + np.mean(near))
    return np.array(found)


CASES = [
    (losses.InfoNCE(), info_nce),
    (losses.SigmoidContrast(), sigmoid),
    (losses.SquaredDistance(margin=3.0), squared_distance),
]


@pytest.mark.parametrize("loss, formula", CASES, ids=lambda case: getattr(case, "name", ""))
def test_it_is_the_formula(loss, formula):
    expected = formula(PAIRS[:, 0].astype(float), PAIRS[:, 1].astype(float), IDS)
    np.testing.assert_allclose(loss.call(IDS, PAIRS), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(IDS, PAIRS), expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss(IDS[:, None], PAIRS), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("loss, formula", CASES, ids=lambda case: getattr(case, "name", ""))
def test_the_order_of_samples_does_not_matter(loss, formula):
    order = DRAW.permutation(6)
    np.testing.assert_allclose(
        loss.call(IDS[order], PAIRS[order]), ops.take(loss.call(IDS, PAIRS), order), rtol=1e-5
    )


@pytest.mark.parametrize("loss, formula", CASES, ids=lambda case: getattr(case, "name", ""))
def test_samples_that_are_alike_are_no_negatives(loss, formula):
    moved = PAIRS.copy()
    moved[3] = 100 * PAIRS[0]  # as near to sample 0 as can be, and of its id
    value = loss.call(IDS, moved)[0] if formula is not squared_distance else None
    if value is not None:
        others = loss.call(np.delete(IDS, 3), np.delete(moved, 3, axis=0))[0]
        np.testing.assert_allclose(value, others, rtol=1e-5)
    assert abs(float(loss.call(np.arange(6), moved)[0]) - float(loss.call(IDS, moved)[0])) > 1e-4


def test_a_margin_of_zero_is_the_squared_distance_alone():
    expected = np.sum((PAIRS[:, 0] - PAIRS[:, 1]) ** 2, axis=1)
    np.testing.assert_allclose(
        losses.SquaredDistance(margin=0.0).call(IDS, PAIRS), expected, rtol=1e-5
    )


def test_two_embeddings_that_are_one_have_a_gradient():
    import tensorflow as tf

    same = tf.Variable(np.ones((3, 2, 4), "float32"))
    with tf.GradientTape() as tape:
        loss = losses.SquaredDistance(margin=1.0)(np.arange(3), same)
    assert np.isfinite(tape.gradient(loss, same)).all()


@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (4, 2, 5, 1)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"of shape \(batch, 2, units\)"):
        losses.InfoNCE()(np.arange(4), np.ones(shape, "float32"))


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="`margin` must be 0 or more"):
        losses.SquaredDistance(margin=-1)


def test_configs_come_back():
    for loss, _ in CASES:
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert type(again) is type(loss) and again.get_config() == loss.get_config()


class TestPair:
    def test_inner_products_are_logits(self):
        layer = losses.Pair(temperature=0.1, bias=-2.0)
        a, b = DRAW.normal(size=(2, 3, 4)).astype("float32")
        paired = layer([a, b]).numpy()
        cosine = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (
            b / np.linalg.norm(b, axis=1, keepdims=True)
        ).T
        np.testing.assert_allclose(paired[:, 0] @ paired[:, 1].T, cosine / 0.1 - 2, rtol=1e-4)
        assert paired.shape == (3, 2, 5) == layer.compute_output_shape([(3, 4), (3, 4)])

    def test_temperature_and_bias_learn(self):
        x = keras.Input((3,))
        model = keras.Model(x, losses.Pair(bias=-1.0)([keras.layers.Dense(4)(x)] * 2))
        before = [w.numpy().copy() for w in model.weights]
        model.compile("sgd", losses.SigmoidContrast())
        model.fit(DRAW.normal(size=(8, 3)), np.arange(8), verbose=0)
        names = [w.name for w in model.weights]
        assert {"log_scale", "offset"} < set(names)
        for name, a, b in zip(names, before, model.weights, strict=True):
            assert not np.array_equal(a, b.numpy()), name

    def test_the_temperature_stays_above_a_hundredth(self):
        layer = losses.Pair(temperature=1e-4)
        paired = layer([np.ones((1, 2), "float32")] * 2).numpy()
        np.testing.assert_allclose(paired[0, 0] @ paired[0, 1], 100.0, rtol=1e-4)

    def test_without_a_temperature_it_stacks(self):
        a, b = DRAW.normal(size=(2, 3, 4)).astype("float32")
        paired = losses.Pair(temperature=None)([a, b])
        np.testing.assert_array_equal(paired, np.stack([a, b], 1))

    def test_it_is_saved(self, tmp_path):
        x = keras.Input((3,))
        model = keras.Model(x, losses.Pair(bias=-1.0)([x, x]))
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        value = np.ones((2, 3), "float32")
        np.testing.assert_array_equal(model(value), again(value))

    @pytest.mark.parametrize(
        "options, match",
        [
            ({"temperature": 0}, "must be above 0"),
            ({"temperature": None, "bias": 1.0}, "goes with"),
        ],
    )
    def test_wrong_arguments_are_refused(self, options, match):
        with pytest.raises(ValueError, match=match):
            losses.Pair(**options)

    def test_two_of_another_shape_are_refused(self):
        with pytest.raises(ValueError, match="two embeddings of one shape"):
            losses.Pair()([np.ones((2, 3)), np.ones((2, 4))])
