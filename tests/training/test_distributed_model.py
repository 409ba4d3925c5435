"""A `DistributedModel` on one device: what Keras does, and what it keeps when saved."""

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo import losses, training

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(23, 4)).astype("float32")
Y = DRAW.integers(0, 3, 23)


def build(make=training.DistributedModel, loss="sparse_categorical_crossentropy", **options):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    h = layers.Dense(5, activation="relu", name="hidden")(x)
    model = make(x, layers.Dense(3, activation="softmax", name="kind")(h))
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"], **options)
    return model


def fit(model, **options):
    found = model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0, **options)
    return found.history, model.get_weights()


@pytest.mark.parametrize(
    "loss",
    ["sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy(),
     keras.losses.sparse_categorical_crossentropy],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}])
def test_it_trains_as_keras_does(loss, options):
    (history, weights), (expected, others) = (
        fit(build(make, loss), **options) for make in (training.DistributedModel, keras.Model)
    )
    assert history.keys() == expected.keys()
    for name in history:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-6)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("saved", ["model.keras", "copy"])
def test_saved_it_goes_on(tmp_path, saved):
    model = build()
    fit(model)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is training.DistributedModel
    if saved == "copy":
        again = training.plain_copy(again)
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
        assert not isinstance(again, training.DistributedModel)
        return
    (history, weights), (expected, others) = fit(again), fit(model)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-6)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_contrastive_loss_is_saved_too(tmp_path):
    x = keras.Input((4,), name="x")
    both = [layers.Dense(3, name="a")(x), layers.Dense(3, name="b")(x)]
    model = training.DistributedModel(x, losses.Pair(temperature=None)(both))
    model.compile("sgd", losses.SquaredDistance(margin=0.5))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.loss.margin == 0.5
    np.testing.assert_allclose(
        again.evaluate(X, np.arange(23), verbose=0), model.evaluate(X, np.arange(23), verbose=0)
    )


def test_without_a_loss_it_says_so():
    x = keras.Input((4,), name="x")
    model = training.DistributedModel(x, layers.Dense(3)(x))
    model.compile("sgd")
    with pytest.raises(ValueError, match="Expected a loss"):
        model.fit(X, Y, verbose=0)


def test_a_layers_own_loss_is_enough():
    x = keras.Input((4,), name="x")
    model = training.DistributedModel(x, layers.Dense(3, kernel_regularizer="l2")(x))
    model.compile("sgd")
    before = model.get_weights()[0].copy()
    model.fit(X, Y, verbose=0)
    assert np.abs(model.get_weights()[0]).sum() < np.abs(before).sum()


def test_compiled_again_in_one_piece_it_keeps_what_layers_add():
    def last_loss(*accumulate):
        keras.utils.set_random_seed(1)
        x = keras.Input((4,), name="x")
        h = layers.Dense(5, activity_regularizer="l2", name="active")(x)
        model = training.DistributedModel(x, layers.Dense(3, name="kind")(h))
        for pieces in accumulate:
            model.compile(keras.optimizers.SGD(0.0), "mse", accumulate=pieces)
            found = model.fit(X, X[:, :3], batch_size=5, shuffle=False, verbose=0)
        return found.history["loss"][0]

    assert last_loss(2, 1) == pytest.approx(last_loss(1), rel=1e-6)
