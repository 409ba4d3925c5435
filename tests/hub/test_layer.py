"""A module's variables as a layer's weights: trained, frozen, thawed, shared."""

import gc
import weakref

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, regularizers

from mmzoo.export.testing.layer_checks import check_gradients
from mmzoo.hub import HubLayer

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 8, 8, 3), "float32")
LABELS = RNG.standard_normal((6, 2)).astype("float32")
TRAINED = ["stem/conv/kernel", "stem/norm/gamma", "stem/norm/beta", "head/kernel", "head/bias"]
STATISTICS = ["stem/norm/moving_mean", "stem/norm/moving_variance"]


def classifier(layer, shape=(8, 8, 3)):
    x = keras.Input(shape, name="image")
    model = keras.Model(x, layers.Dense(2, name="head")(layer(x)))
    compile_model(model)
    return model


def compile_model(model):
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")


def fit(model, steps=1):
    fitted = model.fit(IMAGES, LABELS, batch_size=6, epochs=steps, shuffle=False, verbose=0)
    return fitted.history["loss"]


def values(layer):
    return {name: weight.numpy() for name, weight in layer.module_weights.items()}


def changed(layer, before):
    return {n for n, value in values(layer).items() if not np.array_equal(value, before[n])}


def test_weights_are_the_modules_own_variables(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True)
    assert layer.weight_names == [*TRAINED[:3], *STATISTICS, *TRAINED[3:]]
    assert [weight.name for weight in layer.trainable_weights] == [
        name.replace("/", ".") for name in TRAINED
    ]
    assert len(layer.weights) == 7 and len(layer.non_trainable_weights) == 2
    own = {id(variable) for variable in layer.module.root.variables}
    for name, weight in layer.module_weights.items():
        assert weight.value is layer.module.variables[name]
        assert id(weight.value) in own
    before = layer(IMAGES).numpy()
    layer.module_weights["head/bias"].assign(np.full(6, 5, "float32") + RNG.random(6))
    layer.module.root.variables[-1].assign_add(tf.ones(6))  # the bias again, behind our back
    bias = layer.module_weights["head/bias"].numpy()
    assert (bias > 5.9).all()
    original = tf.saved_model.load(str(folder_of("image"))).variables[-1].numpy()
    np.testing.assert_allclose(layer(IMAGES), before - original + bias, rtol=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_deleted_layer_frees_its_variables(folder_of, trainable):
    """No second owner and no cache keeps a module's weights in memory."""
    layer = HubLayer(folder_of("bare"), trainable=trainable)
    layer(np.ones((1, 3), "float32"))
    variable = weakref.ref(layer.module_weights["w"].value)
    del layer
    gc.collect()
    assert variable() is None


def test_training_changes_every_weight_and_lowers_the_loss(folder_of):
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True)
    model, before = classifier(layer), values(layer)
    losses = fit(model, 8)
    assert losses[-1] < losses[0] - 0.05
    assert changed(layer, before) == {*TRAINED, *STATISTICS}


def test_training_equals_a_native_keras_model(folder_of):
    """Same losses, penalty included, same steps, same statistics as Keras' own layers."""
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True)
    model, weight = classifier(layer), values(layer)
    norm = [weight[n] for n in (*TRAINED[1:3], *STATISTICS)]
    x = keras.Input((8, 8, 3))
    penalty = regularizers.L2(0.01)
    y = layers.Conv2D(4, 3, 2, "same", use_bias=False, kernel_regularizer=penalty)(x)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    y = layers.Dense(6, kernel_regularizer=penalty)(y)
    native = keras.Model(x, layers.Dense(2)(y))
    compile_model(native)
    native.set_weights(
        [weight[TRAINED[0]], *norm, weight["head/kernel"], weight["head/bias"]]
        + model.get_layer("head").get_weights()
    )
    np.testing.assert_allclose(sum(model.losses), sum(native.losses), rtol=1e-5, atol=1e-6)
    assert float(sum(model.losses)) > 0.01
    np.testing.assert_allclose(fit(model, 5), fit(native, 5), rtol=1e-5)
    order = [TRAINED[0], *TRAINED[1:3], *STATISTICS, *TRAINED[3:]]
    for name, expected in zip(order, native.get_weights(), strict=False):
        np.testing.assert_allclose(values(layer)[name], expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_layer_stays_as_it_is_in_training(folder_of):
    layer = HubLayer(folder_of("image"))
    model, before = classifier(layer), values(layer)
    head = model.get_layer("head").get_weights()
    fit(model, 3)
    assert changed(layer, before) == set()
    assert not np.array_equal(model.get_layer("head").get_weights()[0], head[0])
    assert layer.trainable_weights == [] and model.losses == []
    np.testing.assert_allclose(
        layer(IMAGES, training=True), layer(IMAGES, training=False), rtol=1e-5, atol=1e-6
    )


def test_a_trainable_layer_follows_training(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True)
    np.testing.assert_allclose(layer(IMAGES), layer(IMAGES, training=False), rtol=1e-5, atol=1e-6)
    before = values(layer)
    first, second = layer(IMAGES, training=True), layer(IMAGES, training=True)
    assert np.abs(first - second).max() > 1e-3  # dropout
    assert changed(layer, before) == set(STATISTICS)
    convolved = tf.nn.conv2d(IMAGES, before["stem/conv/kernel"], 2, "SAME")
    mean = before["stem/norm/moving_mean"]
    for _ in range(2):
        mean = 0.9 * mean + 0.1 * np.mean(convolved, (0, 1, 2))
    np.testing.assert_allclose(values(layer)["stem/norm/moving_mean"], mean, rtol=1e-4)


def test_without_dropout_training_uses_the_statistics_of_the_batch(folder_of):
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True)
    assert np.abs(layer(IMAGES, training=True) - layer(IMAGES)).max() > 1e-3


def test_freeze_and_thaw_by_pattern(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True, frozen=["stem/.*"])
    assert [weight.name for weight in layer.trainable_weights] == ["head.kernel", "head.bias"]
    model, before = classifier(layer), values(layer)
    fit(model)
    assert changed(layer, before) - set(STATISTICS) == {"head/kernel", "head/bias"}

    assert layer.thaw("stem/norm/.*") == ["stem/norm/gamma", "stem/norm/beta"]
    assert layer.freeze("head/bias", ".*bias") == ["head/bias"]
    compile_model(model)
    before = values(layer)
    fit(model)
    expected = {"stem/norm/gamma", "stem/norm/beta", "head/kernel"}
    assert changed(layer, before) - set(STATISTICS) == expected
    assert layer.thaw(".*") == TRAINED
    assert len(layer.trainable_weights) == 5


def test_frozen_patterns_outlast_a_frozen_layer(folder_of):
    layer = HubLayer(folder_of("image"), frozen=["stem/.*"])
    model, before = classifier(layer), values(layer)
    fit(model)
    assert changed(layer, before) == set()
    layer.trainable = True
    compile_model(model)
    fit(model, 2)
    assert changed(layer, before) - set(STATISTICS) == {"head/kernel", "head/bias"}


def test_a_model_freezes_and_thaws_its_layers(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True, frozen=["head/.*"])
    model = classifier(layer)
    model.trainable = False
    assert layer.trainable_weights == [] and model.losses == []
    model.trainable = True
    assert len(layer.trainable_weights) == 3 and len(model.losses) == 1


@pytest.mark.parametrize("pattern", ["stem", "head/kerne", "stem/norm/moving_mean", "x.*", ""])
def test_a_pattern_must_match_a_whole_trainable_name(folder_of, pattern):
    layer = HubLayer(folder_of("image"), trainable=True)
    for change in (layer.freeze, layer.thaw):
        with pytest.raises(ValueError, match="matches a trainable weight.*Received: '.*head/kern"):
            change("head/.*", pattern)
    with pytest.raises(ValueError, match="matches a trainable weight"):
        HubLayer(folder_of("image"), frozen=[pattern])
    assert len(layer.trainable_weights) == 5, "a refused call changes nothing"


def test_regularization_counts_once_however_often_it_is_called(folder_of):
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True)
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model([a, b], layer(a) - layer(b))
    model([IMAGES, IMAGES])
    expected = sum(
        0.01 * (values(layer)[n] ** 2).sum() for n in ("stem/conv/kernel", "head/kernel")
    )
    assert [float(loss) for loss in model.losses] == pytest.approx([expected])
    model.compile(optimizer="sgd", loss="mse")
    # Equal images: the difference is 0, and all that is left of the loss is the penalty.
    loss = model.evaluate([IMAGES, IMAGES], np.zeros((6, 6)), verbose=0)
    assert loss == pytest.approx(expected)
    layer.freeze("stem/conv/kernel")  # whichever weight carries the penalty
    assert len(model.losses) == 1
    layer.thaw(".*")
    assert len(model.losses) == 1
    layer.freeze(".*")
    assert model.losses == []


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_outside_float32_inside(folder_of, policy):
    exact = HubLayer(folder_of("image", dropout=0.0))
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True, dtype=policy)
    half = layer(IMAGES)
    assert half.dtype.name == layer.compute_dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(tf.cast(half, "float32"), exact(IMAGES), rtol=0.01, atol=0.01)
    np.testing.assert_array_equal(layer(tf.cast(IMAGES, "float16")).dtype.name, half.dtype.name)
    x = keras.Input((8, 8, 3))
    assert layer(x).dtype == half.dtype.name
    model = keras.Model(x, layers.Dense(2, dtype=policy, name="head")(layer(x)))
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer=optimizer, loss="mse")
    before = values(layer)
    losses = fit(model, 8)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    assert changed(layer, before) == {*TRAINED, *STATISTICS}


def test_two_layers_of_one_handle_are_independent(folder_of):
    one = HubLayer(folder_of("image"), trainable=True)
    two = HubLayer(folder_of("image"), trainable=True)
    before = values(two)
    fit(classifier(one))
    assert changed(one, before) and not changed(two, before)


def test_one_layer_used_twice_shares_its_weights(folder_of):
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True, frozen=["stem/.*"])
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model([a, b], layer(a) + layer(b))
    assert len(model.weights) == 7
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model([IMAGES, IMAGES]))
    (gradient,) = tape.gradient(total, [layer.module_weights["head/bias"].value])
    np.testing.assert_allclose(gradient, np.full(6, 12.0))  # 6 images from either side


def test_a_clone_starts_from_the_modules_own_values(folder_of):
    layer = HubLayer(folder_of("image"), trainable=True, frozen=["head/bias"], name="hub")
    model, initial = classifier(layer), values(layer)
    fit(model)
    clone = keras.models.clone_model(model)
    copy = clone.get_layer("hub")
    assert copy is not layer and not changed(copy, initial) and changed(layer, initial)
    assert len(copy.trainable_weights) == 4
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("built", [True, False])
def test_inside_a_sequential(folder_of, built):
    layer = HubLayer(folder_of("image", dropout=0.0), trainable=True)
    model = keras.Sequential([keras.Input((8, 8, 3))] * built + [layer, layers.Dense(2)])
    compile_model(model)
    before = values(layer)
    losses = fit(model, 5)
    assert losses[-1] < losses[0] and changed(layer, before) == {*TRAINED, *STATISTICS}


@pytest.mark.parametrize(
    "name, inputs",
    [
        ("image", IMAGES),
        ("bert_encoder", modules.bert_batch([[2, 4, 5], [2, 6, 0]])),
        ("sentence_encoder", tf.constant([" ".join(modules.WORDS), "none of these"])),
        ("yamnet", RNG.standard_normal((2, modules.YAMNET_SAMPLES)).astype("float32")),
        ("vggish", RNG.standard_normal((2, modules.YAMNET_SAMPLES)).astype("float32")),
        ("bare", RNG.standard_normal((2, 3)).astype("float32")),
    ],
)
def test_every_trainable_weight_gets_a_gradient(folder_of, name, inputs):
    layer = HubLayer(folder_of(name), trainable=True)
    assert layer.trainable_weights
    check_gradients(layer.trainable_weights, lambda: layer(inputs, training=False))
