"""Encoders of TF-Hub modules: what reaches the module, and what of it comes back.

The modules here hand back what they were given, so that preprocessing is checked by its numbers.
"""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub import modules
from hub.modules import function_module

from mmzoo import encoders
from mmzoo.export.testing.layer_checks import assert_near, check_gradients, check_parity
from mmzoo.hub import Contract, Input, Outputs, catalogue, publish
from mmzoo.hub.towers import tower_contract

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype="uint8")
HALVED = PICTURES.reshape(2, 4, 2, 6, 2, 3).mean((2, 4))  # what bilinear resizing to 4 x 6 is
SENTENCES = np.array(["how are you", "red apple"], object)
WAVES = np.random.default_rng(1).uniform(-1, 1, (2, 16_000)).astype("float32")
TEXT = Contract("text", Input("string", "string"), Outputs(512), True)
EVERYTHING = Outputs(3, "pooled", "tokens", "mask")


def carrying(folder, contract):
    """The folder, with the contract in it."""
    path = folder / "assets.extra" / "module.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(contract.to_json(), encoding="utf-8")
    return folder


def encode(model, inputs):
    return {name: np.asarray(value) for name, value in model(inputs).items()}


def pixels(folder, dtype="float32"):
    """Pictures to tokens that are their pixels, and their mean."""

    def call(x):
        x = tf.cast(x, "float32")
        flat = tf.reshape(x, [tf.shape(x)[0], -1, 3])
        return {"tokens": flat, "pooled": tf.reduce_mean(flat, 1)}

    return function_module(folder, call, tf.TensorSpec([None, None, None, 3], dtype))


def rows(folder, width=3, dtype="float32"):
    """Numbers `(N, time)` to tokens `(N, time / width, width)`, mask 0 or 1, and mean."""

    def call(x):
        x = tf.cast(x, "float32")
        tokens = tf.reshape(x, [tf.shape(x)[0], -1, width])
        mask = tf.cast(tf.reduce_any(tokens != 0, -1), "int32")
        return {"tokens": tokens, "mask": mask, "pooled": tf.reduce_sum(tokens, 1)}

    return function_module(folder, call, tf.TensorSpec([None, None], dtype))


# Pictures.


@pytest.mark.parametrize(
    "takes, expected",
    [
        ({"value_range": (0.0, 1.0)}, HALVED / 255),
        ({"value_range": (-1.0, 1.0)}, HALVED / 127.5 - 1),
        (
            {"value_range": (0.0, 1.0), "mean": (0.485, 0.456, 0.406), "std": (0.2, 0.3, 0.4)},
            (HALVED / 255 - [0.485, 0.456, 0.406]) / [0.2, 0.3, 0.4],
        ),
        ({"value_range": (0.0, 1.0), "mean": (0.5,), "std": (0.25,)}, (HALVED / 255 - 0.5) / 0.25),
        ({"value_range": (0.0, 255.0), "std": (2.0,)}, HALVED / 2),
        ({"mean": (127.0, 128.0, 129.0)}, HALVED - [127, 128, 129]),
        ({}, HALVED),
    ],
)  # fmt: skip
def test_pictures_come_in_the_size_and_range_of_the_contract(caches, takes, expected):
    takes = Input("image", "float32", size=(4, 6), **takes)
    contract = Contract("image", takes, Outputs(3, "pooled", "tokens"), False)
    handle = carrying(pixels(caches / "m"), contract)
    model = encoders.image(handle)
    assert model.inputs[0].dtype == "uint8" and model.inputs[0].shape == (None, None, None, 3)
    found = encode(model, PICTURES)
    assert_near(found["tokens"], expected.reshape(2, 24, 3).astype("float32"), 2e-6)
    assert_near(found["pooled"], expected.mean((1, 2)).astype("float32"), 2e-6)
    assert found["mask"].dtype == bool and found["mask"].shape == (2, 24) and found["mask"].all()


def test_pictures_of_any_size_as_they_are(caches):
    takes = Input("image", "uint8", value_range=(0.0, 255.0))
    contract = Contract("image", takes, Outputs(3, "pooled", "tokens"), False)
    model = encoders.image(pixels(caches / "m", "uint8"), contract=contract, name="eyes")
    assert model.name == "eyes"
    for pictures in (PICTURES, PICTURES[:1, :5, :7]):
        found = encode(model, pictures)
        np.testing.assert_array_equal(found["tokens"], pictures.reshape(len(pictures), -1, 3))


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_uint8_pictures_of_one_size_are_rounded_and_convert(caches, format):
    picture = keras.Input((4, 6, 3), dtype="uint8", name="image")
    tokens = keras.layers.Reshape((24, 3), name="pixels")(
        keras.layers.Rescaling(1.0, name="as_float")(picture)
    )
    pooled = keras.layers.GlobalAveragePooling1D(name="mean")(tokens)
    tower = keras.Model(picture, {"tokens": tokens, "pooled": pooled})
    publish(tower, caches / "m", contract=tower_contract(tower))
    model = encoders.image(caches / "m")
    found = encode(model, PICTURES)["tokens"]
    np.testing.assert_array_equal(found, np.floor(HALVED + 0.5).reshape(2, 24, 3))
    check_parity(model, {"image": PICTURES[[0, 1, 0]]}, format, caches)


def test_a_handle_of_tfhub_has_the_catalogues_contract(caches):
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
    folder = caches / "TFHUB_CACHE_DIR" / hashlib.sha1(handle.encode()).hexdigest()
    folder.parent.mkdir()
    module = tf.saved_model.load(str(modules.image(folder)))
    assert catalogue.find(handle).contract.input.size == (224, 224)
    large = PICTURES.repeat(7, 1).repeat(7, 2)
    found = encode(encoders.image(handle.removeprefix("https://")), large)
    expected = module(tf.image.resize(large / np.float32(255), (224, 224)))
    assert_near(found["pooled"], expected, 1e-5)
    np.testing.assert_array_equal(found["tokens"], found["pooled"][:, None])
    assert found["mask"].shape == (2, 1) and found["mask"].all()


# Texts.


def test_strings(caches):
    handle = carrying(modules.sentence_encoder(caches / "m"), TEXT)
    model = encoders.text(handle)
    assert model.inputs[0].dtype == "string" and model.inputs[0].shape == (None,)
    found = encode(model, tf.constant(SENTENCES))
    np.testing.assert_allclose(
        found["pooled"],
        tf.saved_model.load(str(handle))(tf.constant(SENTENCES)),
        rtol=1e-5,
        atol=1e-6,
    )
    assert found["tokens"].shape == (2, 1, 512)


def test_bytes_and_a_mask_of_ints(caches):
    handle = rows(caches / "m", dtype="uint8")
    contract = Contract("text", Input("bytes", "uint8"), EVERYTHING, False)
    texts = np.array([list(b"abcdef"), [*b"xyz", 0, 0, 0]], "uint8")
    found = encode(encoders.text(handle, contract=contract), texts)
    np.testing.assert_array_equal(found["tokens"], texts.reshape(2, 2, 3))
    np.testing.assert_array_equal(found["mask"], [[True, True], [True, False]])
    assert found["mask"].dtype == bool
    np.testing.assert_array_equal(found["pooled"], texts.reshape(2, 2, 3).sum(1))


@pytest.fixture
def bert(caches):
    before = modules.bert_preprocessor(caches / "before")
    takes = Input("token_ids", "int32", preprocessor=str(before), max_length=512)
    outputs = Outputs(6, "pooled_output", "sequence_output")
    contract = Contract("text", takes, outputs, True)
    return before, carrying(modules.bert_encoder(caches / "bert"), contract)


def test_strings_pass_through_the_preprocessor(bert):
    before, after = (tf.saved_model.load(str(folder)) for folder in bert)
    expected = after(before(tf.constant(SENTENCES)))
    found = encode(encoders.text(bert[1]), tf.constant(SENTENCES))
    assert_near(found["pooled"], expected["pooled_output"], 1e-5)
    assert_near(found["tokens"], expected["sequence_output"], 1e-5)
    assert encoders.text(bert[1]).get_layer("preprocessor").handle == str(bert[0])
    assert found["mask"].all()  # nothing says which are padding


def test_the_mask_of_the_preprocessor_is_that_of_the_tokens(bert):
    before = Contract("text", TEXT.input, Outputs(0, None, "input_word_ids", "input_mask"), False)
    carrying(bert[0], before)
    found = encode(encoders.text(bert[1]), tf.constant(SENTENCES))
    np.testing.assert_array_equal(found["mask"].sum(1), [4, 3])  # [CLS] and the words
    assert found["mask"].shape == found["tokens"].shape[:2]


def ids_pair(folder):
    """A tokenizer of bytes, and a module that takes its ids."""

    def tokens(sentences):
        return tf.cast(tf.io.decode_raw(sentences, tf.uint8, fixed_length=12), "int32")

    before = function_module(folder / "before", tokens, tf.TensorSpec([None], tf.string))
    takes = Input("token_ids", "int32", preprocessor=str(before))
    contract = Contract("text", takes, EVERYTHING, False)
    return carrying(rows(folder / "after", dtype="int32"), contract)


def test_token_ids_come_from_a_tokenizer_of_its_own(caches):
    handle = ids_pair(caches)
    model = encoders.text(handle, tokenized=True)
    assert model.inputs[0].dtype == "int32" and model.inputs[0].shape == (None, None)
    tokenizer = encoders.tokenizer(handle)
    assert tokenizer.name == "tokenizer"
    ids = tokenizer(tf.constant(SENTENCES))
    padded = [list(text.encode()[:12].ljust(12, b"\0")) for text in SENTENCES]
    np.testing.assert_array_equal(ids, padded)
    found, whole = encode(model, ids), encode(encoders.text(handle), tf.constant(SENTENCES))
    np.testing.assert_array_equal(found["tokens"], np.reshape(padded, (2, 4, 3)))
    for name in found:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-5, atol=1e-6)


# Waveforms.


def sound(outputs=EVERYTHING, **takes):
    return Contract("audio", Input("waveform", "float32", sample_rate=16_000, **takes), outputs,
                    False)  # fmt: skip


@pytest.mark.parametrize("value_range, scale", [((-1, 1), 1), (None, 1), ((-32768, 32768), 32768)])
def test_waveforms_come_in_the_range_of_the_contract(caches, value_range, scale):
    handle = carrying(rows(caches / "m", width=100), sound(value_range=value_range))
    model = encoders.audio(handle)
    assert model.inputs[0].dtype == "float32" and model.inputs[0].shape == (None, None)
    waves = WAVES.copy()
    waves[0, 100:] = 0
    found = encode(model, waves)
    np.testing.assert_allclose(
        found["tokens"], scale * waves.reshape(2, 160, 100), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(found["mask"].sum(1), [1, 160])


@pytest.mark.parametrize("seconds", [None, 1])
def test_a_module_of_one_waveform_runs_over_a_batch(caches, seconds):
    handle = modules.yamnet(caches / "m")
    contract = sound(Outputs(1024, None, tokens=1), batched=False, value_range=(-1, 1))
    model = encoders.audio(handle, contract=contract, seconds=seconds)
    assert model.inputs[0].shape == (None, seconds and 16_000)
    found = encode(model, WAVES)
    module = tf.saved_model.load(str(handle))
    for k, wave in enumerate(WAVES):
        assert_near(found["tokens"][k], module(wave)[1], 1e-5)
    assert_near(found["pooled"], found["tokens"].mean(1), 1e-5)
    assert found["mask"].all() and found["mask"].shape == found["tokens"].shape[:2]


# What comes back.


def test_without_a_pooled_vector_it_is_the_mean_of_the_tokens_that_the_mask_keeps(caches):
    contract = Contract("text", Input("bytes", "uint8"), Outputs(3, None, "tokens", "mask"), False)
    model = encoders.text(rows(caches / "m", dtype="uint8"), contract=contract)
    texts = np.array([[1, 2, 3, 5, 6, 7], [9, 9, 9, 0, 0, 0], [0] * 6], "uint8")
    found = encode(model, texts)["pooled"]
    np.testing.assert_allclose(found, [[3, 4, 5], [9, 9, 9], [0, 0, 0]])


def test_units_project_tokens_and_pooled(caches):
    contract = Contract("text", Input("bytes", "uint8"), EVERYTHING, False)
    model = encoders.text(rows(caches / "m", dtype="uint8"), contract=contract, units=5)
    rng = np.random.default_rng(0)
    kernels = {name: rng.standard_normal((3, 5), "float32") for name in ("tokens", "pooled")}
    for name, kernel in kernels.items():
        model.get_layer(name).kernel.assign(kernel)
    texts = np.array([list(b"abcdef"), [*b"xyz", 0, 0, 0]], "uint8")
    found, given = encode(model, texts), texts.reshape(2, 2, 3).astype("float32")
    assert_near(found["tokens"], np.maximum(given @ kernels["tokens"], 0), 1e-5)
    assert_near(found["pooled"], given.sum(1) @ kernels["pooled"], 1e-5)
    assert not (found["pooled"] >= 0).all(), "the pooled vector has no activation"


def test_trainable_or_not(caches):
    contract = Contract("image", Input("image", "float32", value_range=(0, 1)), Outputs(6), True)
    handle = carrying(modules.image(caches / "m", dropout=0.0), contract)
    frozen = encoders.image(handle)
    assert frozen.trainable_weights == [] and len(frozen.weights) == 7
    model = encoders.image(handle, trainable=True)
    assert len(model.trainable_weights) == 5
    check_gradients(model.trainable_weights, lambda: model(PICTURES)["pooled"])
    assert model.get_layer("module").trainable


def test_a_published_encoder_is_an_encoder_again(caches):
    keras.utils.set_random_seed(1)
    tower = encoders.audio(units=4)
    publish(tower, caches / "m", contract=tower_contract(tower))
    found, expected = encode(encoders.audio(caches / "m"), WAVES), encode(tower, WAVES)
    for name in ("tokens", "mask", "pooled"):
        assert_near(found[name], expected[name], 1e-5)


def test_embedded_it_outlives_its_folders(caches):
    handle = ids_pair(caches)
    model = encoders.text(handle, embed=True)
    expected = encode(model, tf.constant(SENTENCES))
    model.save(caches / "model.keras")
    for name in ("before", "after"):
        (caches / name).rename(caches / f"gone_{name}")
    loaded = keras.models.load_model(caches / "model.keras", safe_mode=False)
    np.testing.assert_allclose(
        encode(loaded, tf.constant(SENTENCES))["tokens"],
        expected["tokens"],
        rtol=1e-5,
        atol=1e-6,
    )
