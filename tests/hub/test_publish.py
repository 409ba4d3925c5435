"""A published module, loaded and fine-tuned again by whoever loads it."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.hub import HubLayer, publish

IMAGES = np.random.default_rng(0).random((6, 8, 8, 3), "float32")
LABELS = np.random.default_rng(1).standard_normal((6, 5)).astype("float32")


def tower(dropout=0.3):
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, 2, kernel_regularizer="l2", name="conv")(x)
    y = layers.BatchNormalization(momentum=0.9, name="norm")(y)
    y = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu")(y))
    y = layers.Dropout(dropout, name="dropout")(y)
    y = layers.Dense(5, kernel_regularizer=keras.regularizers.L2(0.02), name="pooled")(y)
    return keras.Model(x, y, name="tower")


NAMES = [
    "conv/kernel", "conv/bias", "norm/gamma", "norm/beta", "norm/moving_mean",
    "norm/moving_variance", "pooled/kernel", "pooled/bias",
]  # fmt: skip


def fit(model, labels=LABELS, steps=8):
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    return model.fit(IMAGES, labels, batch_size=6, epochs=steps, verbose=0).history["loss"]


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(3)
    model = tower()
    fit(model, steps=2)
    return model


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    return publish(trained, tmp_path_factory.mktemp("published") / "tower")


def fine_tune(root, images, labels, steps=8):
    """A training loop as a TensorFlow user writes it around `hub.load`."""
    losses = []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            answers = root(images, training=True)
            loss = tf.reduce_mean((answers - labels) ** 2)
            loss += sum(penalty() for penalty in root.regularization_losses)
        gradients = tape.gradient(loss, list(root.trainable_variables))
        for variable, gradient in zip(root.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.05 * gradient)
        losses.append(float(loss))
    return losses


def test_hub_load_runs_and_fine_tunes_it(trained, published):
    import tensorflow_hub

    root = tensorflow_hub.load(str(published))
    np.testing.assert_allclose(root(IMAGES), trained(IMAGES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(root(IMAGES), root(IMAGES, training=False), rtol=1e-5, atol=1e-6)
    assert len(root.variables) == 8 and len(root.trainable_variables) == 6
    penalties = [float(penalty()) for penalty in root.regularization_losses]
    assert sum(penalties) == pytest.approx(float(sum(trained.losses)))
    served = root.signatures["serving_default"](image=tf.constant(IMAGES))
    assert list(served) == ["pooled"]
    np.testing.assert_allclose(served["pooled"], trained(IMAGES), rtol=1e-5, atol=1e-6)

    before = [variable.numpy() for variable in root.variables]
    assert np.abs(root(IMAGES, training=True) - root(IMAGES, training=True)).max() > 1e-4
    changed = [not np.array_equal(v, old) for v, old in zip(root.variables, before, strict=True)]
    assert [name for name, moved in zip(NAMES, changed, strict=True) if moved] == NAMES[4:6]
    losses = fine_tune(root, IMAGES, LABELS)
    assert losses[-1] < losses[0]
    changed = [not np.array_equal(v, old) for v, old in zip(root.variables, before, strict=True)]
    assert all(changed)
    after = sum(float(penalty()) for penalty in root.regularization_losses)
    assert after != sum(penalties), "a penalty is of the variables as they are"


def test_our_layer_runs_and_fine_tunes_it(trained, published):
    layer = HubLayer(published, trainable=True)
    assert layer.weight_names == NAMES
    assert [w.name for w in layer.trainable_weights] == [
        name.replace("/", ".") for name in NAMES if "moving" not in name
    ]
    np.testing.assert_allclose(layer(IMAGES), trained(IMAGES), rtol=1e-5, atol=1e-6)
    assert float(sum(layer.losses)) == pytest.approx(float(sum(trained.losses)))
    before = [weight.numpy() for weight in layer.weights]
    x = keras.Input((8, 8, 3))
    losses = fit(keras.Model(x, layer(x)))
    assert losses[-1] < losses[0]
    for weight, old in zip(layer.weights, before, strict=True):
        assert not np.array_equal(weight, old), weight.name


def test_fine_tuning_equals_training_the_model_itself(tmp_path):
    """The same losses step by step, penalties and statistics included (without dropout)."""
    model = tower(dropout=0.0)
    x = keras.Input((8, 8, 3))
    copy = keras.Model(x, HubLayer(publish(model, tmp_path / "m"), trainable=True)(x))
    np.testing.assert_allclose(fit(copy, steps=4), fit(model, steps=4), rtol=1e-5)
    for actual, expected in zip(
        copy.layers[1].module_weights.values(), model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def legacy(published, tmp_path_factory):
    """What `keras2.py` found, and the folder of the module that it wrote."""
    folder = tmp_path_factory.mktemp("keras2")
    np.savez(folder / "data.npz", images=IMAGES, labels=LABELS)
    script = Path(__file__).with_name("keras2.py")
    done = subprocess.run(
        [sys.executable, script, published, folder / "data.npz", folder / "out"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_keras_layer_of_tf_keras_runs_and_fine_tunes_it(trained, legacy):
    with np.load(legacy / "out.npz") as archive:
        found = dict(archive)
    for key in ("answers", "frozen"):
        np.testing.assert_allclose(found[key], trained(IMAGES), rtol=1e-5, atol=1e-6)
    assert np.abs(found["trained answers"] - found["answers"]).max() > 1e-3
    assert found["frozen count"] == 0
    assert len(found["names"]) == 6 and not [n for n in found["names"] if "moving" in n]
    assert float(found["penalty"]) == pytest.approx(float(sum(trained.losses)))
    assert found["loss"][-1] < found["loss"][0]
    assert len(found["changed"]) == 8 and (found["changed"] > 0).all()


def test_a_saved_model_of_keras_2_is_fine_tuned(legacy):
    layer = HubLayer(legacy / "out", trainable=True)
    with np.load(legacy / "out_answers.npz") as expected:
        np.testing.assert_allclose(layer(IMAGES), expected["answers"], rtol=1e-5, atol=1e-6)
        assert float(sum(layer.losses)) == pytest.approx(float(expected["penalty"]))
    assert len(layer.weights) == 8 and len(layer.trainable_weights) == 6
    before = [weight.numpy() for weight in layer.weights]
    x = keras.Input((8, 8, 3))
    losses = fit(keras.Model(x, layer(x)))
    assert losses[-1] < losses[0]
    assert all(not np.array_equal(w, old) for w, old in zip(layer.weights, before, strict=True))


def test_variables_are_stored_once(tmp_path):
    x = keras.Input((300,), name="x")
    model = keras.Model(x, layers.Dense(500, name="a")(layers.Dense(400, name="b")(x)))
    path = publish(model, tmp_path / "m")
    weights = sum(weight.numpy().nbytes for weight in model.weights)
    (data,) = (path / "variables").glob("variables.data*")
    assert weights <= data.stat().st_size < 1.1 * weights
    assert (path / "saved_model.pb").stat().st_size < 0.1 * weights


def test_no_folder_of_this_machine_is_in_it(published):
    root = str(Path(__file__).resolve().parents[2]).encode()
    for file in published.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert root not in content and str(published.parent).encode() not in content, file


def test_fine_tuned_again_and_again(published, tmp_path):
    """A published module inside a model, fine-tuned and published, keeps names and values."""
    keras.utils.set_random_seed(4)
    layer = HubLayer(published, trainable=True, frozen=["conv/.*"], name="hub")
    x = keras.Input((8, 8, 3), name="image")
    model = keras.Model(x, layers.Dense(5, name="head")(layer(x)))
    fit(model, steps=2)
    second = publish(model, tmp_path / "second")
    again = HubLayer(second, trainable=True)
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    assert len(again.weights) == 10
    assert len(again.trainable_weights) == 8, "what was frozen is its user's to train again"
    assert len(layer.trainable_weights) == 4, "publishing leaves the model as it was"
    assert [float(x) for x in again.losses] == pytest.approx([float(x) for x in model.losses])
    (data,) = (second / "variables").glob("variables.data*")
    assert data.stat().st_size < 1.1 * sum(w.numpy().nbytes for w in model.weights) + 2000
    before = {name: weight.numpy() for name, weight in again.module_weights.items()}
    y = keras.Input((8, 8, 3))
    fit(keras.Model(y, again(y)), steps=2)
    moved = [n for n, w in again.module_weights.items() if not np.array_equal(w, before[n])]
    assert len(moved) == 10
