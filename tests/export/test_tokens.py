"""Models that take strings: exported with token ids where a format has no strings."""

import dataclasses
import importlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.export import ParityError, export_bundle, to_onnx, verify_bundle
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.tokenizers import Tokenizer, split_tokenizers, uncut_strings

WORDS = ["apple", "pear", "plum", "cherry", "kiwi", "りんご"]


class Words(layers.Layer):
    """Words of a text to ids, zero padded; as a dict with their mask if `masked`."""

    supports_jit = False

    def __init__(self, masked=False, **kwargs):
        super().__init__(**kwargs)
        self.masked = masked
        self.lookup = layers.StringLookup(vocabulary=WORDS, num_oov_indices=1)

    def call(self, text):
        ids = self.lookup(tf.strings.split(text).to_tensor("[none]"))
        ids = tf.where(ids < 0, 0, tf.cast(ids, "int32"))
        return {"ids": ids, "used": tf.cast(ids > 0, "int32")} if self.masked else ids

    def compute_output_spec(self, text):
        ids = keras.KerasTensor((text.shape[0], None), dtype="int32")
        return {"ids": ids, "used": ids} if self.masked else ids


@keras.saving.register_keras_serializable("test")
class Mean(layers.Layer):
    def call(self, x, used):
        used = keras.ops.expand_dims(keras.ops.cast(used, x.dtype), -1)
        return keras.ops.sum(x * used, 1) / keras.ops.maximum(keras.ops.sum(used, 1), 1.0)

    def compute_output_spec(self, x, used):
        return keras.KerasTensor((x.shape[0], x.shape[2]))


def build(masked=False, nested=False):
    keras.utils.set_random_seed(3)
    text = keras.Input((), dtype="string", name="text")
    number = keras.Input((3,), name="number")
    made = Words(masked, name="words")(text)
    ids, used = (made["ids"], made["used"]) if masked else (made, made > 0)
    mean = Mean(name="mean")(layers.Embedding(8, 5, name="embedding")(ids), used)
    if nested:
        encoder = keras.Model(text, {"pooled": mean, "ids": ids}, name="text_encoder")
        text = keras.Input((), dtype="string", name="text")
        mean = encoder(text)["pooled"]
    x = layers.Concatenate(name="joined")([mean, number])
    probability = layers.Dense(4, activation="softmax", name="probability")(x)
    return keras.Model({"text": text, "number": number}, {"probability": probability})


def texts(count=24):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice([*WORDS, "quince"], k)) for k in rng.integers(1, 6, count)]


def samples(count=24):
    from mmzoo.data import encode_text

    numbers = np.random.default_rng(1).standard_normal((count, 3)).astype("float32")
    return Samples({"text": encode_text(texts(count)), "number": numbers})


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_cut_model_and_its_tokenizer_are_the_model(masked, nested):
    model = build(masked, nested)
    portable, [tokenizer] = split_tokenizers(model)
    strings, number = tf.constant(texts()), tf.constant(samples().inputs["number"])
    ids = tokenizer.ids(strings)
    names = ("text_ids", "text_used") if masked else ("text",)
    assert tuple(ids) == tokenizer.names == names
    assert {t.name for t in portable.inputs} == {*names, "number"}
    assert [id(w) for w in portable.weights] == [id(w) for w in model.weights]
    expected = model({"text": strings, "number": number})["probability"]
    answer = portable({**ids, "number": number})["probability"]
    np.testing.assert_array_equal(answer, expected)
    assert np.ptp(expected, axis=0).min() > 1e-3  # the texts matter


def test_a_model_without_strings_is_left_alone():
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Dense(2)(x))
    assert split_tokenizers(model) == (model, [])


def test_what_is_no_token_id_is_not_cut_off():
    text = keras.Input((), dtype="string", name="text")
    vector = layers.Lambda(
        lambda t: tf.zeros([tf.shape(t)[0], 3]), output_shape=(3,), name="whole_module"
    )(text)
    model = keras.Model(text, vector)
    assert split_tokenizers(model) == (model, [])
    match = r"Layer 'whole_module' makes float32 of shape \(None, 3\) of it, not token ids"
    assert re.search(match, uncut_strings(model)["text"])


def test_every_format_is_proven_and_answers_texts(tmp_path):
    model = build(masked=True, nested=True)
    bundle = export_bundle(model, tmp_path / "bundle", samples=samples())
    manifest = bundle.manifest
    assert bundle.certificate["holds"]
    assert "signature `tokenize`" in (bundle.path / "MODEL_CARD.md").read_text()
    described = {t["name"]: (t["dtype"], t.get("tokens_of")) for t in manifest["inputs"]}
    assert described == {
        "text_ids": ("int32", "text"), "text_used": ("int32", "text"), "number": ("float32", None),
    }  # fmt: skip
    served = manifest["formats"]["saved_model"]["signatures"]["serving_default"]["inputs"]
    assert {t["name"]: t["dtype"] for t in served} == {"text": "string", "number": "float32"}
    assert set(manifest["formats"]["tflite"]["signatures"]) == {"portable"}
    # Each signature was run, on strings only at the size that the texts have.
    checks = bundle.certificate["formats"]["saved_model"]["checks"]
    sizes = {name: {c["sizes"] for c in checks if c["signature"] == name} for name in
             ("serving_default", "portable")}  # fmt: skip
    assert sizes == {
        "serving_default": {"samples", "probes"},
        "portable": {"samples", "short", "long", "probes"},
    }
    saved = bundle.path / "saved_model" / "1"
    strings = np.array([text.encode() for text in texts()])
    ids = run_artifact("saved_model", saved, {"text": strings}, [(24, 24)], signature="tokenize")
    expected = split_tokenizers(model)[1][0].ids(tf.constant(texts()))
    for name, value in ids.outputs[0].items():
        np.testing.assert_array_equal(value, expected[name])
    assert verify_bundle(bundle.path).certificate["holds"]


def test_texts_are_tokenised_and_predict_takes_a_phrase(tmp_path):
    text = keras.Input((), dtype="string", name="text")
    ids = Words(name="words")(text)
    mean = Mean(name="mean")(layers.Embedding(8, 5, name="embedding")(ids), ids > 0)
    probability = layers.Dense(128, activation="softmax", name="probability")(mean)
    model = keras.Model({"text": text}, {"probability": probability})
    given = {"samples": Samples({"text": np.array(texts())})}
    bundle = export_bundle(model, tmp_path / "bundle", formats=("saved_model", "onnx"), **given)
    assert verify_bundle(bundle.path).certificate["holds"]
    expected = model({"text": tf.constant(["apple pear"])})["probability"].numpy()[0]
    for name in ("saved_model", "onnx"):
        best = predict_sample(bundle.path, name, {"text": "apple pear"}, top=1)["probability"][0]
        assert best["class"] == str(expected.argmax())
        assert best["score"] == pytest.approx(expected.max(), rel=1e-5)
    only = export_bundle(model, tmp_path / "only", formats=("onnx",), **given)
    with pytest.raises(ValueError, match="Expected a bundle with a SavedModel, whose signature"):
        predict_sample(only.path, "onnx", {"text": "apple"})


def test_a_model_of_texts_needs_samples(tmp_path):
    with pytest.raises(ValueError, match="'text' takes texts. Pass `samples`"):
        to_onnx(build(), tmp_path / "model.onnx")


def test_inputs_of_a_nested_model_are_matched_by_name():
    """Keras orders a dict by the names of a list model's inputs; so does the cut."""
    text = keras.Input((), dtype="string", name="a")
    z, b = (keras.Input((2,), name=name) for name in ("z", "b"))
    ids = Words(name="words")(text)
    mean = Mean(name="mean")(layers.Embedding(8, 2, name="embedding")(ids), ids > 0)
    inner = keras.Model([text, z, b], layers.Concatenate(name="c")([mean, 10 * z, b]), name="inner")
    given = {n: keras.Input((2,), name=n) for n in ("z", "b")}
    given["a"] = keras.Input((), dtype="string", name="a")
    model = keras.Model(given, inner(given))
    portable, [tokenizer] = split_tokenizers(model)
    values = {"z": np.ones((3, 2), "float32"), "b": 2 * np.ones((3, 2), "float32")}
    words = tf.constant(["apple", "pear plum", "kiwi"])
    expected = model({**{n: tf.constant(v) for n, v in values.items()}, "a": words})
    np.testing.assert_array_equal(
        portable({**{n: tf.constant(v) for n, v in values.items()}, **tokenizer.ids(words)}),
        expected,
    )


def test_a_wrong_tokenizer_in_the_artifact_does_not_pass(tmp_path, monkeypatch):
    ids = Tokenizer.ids
    monkeypatch.setattr(
        Tokenizer, "ids", lambda self, x: {n: v % 3 for n, v in ids(self, x).items()}
    )
    with pytest.raises(ParityError, match="tflite, output 'probability'"):
        export_bundle(build(), tmp_path / "bundle", formats=("tflite",), samples=samples())


def test_the_signature_tokenize_is_proven(tmp_path, monkeypatch):
    module = importlib.import_module("mmzoo.export.convert.saved_model_writer")
    write = module._tokenize

    def wrong(tokenizers):
        right = write(tokenizers)
        function = tf.function(lambda text: {n: v + 1 for n, v in right(text=text).items()})
        return function.get_concrete_function(text=tf.TensorSpec([None], tf.string, "text"))

    monkeypatch.setattr(module, "_tokenize", wrong)
    with pytest.raises(ParityError, match="tokenize: other token ids 'text'"):
        export_bundle(build(), tmp_path / "bundle", formats=("saved_model",), samples=samples())


def test_ids_are_not_believed():
    _, tokenizers = split_tokenizers(build())
    right = samples().with_ids(tokenizers)
    stale = dataclasses.replace(right, inputs={**right.inputs, "text": 0 * right.inputs["text"]})
    again = stale.with_ids(tokenizers)
    np.testing.assert_array_equal(again.inputs["text"], right.inputs["text"])
    assert again.inputs["text"].max() > 0
    with pytest.raises(ValueError, match="'text' takes texts, as strings"):
        dataclasses.replace(right, texts={}).with_ids(tokenizers)


def test_a_tolerance_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`tolerance` must be at most 0.001.*tolerance=1"):
        export_bundle(build(), tmp_path / "bundle", samples=samples(), tolerance=1)


def test_predict_wants_a_certificate_that_holds(tmp_path):
    bundle = export_bundle(
        build(), tmp_path / "bundle", formats=("saved_model",), samples=samples()
    )
    path = bundle.path / "manifest.json"
    path.write_text(path.read_text().replace('"version": "1"', '"version": "2"'))
    with pytest.raises(ValueError, match="whose certificate holds for its manifest"):
        predict_sample(bundle.path, "saved_model", {"text": "apple", "number": "1"})
