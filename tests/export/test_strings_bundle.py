"""Bundles with files that take texts as strings, and what is refused."""

import importlib
import importlib.util
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from fuzzed_strings import fuzzed, with_nul
from keras import layers
from string_models import shows

from mmzoo import fusion
from mmzoo.encoders.blocks import MaskedSum
from mmzoo.export import ParityError, export_bundle, load_bundle, verify_bundle
from mmzoo.export.bench.runner import bench_bundle
from mmzoo.export.bundle.formats import ALL, FORMATS, PATHS, STRINGS
from mmzoo.export.convert import text_strings
from mmzoo.export.convert.text_strings import check_strings, unlike_in_extensions
from mmzoo.export.convert.text_strings_tflite import custom_operators
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.tokenizers import split_tokenizers
from mmzoo.pretrained.text_ids import SentencePieceIds


def build(trained=None):
    """Text and numbers, each of which may be absent."""
    keras.utils.set_random_seed(3)
    number = keras.Input((3,), name="number")
    if trained is None:
        text = ids = keras.Input((None,), dtype="uint8", name="text")
        used = ids > 0
        size = 256
    else:
        text = keras.Input((), dtype="string", name="text")
        ids = SentencePieceIds(trained, max_length=20, name="pieces")(text)
        used, size = ids > 0, 900
    embedded = layers.Embedding(size, 8, name="embedding")(ids)
    mean = MaskedSum(1.0, name="mean")(embedded, used)
    presence = fusion.presence_inputs(["text", "number"])
    fused = fusion.Concatenation(name="fusion")({"text": mean, "number": number}, presence=presence)
    probability = layers.Dense(4, "softmax", name="probability")(fused)
    given = {t.name: t for t in (text, number, *presence.values())}
    return keras.Model(given, {"probability": probability}, name="small")


def samples(count=40):
    from mmzoo.data import encode_text

    rng = np.random.default_rng(0)
    words = ["apple", "pear", "りんご", "çä", "kiwi", "aaa"]
    texts = [" ".join(rng.choice(words, k)) for k in rng.integers(1, 6, count)]
    numbers = rng.standard_normal((count, 3)).astype("float32")
    return Samples({"text": encode_text(texts), "number": numbers})


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_a_bundle_with_strings_is_proven_and_answers(trained, tmp_path, kind):
    model = build(trained if kind == "pieces" else None)
    bundle = export_bundle(
        model, tmp_path / "bundle", formats=(*FORMATS, *STRINGS), samples=samples()
    )
    entries = bundle.certificate["formats"]
    assert bundle.certificate["holds"] and set(entries) == {*FORMATS, *STRINGS}
    served = bundle.manifest["formats"]["saved_model"]["signatures"]["serving_default"]
    for name, package in STRINGS.items():
        entry = bundle.manifest["formats"][name]
        assert entry["signatures"] == {"portable": served}
        assert entry["operators"] == [package] and package in entries[name]["runtime"]
        sizes = {check["sizes"] for check in entries[name]["checks"]}
        assert {"samples", "subsets", "text", "number", "nothing"} <= sizes
        assert {check["batch"] for check in entries[name]["checks"]} >= {1, 3, 17}
        assert all(check["tolerance"] == 1e-5 for check in entries[name]["checks"])
        assert entries[name]["second_readers"] == []
    differs = {n: bundle.manifest["formats"][n]["differs"] for n in STRINGS}
    ties = [text_strings.TIE] if kind == "pieces" else []
    assert differs == {"onnx-strings": [text_strings.NUL, *ties], "tflite-strings": []}
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert "`tflite-strings` takes text as strings, by operators of tensorflow-text." in card
    assert all(f"- Not held to Keras' answer: {text}\n" in card for text in differs["onnx-strings"])
    assert verify_bundle(bundle.path).certificate["holds"]
    scores = {
        name: [
            p["score"]
            for p in predict_sample(bundle.path, name, {"text": "apple aaa"})["probability"]
        ]
        for name in ("saved_model", *STRINGS)
    }
    for name in STRINGS:
        np.testing.assert_allclose(scores[name], scores["saved_model"], rtol=1e-5)
    with pytest.raises(ValueError, match="`formats` must name artifacts"):
        bench_bundle(bundle.path, formats=["onnx-strings"])


def test_strings_need_neither_a_saved_model_nor_the_plain_file(trained, tmp_path):
    bundle = export_bundle(
        build(trained), tmp_path / "bundle", formats=tuple(STRINGS), samples=samples()
    )
    files = {file.name for file in bundle.path.iterdir() if file.is_dir()}
    assert files == set(STRINGS)
    for name in STRINGS:
        assert predict_sample(bundle.path, name, {"text": "apple"}, top=1)
    content = (bundle.path / PATHS["tflite-strings"]).read_bytes()
    found = {"TFText>FastSentencepieceTokenize", "RaggedTensorToTensor"}
    assert custom_operators(content) == found
    # The manifest can't promise a file of strings that needs nothing, or another package.
    path = bundle.path / "manifest.json"
    for operators in ([], ["tensorflow-text", "more"]):
        manifest = json.loads(path.read_text())
        manifest["formats"]["tflite-strings"]["operators"] = operators
        path.write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="'tflite-strings' needs the operators of"):
            load_bundle(bundle.path)
    manifest["formats"]["tflite-strings"]["operators"] = ["tensorflow-text"]
    plain = {side: manifest[side] for side in ("inputs", "outputs")}
    manifest["formats"]["onnx-strings"]["signatures"]["portable"] = plain
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="the signatures of 'onnx-strings' are not"):
        load_bundle(bundle.path)


def test_strings_are_not_among_all_formats():
    assert not set(STRINGS) & set(ALL) and set(STRINGS) < set(PATHS)


def test_wrong_operators_in_front_do_not_pass(trained, tmp_path, monkeypatch):
    onnx = importlib.import_module("mmzoo.export.convert.text_strings_onnx")
    tflite = importlib.import_module("mmzoo.export.convert.text_strings_tflite")

    def fails(model, name):
        with pytest.raises(ParityError, match=f"{name}.*probability"):
            export_bundle(model, tmp_path / "bundle", formats=(name,), samples=samples())
        assert not (tmp_path / "bundle").exists()

    with monkeypatch.context() as patch:
        wrong = onnx.BYTES_FRONT.replace("Sub (more, one)", "Identity (more)")
        patch.setattr(onnx, "BYTES_FRONT", wrong)
        fails(build(), "onnx-strings")
    with monkeypatch.context() as patch:
        wrong = onnx.PIECES_FRONT.replace("Add (length, one)", "Identity (length)")
        patch.setattr(onnx, "PIECES_FRONT", wrong)
        fails(build(trained), "onnx-strings")
    with monkeypatch.context() as patch:
        right = tflite._bytes_of
        patch.setattr(tflite, "_bytes_of", lambda text: right(text)[:, 1:])
        fails(build(), "tflite-strings")


# What is refused.


class Characters(layers.Layer):
    """Code points of a text."""

    supports_jit = False

    def call(self, text):
        return tf.strings.unicode_decode(text, "UTF-8").to_tensor(0)

    def compute_output_spec(self, text):
        return keras.KerasTensor((text.shape[0], None), dtype="int32")


class Lower(layers.Layer):
    supports_jit = False

    def call(self, text):
        return tf.strings.lower(text)

    def compute_output_spec(self, text):
        return keras.KerasTensor(text.shape, dtype="string")


def test_a_layer_before_the_tokenizer_is_refused(trained):
    def make(text):
        return SentencePieceIds(trained, name="pieces")(Lower(name="lower")(text))

    with pytest.raises(ValueError, match=r"'lower' \(Lower\).*it is no SentencePieceIds"):
        check_strings("onnx-strings", *split_tokenizers(shows(make)))


def test_a_tokenizer_that_no_operator_imitates_is_refused(tmp_path):
    model = shows(Characters(name="characters"))
    with pytest.raises(ValueError, match=r"'characters' \(Characters\).*it is no SentencePieceIds"):
        export_bundle(model, tmp_path / "b", formats=("onnx-strings",), samples=samples())
    with pytest.raises(ValueError, match=r"and of tensorflow-text.*UnicodeDecode.*characters"):
        export_bundle(model, tmp_path / "b", formats=("tflite-strings",), samples=samples())
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("spec", "values", "reason"),
    [
        ("trainer_spec", {"model_type": 2}, "not unigram"),
        ("trainer_spec", {"byte_fallback": True}, "falls back to bytes"),
        ("trainer_spec", {"treat_whitespace_as_suffix": True}, "as the end of a word"),
        ("normalizer_spec", {"add_dummy_prefix": False}, "no space in front"),
        ("normalizer_spec", {"name": "nfkc"}, "neither nmt_nfkc nor"),
    ],
)
def test_models_of_other_kinds_are_refused(trained, spec, values, reason):
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(trained)
    assert unlike_in_extensions(trained) == ""
    for name, value in values.items():
        setattr(getattr(proto, spec), name, value)
    assert reason in unlike_in_extensions(proto.SerializeToString())
    model = shows(SentencePieceIds(trained, name="pieces"))
    portable, [tokenizer] = split_tokenizers(model)
    tokenizer.model.get_layer("pieces")._model = proto.SerializeToString()
    match = f"'pieces' .SentencePieceIds. of the text 'text': its model.*{reason}"
    with pytest.raises(ValueError, match=match):
        check_strings("onnx-strings", portable, [tokenizer])


def test_models_without_text_or_of_free_outputs_are_refused(trained, tmp_path):
    x = keras.Input((3,), name="x")
    numbers = Samples({"x": np.ones((20, 3), "float32")})
    with pytest.raises(ValueError, match="Expected a model that takes text, for 'onnx-strings'"):
        export_bundle(
            keras.Model(x, layers.Dense(2)(x)), tmp_path / "b", formats=("onnx-strings",),
            samples=numbers,
        )  # fmt: skip
    assert not (tmp_path / "b").exists()
    text = keras.Input((), dtype="string", name="text")
    ids = SentencePieceIds(trained)(text)
    model = keras.Model(text, {"vectors": layers.Embedding(900, 2)(ids)})
    with pytest.raises(ValueError, match="Expected outputs of fixed size, for 'tflite-strings'"):
        check_strings("tflite-strings", *split_tokenizers(model))


@pytest.mark.parametrize("name", STRINGS)
def test_a_missing_package_is_named(monkeypatch, name):
    find = importlib.util.find_spec
    missing = text_strings.MODULES[STRINGS[name]]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module: None if module == missing else find(module)
    )
    with pytest.raises(ImportError, match=f"Expected {STRINGS[name]}.*pip install"):
        check_strings(name, shows(), [])
    runtime = importlib.import_module(
        f"mmzoo.export.runtimes.{'onnx_extensions' if 'onnx' in name else 'litert_text'}"
    )
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"Expected {STRINGS[name]}.*pip install"):
        runtime.Runtime("model", "portable")


def test_branches_read_the_renamed_tensor():
    onnx = importlib.import_module("mmzoo.export.convert.text_strings_onnx")
    from onnx import parser

    graph = parser.parse_graph(
        "g (bool c, uint8[n, l] text) => (uint8[n, l] y) {"
        " y = If (c) <then_branch = t () => (uint8[n, l] a) { a = Identity (text) },"
        " else_branch = e () => (uint8[n, l] b) { b = Identity (text) }> }"
    )
    onnx._rename(graph, "text", "text/tokens")
    [branching] = graph.node
    for attribute in branching.attribute:
        assert attribute.g.node[0].input == ["text/tokens"]


def test_fuzzed_strings_are_of_every_kind():
    valid, broken = fuzzed(500), fuzzed(500, 1, valid=False)
    assert fuzzed(500) == valid and fuzzed(500, 2) != valid
    for text in valid:
        text.decode()
    invalid = [text for text in broken if text.decode(errors="replace").encode() != text]
    assert len(invalid) > 150 and not any(b"\0" in text for text in valid + broken)
    assert b"" in valid and max(map(len, valid)) > 3000
    assert all(b"\0" in text[:-1] and text[-1:] != b"\0" for text in with_nul(50))
