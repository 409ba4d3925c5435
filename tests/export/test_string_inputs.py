"""Strings that become no token ids: a SavedModel carries them, the other formats say why not."""

import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from PIL import Image

from mmzoo.export import export_bundle, to_onnx, to_saved_model, to_tflite, verify_bundle
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.tokenizers import split_tokenizers, uncut_strings

WORDS = ["red", "green", "blue"]
TEXTS = np.array(["red", "green blue", "blue", "pink", "grün"] * 4)


@keras.saving.register_keras_serializable("test")
class DecodeJpeg(layers.Layer):
    """JPEG files to pictures of 8 x 8, as floats in [0, 1] or as bytes."""

    def __init__(self, dtype_given="float32", **kwargs):
        super().__init__(**kwargs)
        self.dtype_given = dtype_given

    def call(self, files):
        def decode(file):
            return tf.ensure_shape(tf.io.decode_jpeg(file, channels=3), (8, 8, 3))

        pictures = tf.map_fn(decode, files, fn_output_signature=tf.uint8)
        return pictures if self.dtype_given == "uint8" else tf.cast(pictures, tf.float32) / 255

    def compute_output_spec(self, files):
        return keras.KerasTensor((files.shape[0], 8, 8, 3), dtype=self.dtype_given)


def jpegs(count=20):
    files = []
    for k in range(count):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 9 * k, "uint8")).save(file, "JPEG")
        files.append(file.getvalue())
    return np.array(files, "S")


def colour(mode="one_hot", name="lookup"):
    return layers.StringLookup(vocabulary=WORDS, output_mode=mode, name=name)


def all_kinds():
    """A category, a list of categories, a text by TF-IDF, a hash and a JPEG file."""
    category = keras.Input((1,), dtype="string", name="category")
    tags = keras.Input((4,), dtype="string", name="tags")
    text = keras.Input((1,), dtype="string", name="text")
    word = keras.Input((1,), dtype="string", name="word")
    photo = keras.Input((), dtype="string", name="photo")
    tfidf = layers.TextVectorization(output_mode="tf_idf", name="tfidf")
    tfidf.adapt(TEXTS)
    parts = [
        colour()(category),
        colour("multi_hot", "tags_lookup")(tags),
        ops.reshape(tfidf(text), (-1, tfidf.vocabulary_size())),
        layers.Hashing(5, output_mode="one_hot", name="hash")(word),
        layers.Flatten()(DecodeJpeg(name="decode")(photo)),
    ]
    y = layers.Dense(2, name="y")(layers.Concatenate()(parts))
    return keras.Model([category, tags, text, word, photo], {"y": y}, name="strings")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    given = {
        "category": TEXTS[:, None], "tags": np.stack([TEXTS, *[TEXTS[::-1]] * 3], 1),
        "text": TEXTS, "word": np.char.encode(TEXTS, "utf-8"), "photo": jpegs(),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("strings")
    np.savez(folder / "samples.npz", **given)
    from mmzoo.export.samples.files import load_samples

    samples = load_samples(folder / "samples.npz")
    return export_bundle(all_kinds(), folder / "b", formats=("saved_model",), samples=samples)


def test_a_saved_model_carries_strings_of_every_kind(bundle):
    inputs = {t["name"]: (t["dtype"], t["shape"]) for t in bundle.manifest["inputs"]}
    assert inputs["category"] == ("string", [None, 1])
    assert inputs["tags"] == ("string", [None, 4])
    assert inputs["photo"] == ("string", [None])
    entry = bundle.certificate["formats"]["saved_model"]
    assert entry["holds"] and len(entry["checks"]) >= 3
    signatures = bundle.manifest["formats"]["saved_model"]["signatures"]
    assert "tokenize" not in signatures
    assert signatures["serving_default"] == signatures["portable"]


def test_its_bundle_verifies(bundle):
    assert verify_bundle(bundle.path).certificate["holds"]


@pytest.mark.parametrize("write", [to_tflite, to_onnx])
def test_the_other_formats_refuse_them_with_the_reason_before_conversion(tmp_path, write):
    word = keras.Input((), dtype="string", name="word")
    model = keras.Model(word, layers.Dense(2)(colour()(word)))
    match = (
        "carries no strings, and the model's input 'word' is one. Layer 'lookup' makes float32 of "
        r"shape \(None, 4\) of it, not token ids. .*--formats saved_model"
    )
    with pytest.raises(ValueError, match=match):
        write(model, tmp_path / "model", samples=Samples({"word": TEXTS}))
    assert list(tmp_path.iterdir()) == []


def test_the_shape_is_that_of_tensorflow_where_keras_says_another(tmp_path):
    """Keras says (batch, 1, words) of TF-IDF of (batch, 1), and gives (batch, words)."""
    text = keras.Input((1,), dtype="string", name="text")
    tfidf = layers.TextVectorization(output_mode="tf_idf")
    tfidf.adapt(TEXTS)
    model = keras.Model(text, {"y": layers.Dense(2)(tfidf(text))})
    to_saved_model(model, tmp_path / "model", samples=Samples({"text": TEXTS}))


def joined():
    a, b = (keras.Input((), dtype="string", name=name) for name in "ab")
    join = layers.Lambda(
        lambda x: tf.strings.length(tf.strings.join(x))[:, None], output_shape=(1,), dtype="int32",
        name="join",
    )  # fmt: skip
    return keras.Model([a, b], layers.Dense(1)(ops.cast(join([a, b]), "float32")))


def twice():
    a = keras.Input((), dtype="string", name="a")
    ids = [layers.Hashing(9)(a), layers.StringLookup(vocabulary=WORDS)(a)]
    table = layers.Embedding(9, 3)
    return keras.Model(a, table(ids[0]) + table(ids[1]))


def shown():
    a, x = keras.Input((), dtype="string", name="a"), keras.Input((2,), name="x")
    return keras.Model([a, x], {"a": layers.Identity()(a), "y": layers.Dense(1)(x)})


def bytes_of_pictures():
    a = keras.Input((), dtype="string", name="a")
    pixels = DecodeJpeg("uint8", name="decode")(a)
    return keras.Model(a, layers.Flatten()(layers.Rescaling(1 / 255)(pixels)))


@pytest.mark.parametrize(
    "build, match",
    [
        (joined, "reads it together with others"),
        (twice, "Its token ids would be called 'a'"),
        (shown, "gives strings of it as an output"),
        (bytes_of_pictures, r"makes uint8 of shape \(None, 8, 8, 3\) of it"),
    ],
)
def test_what_is_cut_off_is_token_ids_alone(build, match):
    model = build()
    assert split_tokenizers(model) == (model, [])
    assert re.search(match, uncut_strings(model)["a"])


def test_a_lookup_to_ids_still_becomes_token_ids_where_another_string_stays():
    a, b = (keras.Input((1,), dtype="string", name=name) for name in "ab")
    ids = layers.Flatten()(layers.Embedding(5, 3)(layers.StringLookup(vocabulary=WORDS)(a)))
    y = layers.Dense(2)(layers.Concatenate()([ids, colour()(b)]))
    model, tokenizers = split_tokenizers(keras.Model([a, b], y))
    assert {t.name: t.dtype for t in model.inputs} == {"a": "int64", "b": "string"}
    assert [each.source for each in tokenizers] == ["a"]


def test_strings_that_come_out_are_refused(tmp_path):
    ids = keras.Input((), dtype="int64", name="ids")
    names = layers.StringLookup(vocabulary=WORDS, invert=True)(ids)
    samples = Samples({"ids": np.arange(20) % 4})
    with pytest.raises(ValueError, match="output 'name' of dtype string. Give the number of a"):
        to_saved_model(keras.Model(ids, {"name": names}), tmp_path / "model", samples=samples)


def test_samples_of_strings_are_asked_for(tmp_path):
    word = keras.Input((), dtype="string", name="word")
    model = keras.Model(word, layers.Dense(2)(colour()(word)))
    with pytest.raises(ValueError, match="'word' takes texts. Pass `samples`"):
        to_saved_model(model, tmp_path / "model")


def test_texts_of_a_tokenizer_may_come_as_strings():
    word = keras.Input((), dtype="string", name="word")
    ids = layers.StringLookup(vocabulary=WORDS)(word)
    _, tokenizers = split_tokenizers(keras.Model(word, layers.Embedding(5, 3)(ids)))
    for texts in (TEXTS, np.char.encode(TEXTS, "utf-8"), TEXTS[:, None], TEXTS.astype(object)):
        made = Samples({"word": texts}).with_ids(tokenizers)
        assert made.inputs["word"].tolist() == [1, 0, 3, 0, 0] * 4
        assert made.strings()["word"][4] == "grün".encode()


def test_a_text_of_fixed_length_is_padded_to_it_where_all_are_shorter(tmp_path):
    text = keras.Input((6,), dtype="uint8", name="text")
    y = layers.Dense(2, name="y")(layers.Rescaling(1 / 255)(text))
    model = keras.Model(text, {"y": y})
    path = to_saved_model(model, tmp_path / "model")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    padded = np.zeros((2, 6), "uint8")
    padded[0, :2] = list(b"ab")
    found = serve(text=tf.constant(["ab", ""]))["y"]
    np.testing.assert_allclose(found, model(padded)["y"], rtol=1e-5)


def test_a_model_of_one_string_has_a_probe_row_and_a_sample(tmp_path):
    """An empty text alone is a row that Keras answers NaN to, as of a mean over no words."""
    word = keras.Input((), dtype="string", name="word")
    length = layers.Lambda(
        lambda x: 1 / tf.cast(tf.strings.length(x), "float32")[:, None], output_shape=(1,),
        dtype="float32", name="inverse_length",
    )(word)  # fmt: skip
    model = keras.Model(word, {"y": layers.Dense(2, name="y")(length)})
    to_saved_model(model, tmp_path / "model", samples=Samples({"word": TEXTS}))
