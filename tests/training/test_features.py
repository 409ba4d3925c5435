"""Training on features in memory: what a model takes, equal budgets, and starting again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.fusion import zoo
from mmzoo.training.features import Features, accuracy_of, encode, fit_features, start_again

SHAPES = {"image": (3, 6), "text": (4, 5)}
CLASSES = 3
BUDGET = {"steps": 4, "batch_size": 8}


def features(samples=48, seed=0):
    """The label is plain in every token of both modalities."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples).astype("int32")
    tokens = {m: rng.standard_normal((samples, *shape)) for m, shape in SHAPES.items()}
    for m in tokens:
        tokens[m][..., :CLASSES] += 4 * np.eye(CLASSES)[labels][:, None]
    tokens = {m: x.astype("float16") for m, x in tokens.items()}
    masks = {m: rng.random(x.shape[:2]) > 0.2 for m, x in tokens.items()}
    return Features(tokens, masks, {m: x.mean(1) for m, x in tokens.items()}, labels)


def build(kind="Concatenation", seed=0):
    keras.utils.set_random_seed(seed)
    return zoo.build_kind(kind, SHAPES, CLASSES, 8)


@pytest.mark.parametrize("kind, rank", [("Concatenation", 2), ("CrossAttention", 3)])
def test_a_model_gets_what_it_takes(kind, rank):
    data, model = features(), build(kind)
    taken = data.inputs_of(model, ["text"])
    assert set(taken) == set(model.input)
    for name, tensor in model.input.items():
        assert taken[name].shape == (48, *tensor.shape[1:])
    assert taken["text"].ndim == rank
    assert taken["text_present"].all() and not taken["image_present"].any()
    assert all(data.inputs_of(model)[f"{m}_present"].all() for m in SHAPES)
    if rank == 3:
        np.testing.assert_array_equal(taken["image_mask"], data.masks["image"])
        assert taken["image"] is data.tokens["image"]
    assert data.shapes == SHAPES and len(data) == 48 and data.modalities == ["image", "text"]


def test_an_unknown_modality_is_refused():
    alone = zoo.build_alone("smell", 6, CLASSES, 4)
    match = r"modalities \['image', 'text'\]. Received: a model that takes 'smell'"
    with pytest.raises(ValueError, match=match):
        features().inputs_of(alone)


def test_encoding_runs_a_model_over_batches():
    inputs = keras.Input((2, 3), name="text")
    pooled = keras.ops.mean(inputs, axis=1)
    encoder = keras.Model(
        {"text": inputs},
        {"text_tokens": inputs, "text_mask": inputs[..., 0] > 0, "text_pooled": pooled},
    )
    raw = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    batches = [({"text": raw[:3]}, np.array([1, 2, 3])), ({"text": raw[3:]}, np.array([4, 5]))]
    found = encode(encoder, batches)
    assert found.labels.tolist() == [1, 2, 3, 4, 5]
    assert found.tokens["text"].dtype == found.vectors["text"].dtype == np.float16
    np.testing.assert_allclose(found.tokens["text"], raw, atol=2e-3)
    np.testing.assert_allclose(found.vectors["text"], raw.mean(1), atol=2e-3)
    np.testing.assert_array_equal(found.masks["text"], raw[..., 0] > 0)


def test_training_learns():
    data, model = features(480), build()
    before = accuracy_of(model, features(480, seed=1))
    fit_features(model, data, steps=120, batch_size=16, seed=0)
    after = accuracy_of(model, features(480, seed=1))
    assert before < 0.7 and after > 0.9
    assert 1 / CLASSES < accuracy_of(model, features(480, seed=1), ["image"]) <= after


def test_accuracy_is_the_share_of_right_ones():
    data, model = features(), build("MeanFusion logits")
    predicted = model.predict(data.inputs_of(model, ["text"]), verbose=0)
    for output in ("logits", "image_logits"):
        expected = (predicted[output].argmax(1) == data.labels).mean()
        assert accuracy_of(model, data, ["text"], output=output) == pytest.approx(expected)
    model.get_layer("text_logits").bias.assign([np.nan] * CLASSES)
    with pytest.raises(ValueError, match="finite logits. Received: 144 of 144 that are not, of"):
        accuracy_of(model, data)


class Rows(keras.callbacks.Callback):
    """Counts steps."""

    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


@pytest.mark.parametrize("steps", [1, 4, 13])
def test_the_budget_is_kept(steps):
    """Also where it takes the samples more than once."""
    counter, model = Rows(), build()
    fit_features(model, features(), steps=steps, batch_size=8, seed=0, callbacks=[counter])
    assert counter.steps == steps == int(model.optimizer.iterations)


def test_every_sample_is_seen_before_any_is_seen_again(monkeypatch):
    seen = []

    def fit(self, batches, **options):
        for inputs, _ in batches:
            seen.extend(inputs["image"][:, 0].numpy().tolist())

    model, data = build(), features()
    monkeypatch.setattr(keras.Model, "fit", fit)
    fit_features(model, data, steps=12, batch_size=8, seed=0)
    every = sorted(data.vectors["image"][:, 0].astype("float32").tolist())
    assert sorted(seen[:48]) == sorted(seen[48:]) == every
    assert seen[:48] != seen[48:]


def trained(model, seed):
    fit_features(model, features(), seed=seed, **BUDGET)
    return np.concatenate([weight.numpy().ravel() for weight in model.trainable_weights])


def test_a_seed_is_the_order_of_the_samples():
    weights = [trained(build(), seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


@pytest.mark.parametrize("kind", ["Concatenation", "LateFusion"])
def test_starting_again_is_as_good_as_a_new_model(kind):
    """Weights, the seeds of both dropouts and the optimizer are those of a new model."""
    model = build(kind, seed=1)
    first = trained(model, seed=1)
    start_again(model, build(kind, seed=2))
    again = trained(model, seed=2)
    np.testing.assert_array_equal(again, trained(build(kind, seed=2), seed=2))
    assert (first != again).any()


def test_starting_again_keeps_the_traced_step_and_the_rate():
    model = build()
    optimizer = keras.optimizers.SGD(0.25)
    fit_features(model, features(), seed=0, optimizer=optimizer, **BUDGET)
    step = model.train_function
    start_again(model, build())
    fit_features(model, features(), seed=0, **BUDGET)
    assert model.train_function is step and isinstance(step, object)
    assert float(optimizer.learning_rate) == 0.25 and int(optimizer.iterations) == 4


def test_a_model_that_was_never_compiled_can_start_again():
    model, fresh = build(seed=1), build(seed=2)
    start_again(model, fresh)
    for one, other in zip(model.weights, fresh.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert tf.executing_eagerly()
