"""Weights of experts: the one that knows is trusted, the one that guesses is not."""

import keras
import numpy as np
import pytest

from mmzoo.fusion import LateFusion
from mmzoo.training import calibrate_experts


def experts():
    inputs = {name: keras.Input((4,), name=name) for name in ("audio", "image", "text")}
    layer = LateFusion(name="experts")
    return keras.Model(inputs, {"logits": layer(inputs)}), layer


def samples():
    """Image is right and too shy, text is confident and knows nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    right = np.eye(4, dtype="float32")[labels]
    inputs = {
        "image": right + 0.3 * rng.standard_normal((400, 4), "float32"),
        "text": 3 * rng.standard_normal((400, 4), "float32"),
        "audio": np.zeros((400, 4), "float32"),
    }
    return inputs, labels


def loss(model, inputs, labels):
    logits = model.predict(inputs, verbose=0)["logits"]
    return float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits))


def test_the_one_that_knows_is_trusted():
    (model, layer), (inputs, labels) = experts(), samples()
    before = loss(model, inputs, labels)
    weights = calibrate_experts(model, layer, inputs, labels)
    assert weights["image"] > 3
    assert weights["text"] < 0.2
    assert loss(model, inputs, labels) < 0.5 * before
    # What is set is what was found, and a small step in any direction is no better.
    best = loss(model, inputs, labels)
    for name in ("image",):
        layer.set_expert_weights({**weights, name: 0.9 * weights[name]})
        assert loss(model, inputs, labels) > best


def test_weights_by_name_follow_the_formula():
    model, layer = experts()
    weights = {"audio": 0.5, "image": 2.0, "text": 1.25}
    layer.set_expert_weights(weights)
    inputs, _ = samples()
    expected = sum(
        weights[name] * np.asarray(keras.ops.log_softmax(value)) for name, value in inputs.items()
    )
    logits = model.predict(inputs, verbose=0)["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_errors():
    model, layer = experts()
    inputs, labels = samples()
    with pytest.raises(ValueError, match="Expected 400 labels. Received: 399"):
        calibrate_experts(model, layer, inputs, labels[1:])
    with pytest.raises(ValueError, match="Expected a positive weight for each of"):
        layer.set_expert_weights({"image": 1.0})
    with pytest.raises(ValueError, match="Expected a positive weight for each of"):
        layer.set_expert_weights({"image": 1.0, "text": -1.0, "audio": 1.0})
