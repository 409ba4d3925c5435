"""`HideAbsent`: what is absent is zeros before anything reads it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.export.testing.layer_checks import check_layer, dtype_policy
from mmzoo.fusion.hide_absent import HideAbsent

DTYPES = ("bool", "uint8", "uint16", "int8", "int32", "int64", "float16", "float32", "float64")
SHAPES = [(), (2,), (2, 3), (2, 3, 2), (2, 1, 3, 2)]
NUMBERS = {
    "audio": np.random.default_rng(0).standard_normal((3, 5)).astype("float32"),
    "image": np.random.default_rng(1).integers(1, 256, (3, 2, 4, 3)).astype("uint8"),
    "text": np.random.default_rng(2).integers(1, 9000, (3, 4)).astype("int32"),
    "tokens": np.random.default_rng(3).standard_normal((3, 4, 2)).astype("float32"),
    "price": np.array([1.5, -2.0, 3.0], "float32"),
}
HERE = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
PRESENCE = {name: HERE[k] for k, name in enumerate(NUMBERS)}


def call_with_numbers(layer, inputs):
    names = [name for name in inputs if not name.endswith("_present")]
    presence = {name: inputs[f"{name}_present"] > 0 for name in names}
    return layer({name: inputs[name] for name in names}, presence)


def test_conformance(tmp_path):
    inputs = dict(NUMBERS)
    inputs |= {f"{name}_present": here.astype("float32") for name, here in PRESENCE.items()}
    check_layer(
        lambda: HideAbsent(name="hide"),
        call_with_numbers,
        inputs=inputs,
        num_weights=0,
        output_shape=[NUMBERS[name].shape for name in sorted(NUMBERS)],
        shapes={"audio": (None,), "image": (None, None, 3), "tokens": (None, 2)},
        policies=(),  # values keep their dtype under every policy, see below
        folder=tmp_path,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_present_as_it_is_absent_as_zeros(dtype, shape):
    values = np.random.default_rng(0).integers(1, 100, (4, *shape)).astype(dtype)
    here = np.array([True, False, False, True])
    output = HideAbsent()({"x": tf.constant(values)}, {"x": here})["x"]
    expected = np.array([v if p else np.zeros_like(v) for v, p in zip(values, here, strict=True)])
    assert output.dtype.name == dtype
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
def test_strings(shape):
    count = int(np.prod(shape)) * 3
    words = np.array([f"wörd {k}".encode() for k in range(count)], object).reshape(3, *shape)
    here = np.array([True, False, True])
    output = HideAbsent()({"text": tf.constant(words)}, {"text": here})["text"]
    assert output.dtype == tf.string
    np.testing.assert_array_equal(output[1], np.full(shape, b"", object))
    np.testing.assert_array_equal(output[::2], words[::2])


def test_strings_through_a_model():
    text = keras.Input((), dtype="string", name="text")
    here = keras.Input((), dtype="bool", name="here")
    hidden = HideAbsent()({"text": text}, {"text": here})
    assert hidden["text"].dtype == "string" and hidden["text"].shape == (None,)
    model = keras.Model({"text": text, "here": here}, hidden)
    output = model({"text": tf.constant(["a", "b"]), "here": tf.constant([False, True])})
    assert output["text"].numpy().tolist() == [b"", b"b"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_values_keep_their_dtype_and_bits_under_every_policy(policy):
    with dtype_policy(policy):
        output = HideAbsent()(NUMBERS, PRESENCE)
        symbols = {m: keras.Input(x.shape[1:], dtype=str(x.dtype)) for m, x in NUMBERS.items()}
        presence = {m: keras.Input((), dtype="bool") for m in NUMBERS}
        symbolic = HideAbsent()(symbols, presence)
    for name, value in NUMBERS.items():
        assert output[name].dtype.name == symbolic[name].dtype == str(value.dtype)
        here = PRESENCE[name]
        np.testing.assert_array_equal(output[name].numpy()[here], value[here])
        assert not output[name].numpy()[~here].any()


@pytest.mark.parametrize("content", [np.nan, np.inf, -np.inf, 3e38])
def test_nothing_absent_reaches_an_encoder_or_a_gradient(content):
    waveform = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    here = np.array([True, False, True, False])
    encoder = keras.layers.Dense(3, activation="tanh")
    encoder.build((None, 6))
    found = []
    for fill in (0.0, content):
        x = tf.constant(np.where(here[:, None], waveform, np.float32(fill)))
        with tf.GradientTape() as tape:
            tape.watch(x)
            hidden = HideAbsent()({"audio": x}, {"audio": here})["audio"]
            loss = tf.reduce_sum(encoder(hidden) ** 2)
        found.append([hidden, *tape.gradient(loss, [x, encoder.kernel.value])])
    for a, b in zip(*found, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    gradient = found[1][1].numpy()
    assert not gradient[~here].any() and gradient[here].all()


def test_the_order_of_the_dicts_means_nothing():
    output = HideAbsent()(NUMBERS, PRESENCE)
    turned = HideAbsent()(dict(reversed(NUMBERS.items())), PRESENCE)
    assert set(turned) == set(NUMBERS)
    for name in NUMBERS:
        np.testing.assert_array_equal(turned[name], output[name])


def test_modalities_error():
    match = r"`inputs` and `presence` of the same modalities. Received: \['text'\] and \['image'\]"
    with pytest.raises(ValueError, match=match):
        HideAbsent()({"text": np.zeros((2, 3))}, {"image": np.ones(2, bool)})
