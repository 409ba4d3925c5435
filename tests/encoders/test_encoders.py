import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo import encoders, export, fusion
from mmzoo.data import encode_text
from mmzoo.encoders.audio_encoders import PoolMask
from mmzoo.encoders.blocks import ApplyMask, MaskedPooling
from mmzoo.encoders.image_encoders import AllTrue
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export.testing.layer_checks import (
    FORMATS,
    assert_near,
    check_gradients,
    check_layer,
    check_parity,
    count,
    dtype_policy,
    randomize,
)

UNITS = 8
BUILDERS = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}


def conv(kernel, inputs, filters):
    """Weights without bias, and the four vectors of the batch normalisation."""
    return kernel * inputs * filters + 4 * filters


GRAMS = sum(width * 64 * 96 + 96 for width in (2, 3, 4, 5, 6))
WEIGHTS = {
    "image": conv(9, 3, 32) + conv(9, 32, 48) + conv(9, 48, 64) + conv(9, 64, 96)
    + conv(9, 96, 128) + conv(9, 128, 160) + 161 * UNITS + (2 * UNITS + 1) * UNITS,
    "text": 256 * 64 + GRAMS + 481 * UNITS + (2 * UNITS + 1) * UNITS,
    "audio": conv(9, 1, 24) + conv(9, 24, 48) + conv(9, 48, 64) + conv(9, 64, 96)
    + conv(9, 96, 128) + 769 * UNITS + (2 * UNITS + 1) * UNITS
    + 2 * 400 * 257 + 257 * 48,  # Fourier kernels and mel bank, fixed
}  # fmt: skip
MOVING = {  # moving averages of the batch normalisations, and what LogMel keeps fixed
    "image": 2 * (32 + 48 + 64 + 96 + 128 + 160),
    "text": 0,
    "audio": 2 * (24 + 48 + 64 + 96 + 128) + 2 * 400 * 257 + 257 * 48,
}


def sample(modality, size, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    if modality == "image":
        return rng.integers(0, 256, (batch, *size, 3), dtype="uint8")
    if modality == "text":
        return rng.integers(1, 256, (batch, size), dtype="uint8")
    return (0.1 * rng.standard_normal((batch, size))).astype("float32")


SIZES = {"image": (21, 30), "text": 11, "audio": 3_000}
OTHER_SIZES = {"image": (65, 7), "text": 4, "audio": 1_111}
TOKENS = {"image": 16, "text": 11, "audio": 5}  # 3,000 samples: 19 frames


@pytest.fixture(scope="module")
def models():
    """The three encoders, moved off their first state, where every bias is 0."""
    built = {name: build(units=UNITS) for name, build in BUILDERS.items()}
    for model in built.values():
        randomize(model, 0.05)
    return built


def encode(model, inputs):
    return {name: np.asarray(value) for name, value in model(inputs, training=False).items()}


@pytest.mark.parametrize("modality", BUILDERS)
def test_contract(models, modality):
    model, inputs = models[modality], sample(modality, SIZES[modality])
    outputs = encode(model, inputs)
    tokens = TOKENS[modality]
    found = {name: (value.shape, str(value.dtype)) for name, value in outputs.items()}
    assert found == {
        "tokens": ((3, tokens, UNITS), "float32"),
        "mask": ((3, tokens), "bool"),
        "pooled": ((3, UNITS), "float32"),
    }
    for name, symbol in model.output.items():
        assert symbol.dtype == found[name][1]
        assert len(symbol.shape) == outputs[name].ndim and symbol.shape[0] is None
        assert all(s in (None, n) for s, n in zip(symbol.shape, found[name][0], strict=True))
    assert [tensor.name for tensor in model.inputs] == [modality]
    assert model.name == f"{modality}_encoder"
    assert outputs["mask"].all() and (outputs["tokens"] >= 0).all()
    # Samples are told apart, and one does not depend on its batch.
    assert np.abs(np.diff(outputs["pooled"], axis=0)).max(1).min() > 1e-3
    assert_near(encode(model, inputs[1:2])["pooled"], outputs["pooled"][1:2], 1e-5)


@pytest.mark.parametrize("modality", BUILDERS)
def test_a_plain_call_is_inference(models, modality):
    """A layer whose `training` is True by default would switch all behind it to training."""
    model, inputs = models[modality], sample(modality, SIZES[modality])
    state, expected = model.get_weights(), encode(model, inputs)
    outputs = model(inputs)
    moved = [w.path for w, before in zip(model.weights, state, strict=True)
             if (w.numpy() != before).any()]  # fmt: skip
    model.set_weights(state)
    assert moved == []
    np.testing.assert_array_equal(outputs["pooled"], expected["pooled"])


@pytest.mark.parametrize("modality", BUILDERS)
def test_weight_count(models, modality):
    model = models[modality]
    assert model.count_params() == WEIGHTS[modality]
    assert count(model.non_trainable_weights) == MOVING[modality]


@pytest.mark.parametrize("modality", BUILDERS)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_weight(models, modality, training):
    model, inputs = models[modality], sample(modality, SIZES[modality])
    state = model.get_weights()
    check_gradients(model.trainable_weights, lambda: model(inputs, training=training))
    model.set_weights(state)  # training moves the moving averages


@pytest.mark.parametrize("modality", BUILDERS)
def test_freezing_and_unfreezing(modality):
    model = BUILDERS[modality](units=UNITS)
    before = [weight.path for weight in model.trainable_weights]
    model.trainable = False
    assert model.trainable_weights == []
    model.trainable = True
    assert [weight.path for weight in model.trainable_weights] == before


@pytest.mark.parametrize("modality", BUILDERS)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(models, modality, policy):
    inputs = sample(modality, SIZES[modality])
    with dtype_policy(policy):
        half = BUILDERS[modality](units=UNITS)
        half.set_weights(models[modality].get_weights())
        outputs = half(inputs, training=False)
    expected = encode(models[modality], inputs)
    np.testing.assert_array_equal(outputs["mask"], expected["mask"])
    for name in ("tokens", "pooled"):
        assert outputs[name].dtype.name == policy.removeprefix("mixed_")
        assert_near(np.asarray(tf.cast(outputs[name], "float32")), expected[name], 0.05, name)


@pytest.mark.parametrize("modality", BUILDERS)
@pytest.mark.parametrize("format", FORMATS)
def test_export(models, tmp_path, modality, format):
    other = {modality: sample(modality, OTHER_SIZES[modality], seed=1)}
    padded = sample(modality, SIZES[modality])
    if modality != "image":
        padded[1, SIZES[modality] // 2 :] = 0
        padded[2] = 0
    check_parity(models[modality], {modality: padded}, format, tmp_path, more=[other])


@pytest.mark.parametrize("modality", BUILDERS)
def test_public_exporter_proves_an_encoder(models, tmp_path, modality):
    """Its outputs are no scores: a bool mask, and as many tokens as the input is long."""
    inputs = sample(modality, SIZES[modality], batch=17)
    if modality == "text":
        inputs[::2, 4:] = 0
    samples = export.Samples({modality: inputs})
    path = export.to_saved_model(models[modality], tmp_path / "encoder", samples=samples)
    assert (path / "saved_model.pb").is_file()


@pytest.mark.parametrize("modality", BUILDERS)
def test_unknown_source(modality):
    """Whatever is not "small" is a handle, and a bare word the path of a folder."""
    with pytest.raises(OSError, match="Expected a folder with saved_model.pb. Received: .*/huge, "):
        BUILDERS[modality]("huge")


# Image.


@pytest.mark.parametrize("size", [(1, 1), (37, 90), (90, 37), (64, 64), (200, 3)])
def test_any_image_size(models, size):
    outputs = encode(models["image"], sample("image", size))
    assert outputs["tokens"].shape == (3, 16, UNITS) and outputs["mask"].all()
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_images_are_scaled_to_64_pixels_and_kept_square(models):
    """A 4 x 4 grid of tokens of 16 pixels: other sides would give as many."""
    shapes = [layer.output.shape for layer in models["image"].layers if layer.name != "mask"]
    assert (None, 64, 64, 3) in shapes and (None, 4, 4, 160) in shapes


def test_image_of_one_colour_has_no_size(models):
    colour = np.array([[200, 30, 90]], "uint8")
    one, many = (
        encode(models["image"], np.broadcast_to(colour, (1, *size, 3)))
        for size in ((1, 1), (37, 90))
    )
    assert_near(one["pooled"], many["pooled"], 1e-5)


# Text.


def text_of(*texts):
    return encode_text(texts)


@pytest.mark.parametrize("zeros", [1, 2, 7, 64])
@pytest.mark.parametrize("text", ["a", "key", "clé à molette", "ウサギ"])
def test_zeros_behind_a_text_change_nothing(models, text, zeros):
    short = text_of(text)
    expected = encode(models["text"], short)
    longer = encode(models["text"], np.pad(short, [[0, 0], [0, zeros]]))
    length = short.shape[1]
    assert longer["mask"].sum() == length == expected["mask"].sum()
    assert_near(longer["pooled"], expected["pooled"], 1e-5)
    assert_near(longer["tokens"][:, :length], expected["tokens"], 1e-5)


def test_capitals_are_small_letters(models):
    texts = "Red APPLE; Zz Aa @[`{ 019", "red apple; zz aa @[`{ 019"
    upper, lower = (encode(models["text"], text_of(text)) for text in texts)
    np.testing.assert_array_equal(upper["tokens"], lower["tokens"])
    np.testing.assert_array_equal(upper["pooled"], lower["pooled"])
    other = encode(models["text"], text_of("sed apple; zz aa @[`{ 019"))
    assert np.abs(other["pooled"] - lower["pooled"]).max() > 1e-4


def test_byte_tokens_of_every_byte():
    ids, mask = ByteTokens()(np.arange(256, dtype="uint8")[None])
    small = bytes(range(256)).lower()  # of bytes, Python's too changes ASCII alone
    assert ids.numpy()[0].tolist() == list(small)
    assert mask.numpy()[0].tolist() == [False] + [True] * 255


def test_invalid_utf8(models):
    broken = np.array([list(b"\xff\xfe\x80\xc3("), list(b"\xed\xa0\x80\xf8\x88")], "uint8")
    outputs = encode(models["text"], broken)
    assert outputs["mask"].all()
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_order_of_letters_is_seen(models):
    one, other = (encode(models["text"], text_of(t))["pooled"] for t in ("stop", "pots"))
    assert np.abs(one - other).max() > 1e-3


# Audio.


@pytest.mark.parametrize("zeros", [1, 7, 159, 160, 401, 641, 3_333])
@pytest.mark.parametrize("time", [100, 1_600, 2_345])
def test_zeros_behind_a_recording_change_nothing(models, time, zeros):
    short = sample("audio", time, batch=2)
    expected = encode(models["audio"], short)
    longer = encode(models["audio"], np.pad(short, [[0, 0], [0, zeros]]))
    tokens = expected["tokens"].shape[1]
    np.testing.assert_array_equal(longer["mask"][:, :tokens], expected["mask"])
    assert not longer["mask"][:, tokens:].any()
    assert_near(longer["pooled"], expected["pooled"], 2e-6)
    assert_near(longer["tokens"][:, :tokens], expected["tokens"], 2e-6)


def test_loudness_changes_nothing(models):
    wave = sample("audio", 2_000)
    expected = encode(models["audio"], wave)
    assert_near(encode(models["audio"], 0.25 * wave)["pooled"], expected["pooled"], 1e-3)


# What both share.


@pytest.mark.parametrize("modality, size", [("text", 1), ("text", 9), ("audio", 1_500)])
def test_nothing_but_zeros(models, modality, size):
    empty = np.zeros_like(sample(modality, size))
    outputs = encode(models[modality], empty)
    assert not outputs["mask"].any()
    assert all(np.isfinite(value).all() for value in outputs.values())
    model = models[modality]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(empty, training=False)["pooled"] ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for gradient in gradients:
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


# The layers that the encoders are made of. Their exports are the encoders' own.


def test_byte_tokens_conformance(tmp_path):
    check_layer(
        lambda: ByteTokens(name="bytes"),
        lambda layer, x: layer(x["text"]),
        inputs={"text": np.array([[65, 97, 0], [255, 90, 91], [0, 0, 0]], "uint8")},
        num_weights=0,
        output_shape=[(3, 3), (3, 3)],
        shapes={"text": (None,)},
        formats=(),
        folder=tmp_path,
    )


@pytest.mark.parametrize("factor, tokens", [(1, 9), (2, 5), (4, 3), (9, 1), (10, 1)])
def test_pool_mask(tmp_path, factor, tokens):
    rng = np.random.default_rng(factor)
    mask = (rng.random((3, 9)) < 0.3).astype("float32")
    layer = PoolMask(factor, name="pool")
    expected = [[row[k : k + factor].any() for k in range(0, 9, factor)] for row in mask]
    np.testing.assert_array_equal(layer(mask > 0), expected)
    check_layer(
        lambda: PoolMask(factor, name="pool"),
        lambda layer, x: layer(x["mask"] > 0),
        inputs={"mask": mask},
        num_weights=0,
        output_shape=(3, tokens),
        shapes={"mask": (None,)},
        formats=(),
        folder=tmp_path,
    )


@pytest.mark.parametrize("inner", [(4,), (2, 5), ()])
def test_apply_mask(tmp_path, inner):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((3, 6, *inner)).astype("float32")
    mask = (rng.random((3, 6)) < 0.5).astype("float32")
    expected = tokens * mask.reshape(3, 6, *[1] * len(inner))
    np.testing.assert_array_equal(ApplyMask()(tokens, mask > 0), expected)
    check_layer(
        lambda: ApplyMask(name="apply"),
        lambda layer, x: layer(x["tokens"], x["mask"] > 0),
        inputs={"tokens": tokens, "mask": mask},
        num_weights=0,
        output_shape=tokens.shape,
        shapes={"tokens": (None, *inner), "mask": (None,)},
        formats=(),
        folder=tmp_path,
    )


def test_masked_pooling(tmp_path):
    rng = np.random.default_rng(0)
    tokens = rng.random((3, 6, 4)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0, 0], [0] * 6, [1] * 6], "float32")
    expected = np.zeros((3, 8))
    for row in (0, 2):
        kept = tokens[row][mask[row] > 0].astype("float64")
        expected[row] = np.concatenate([kept.mean(0), kept.max(0)])
    np.testing.assert_allclose(MaskedPooling()(tokens, mask > 0), expected, rtol=1e-5)
    check_layer(
        lambda: MaskedPooling(name="pooling"),
        lambda layer, x: layer(x["tokens"], x["mask"] > 0),
        inputs={"tokens": tokens, "mask": mask},
        num_weights=0,
        output_shape=(3, 8),
        shapes={"tokens": (None, 4), "mask": (None,)},
        formats=(),
        folder=tmp_path,
    )


def test_all_true(tmp_path):
    tokens = np.zeros((3, 6, 4), "float32")
    assert AllTrue()(tokens).numpy().all()
    check_layer(
        lambda: AllTrue(name="mask"),
        lambda layer, x: layer(x["tokens"]),
        inputs={"tokens": tokens},
        num_weights=0,
        output_shape=(3, 6),
        formats=(),
        folder=tmp_path,
    )


def test_without_the_pooled_vector_every_weight_is_trained():
    """As in the README's model, which reads tokens alone: Keras warned of weights that nothing
    trains."""
    inputs = [
        keras.Input((8, 8, 3), dtype="uint8", name="image"),
        keras.Input((None,), dtype="uint8", name="text"),
    ]
    builders = (encoders.image, encoders.text)
    encoded = [
        build(units=4, pooled=False)(tensor) for build, tensor in zip(builders, inputs, strict=True)
    ]
    assert all(set(each) == {"tokens", "mask"} for each in encoded)
    fused = fusion.InteractiveAttention(4)(
        *({"image": encoded[0][key], "text": encoded[1][key]} for key in ("tokens", "mask"))
    )
    model = keras.Model(inputs, keras.layers.Dense(2)(fused))
    model.compile(optimizer="sgd", loss="mse")
    rng = np.random.default_rng(0)
    values = [rng.integers(1, 255, shape).astype("uint8") for shape in ((4, 8, 8, 3), (4, 9))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(values, np.ones((4, 2)), verbose=0)
    assert not [w for w in caught if "Gradients do not exist" in str(w.message)]
