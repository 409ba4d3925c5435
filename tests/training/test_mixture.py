"""The weights of a mixture from held-out samples: no others are better."""

import keras
import numpy as np
import pytest

from mmzoo.fusion import WeightedFusion
from mmzoo.training.mixture import calibrate_mixture

SAMPLES = 20_000
SHARES = {"image": 0.7, "text": 0.3}


def samples():
    """Labels of a mixture: drawn from what a random expert says, the image's more often."""
    rng = np.random.default_rng(0)
    logits = {m: 3 * rng.standard_normal((SAMPLES, 3)).astype("float32") for m in SHARES}
    chosen = np.where(rng.random(SAMPLES) < SHARES["image"], "image", "text")
    scores = np.where((chosen == "image")[:, None], logits["image"], logits["text"])
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(1)  # a draw from their softmax
    return logits, labels


def model_of(with_presence=False):
    inputs = {m: keras.Input((3,), name=m) for m in SHARES}
    here = {m: keras.Input((), dtype="bool", name=f"{m}_present") for m in SHARES}
    layer = WeightedFusion(name="fused")
    if not with_presence:
        return keras.Model(inputs, layer(inputs)), layer
    taken = {**inputs, **{f"{m}_present": tensor for m, tensor in here.items()}}
    return keras.Model(taken, layer(inputs, presence=here)), layer


def test_the_true_weights_are_found():
    (model, layer), (inputs, labels) = model_of(), samples()
    layer.scores.assign([-3.0, 3.0])
    found = calibrate_mixture(model, layer, inputs, labels)
    assert found == pytest.approx(SHARES, abs=0.02)
    weights = np.exp(layer.scores) / np.exp(layer.scores).sum()
    np.testing.assert_allclose(weights, [found["image"], found["text"]], rtol=1e-5)


def test_no_other_weights_are_better():
    (model, layer), (inputs, labels) = model_of(), samples()
    calibrate_mixture(model, layer, inputs, labels)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    best = layer.scores.numpy()
    losses = []
    for change in (0.0, -0.2, 0.2):
        layer.scores.assign(best + [change, 0.0])
        losses.append(float(cross_entropy(labels, model.predict(inputs, verbose=0))))
    assert losses[0] < min(losses[1:])


def test_an_absent_expert_counts_where_it_is_present():
    (model, layer), (inputs, labels) = model_of(with_presence=True), samples()
    rng = np.random.default_rng(1)
    here = rng.random(SAMPLES) < 0.5
    inputs |= {"image_present": np.ones(SAMPLES, bool), "text_present": here}
    inputs["text"][~here] = np.nan
    right = labels.copy()
    right[~here] = inputs["image"][~here].argmax(1)
    assert calibrate_mixture(model, layer, inputs, right) == pytest.approx(SHARES, abs=0.03)


def test_a_sample_without_any_expert_is_refused():
    (model, layer), (inputs, labels) = model_of(with_presence=True), samples()
    inputs |= {f"{m}_present": np.arange(SAMPLES) > 2 for m in SHARES}
    with pytest.raises(ValueError, match="Received: 3 samples without any. Leave them out."):
        calibrate_mixture(model, layer, inputs, labels)


def test_one_expert_is_no_mixture():
    inputs = {"image": keras.Input((3,), name="image")}
    layer = WeightedFusion()
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="two experts or more. Received: one, whose weight is 1"):
        calibrate_mixture(model, layer, {"image": np.zeros((2, 3))}, [0, 1])
