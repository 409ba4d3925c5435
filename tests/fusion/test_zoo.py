"""Every kind of fusion is there, can be trained, and has the size that was asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo import fusion
from mmzoo.fusion import zoo

SHAPES = {"image": (3, 6), "text": (4, 5), "audio": (2, 7)}
CLASSES = 4
SAMPLES = 8
MODES = ("sum", "mean", "max", "product")


def inputs_of(model, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {}
    for name, tensor in model.input.items():
        shape = (SAMPLES, *tensor.shape[1:])
        value = rng.standard_normal(shape).astype("float32")
        inputs[name] = value > -1 if tensor.dtype == "bool" else value
    return inputs


def build(kind, shapes=SHAPES, width=16, **options):
    keras.utils.set_random_seed(1)
    return zoo.build_kind(kind, shapes, CLASSES, width, **options)


def test_every_fusion_layer_is_in_the_zoo():
    there = {type(kind.layer(8)) for kind in zoo.KINDS.values()}
    exported = [getattr(fusion, name) for name in fusion.__all__]
    layers = {
        each for each in exported
        if isinstance(each, type) and issubclass(each, fusion.FusionLayer)
    } - {fusion.FusionLayer}  # fmt: skip
    assert there == layers and len(layers) >= 20
    assert {kind.layer(8).mode for name, kind in zoo.KINDS.items() if "Elem" in name} == set(MODES)
    assert {kind.family for kind in zoo.KINDS.values()} == set(zoo.FAMILIES)
    assert set(zoo.LEARNED) == set(zoo.FAMILIES) - {"late"}
    for name, kind in zoo.KINDS.items():
        assert name.split()[0] == type(kind.layer(8)).__name__


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize("modalities", [2, 3])
def test_a_kind_gives_logits_of_its_features(kind, modalities):
    shapes = dict(list(SHAPES.items())[:modalities])
    model = build(kind, shapes)
    takes = zoo.KINDS[kind].layer(8).takes
    for name, (tokens, size) in shapes.items():
        assert model.input[name].shape[1:] == ((tokens, size) if takes == "tokens" else (size,))
        assert model.input[f"{name}_present"].dtype == "bool"
        assert (f"{name}_mask" in model.input) == (takes == "tokens")
    heads = {f"{name}_logits" for name in shapes} if takes == "logits" else set()
    found = model.predict(inputs_of(model), verbose=0)
    assert set(found) == {"logits"} | heads
    assert all(value.shape == (SAMPLES, CLASSES) for value in found.values())


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_gradients_reach_every_weight(kind):
    model = build(kind, absent=0.5)
    labels = np.arange(SAMPLES) % CLASSES
    weights = [weight.value for weight in model.trainable_weights]
    total = [np.zeros(weight.shape) for weight in weights]
    for step in range(4):
        with tf.GradientTape() as tape:
            outputs = model(inputs_of(model, step), training=True).values()
            losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x) for x in outputs]
            loss = tf.add_n([tf.reduce_mean(each) for each in losses])
        for k, gradient in enumerate(tape.gradient(loss, weights)):
            total[k] += 0 if gradient is None else np.abs(gradient)
    silent = [w.path for w, g in zip(model.trainable_weights, total, strict=True) if not g.any()]
    assert silent == []


@pytest.mark.parametrize(
    "kind", [name for name, kind in zoo.KINDS.items() if kind.family == "late"]
)
def test_experts_learn_from_their_own_loss_alone(kind):
    model = build(kind)
    kernel = model.get_layer("image_hidden").kernel.value
    found = {}
    for output in ("logits", "image_logits", "text_logits"):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs_of(model))[output][:, 0])
        found[output] = tape.gradient(loss, kernel)
    assert found["logits"] is None and found["text_logits"] is None
    assert np.any(found["image_logits"])


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_an_absent_modality_is_not_felt(kind):
    model = build(kind)
    inputs = inputs_of(model)
    inputs["text_present"][:] = False
    other = {**inputs, "text": np.full_like(inputs["text"], np.nan)}
    one, two = (model.predict(x, verbose=0)["logits"] for x in (inputs, other))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()


@pytest.mark.parametrize(
    "kind, parameters",
    [*((kind, 8_000) for kind in zoo.KINDS), ("Concatenation", 40_000), ("CoAttention", 40_000)],
)
def test_the_size_comes_near_what_is_asked_for(kind, parameters):
    shapes = {"image": (5, 64), "text": (7, 64)}

    def built(width):
        return zoo.build_kind(kind, shapes, 16, width)

    width = zoo.fit_width(built, parameters)
    sizes = [zoo.trainable_parameters(built(width + more)) for more in (-1, 0, 1)]
    assert min(sizes, key=lambda size: abs(size - parameters)) == sizes[1]
    assert abs(sizes[1] - parameters) <= 0.1 * parameters


def test_a_modality_alone_is_an_expert():
    alone = zoo.build_alone("text", 5, CLASSES, 16)
    assert list(alone.input) == ["text"] and list(alone.output) == ["logits"]
    experts = build("MeanFusion logits", {m: (1, 5) for m in ("image", "text")})
    temperatures = 2
    assert zoo.trainable_parameters(experts) == (2 * zoo.trainable_parameters(alone) + temperatures)
    by_hand = 2 * 5 + 5 * 16 + 16 + 16 * CLASSES + CLASSES
    assert zoo.trainable_parameters(alone) == by_hand


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"one of \['Concatenation', .*Received: name='Sum'"):
        build("Sum")


def test_a_size_out_of_reach_is_refused():
    def built(width):
        return zoo.build_alone("text", 1, 1, min(width, 3))

    match = "reaches 1000 parameters at a width of 16. Received: one of 12 parameters. Ask"
    with pytest.raises(ValueError, match=match):
        zoo.fit_width(built, 1000, most=16)
