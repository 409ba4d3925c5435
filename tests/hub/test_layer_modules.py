"""What each kind of module takes and gives: structures, strings, signatures, one waveform."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from modules import function_module

from mmzoo.hub import HubLayer

ONES = np.ones((2, 3), "float32")
WAVES = np.random.default_rng(1).standard_normal((3, 32_000)).astype("float32")
SENTENCES = ["red apple", "how are you", "Green tree of unknown words"]


def plain(folder):
    """What TensorFlow itself answers, without our layer."""
    return tf.saved_model.load(str(folder))


def assert_equal(actual, expected, tolerance=1e-5):
    tf.nest.assert_same_structure(actual, expected)
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        if a.dtype.is_floating:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def test_a_bert_pair_from_strings_to_nested_outputs(folder_of):
    preprocess = HubLayer(folder_of("bert_preprocessor"), name="preprocessor")
    encode = HubLayer(folder_of("bert_encoder"), name="encoder")
    text = keras.Input((), dtype="string", name="text")
    outputs = encode(preprocess(text))
    assert sorted(outputs) == ["encoder_outputs", "pooled_output", "sequence_output"]
    assert outputs["sequence_output"].shape == (None, modules.LENGTH, 6)
    assert [t.shape for t in outputs["encoder_outputs"]] == [(None, modules.LENGTH, 6)] * 2
    model = keras.Model({"text": text}, outputs)
    tokens = plain(folder_of("bert_preprocessor"))(tf.constant(SENTENCES))
    assert_equal(preprocess(tf.constant(SENTENCES)), tokens)
    np.testing.assert_array_equal(tokens["input_word_ids"][0], [2, 4, 6, 0, 0, 0, 0, 0])
    expected = plain(folder_of("bert_encoder"))(tokens)
    assert_equal(model({"text": tf.constant(SENTENCES)}), expected)
    predicted = model.predict({"text": tf.constant(SENTENCES)}, verbose=0)
    np.testing.assert_allclose(predicted["encoder_outputs"][1], expected["encoder_outputs"][1])


def test_inputs_are_cast_to_the_modules_dtypes(folder_of):
    layer = HubLayer(folder_of("bert_encoder"))
    batch = modules.bert_batch([[2, 4, 5, 0]])
    wide = {name: value.astype("int64") for name, value in batch.items()}
    assert_equal(layer(wide), layer(batch))
    image = HubLayer(folder_of("image"))
    pixels = np.random.default_rng(0).integers(0, 2, (2, 8, 8, 3))
    assert_equal(image(pixels.astype("uint8")), image(pixels.astype("float64")))


def test_list_and_tuple_inputs(tmp_path):
    pair = [tf.TensorSpec([None, 3]), {"y": tf.TensorSpec([None, 3])}]
    function_module(tmp_path / "m", lambda v: (v[0] - v[1]["y"], [v[0]]), pair)
    layer = HubLayer(tmp_path / "m")
    result = layer([3 * ONES, {"y": ONES}])
    assert_equal(result, (tf.constant(2 * ONES), [tf.constant(3 * ONES)]))
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], layer([a, {"y": b}]))
    np.testing.assert_array_equal(model([3 * ONES, ONES])[0], 2 * ONES)


@pytest.mark.parametrize(
    "strings",
    [
        tf.constant(SENTENCES),
        tf.constant(SENTENCES)[:, None],
        np.array(SENTENCES),
        np.array(SENTENCES)[:, None],
        np.array(SENTENCES, object),
    ],
    ids=["tensor", "tensor column", "numpy", "numpy column", "numpy objects"],
)
def test_strings_with_and_without_a_column(folder_of, strings):
    layer = HubLayer(folder_of("sentence_encoder"))
    expected = plain(folder_of("sentence_encoder"))(tf.constant(SENTENCES))
    assert expected.shape == (3, 512)
    assert_equal(layer(strings), expected)
    assert layer.supports_jit is False


@pytest.mark.parametrize("shape", [(), (1,), (None,)])
def test_string_inputs_of_a_model(folder_of, shape):
    text = keras.Input(shape, dtype="string", name="text")
    model = keras.Model(text, HubLayer(folder_of("sentence_encoder"), trainable=True)(text))
    assert model.output_shape == (None, 512)
    model.compile(optimizer="sgd", loss="mse")
    words = tf.constant(SENTENCES)[:, None] if shape else tf.constant(SENTENCES)
    before = model.get_weights()[0]
    model.fit(words, np.zeros((3, 512)), verbose=0)
    unchanged = np.flatnonzero(np.abs(model.get_weights()[0] - before).max(1) == 0)
    assert [modules.WORDS[row] for row in unchanged] == ["[CLS]", "[SEP]"], "words it never saw"


@pytest.mark.parametrize(
    "name, inputs, match",
    [
        ("image", np.array(["x"]), r"inputs float32\[None, None, None, 3\]. Received: str"),
        ("image", np.ones((2, 8, 8)), r"Received: float.*\[2, 8, 8\]"),
        ("image", np.ones((2, 8, 8, 4), "f"), r"Received: float32\[2, 8, 8, 4\]"),
        ("image", {"image": np.ones((2, 8, 8, 3), "f")}, "Received: {image: float32"),
        ("image", [np.ones((2, 8, 8, 3), "f")] * 2, r"Received: \[float32"),
        ("sentence_encoder", np.ones(3), r"expected inputs string\[None\]. Received: float"),
        ("sentence_encoder", np.array([["a", "b"]]), r"Received: string\[1, 2\]"),
        ("bert_encoder", np.ones((2, 4), "i"), "expected inputs {.*}. Received: int32"),
        ("bert_encoder", {"input_word_ids": np.ones((2, 4), "i")}, "expected inputs {.*input_mask"),
        ("bert_encoder", {n: np.ones((2, 4), "i") for n in "abc"}, "expected inputs {.*input_mask"),
        ("bert_encoder", [np.ones((2, 4), "i")] * 3, "expected inputs {.*input_mask"),
        ("bert_encoder", {n: np.ones(4, "i") for n in modules.BERT}, r"expected .*None, None\]"),
        ("yamnet", WAVES[0], r"expected inputs float32\[None, None\]. Received: float32\[32000\]"),
        ("yamnet", WAVES[:, None], r"Received: float32\[3, 1, 32000\]"),
        ("signatures", np.ones((2, 4), "f"), r"expected inputs .*float32\[None, 3\]"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(folder_of, name, inputs, match):
    layer = HubLayer(folder_of(name), name="hub")
    with pytest.raises(ValueError, match=f"Layer 'hub' .*{match}"):
        layer(inputs)


def test_a_ragged_output_is_refused(tmp_path):
    function_module(tmp_path / "m", tf.strings.split, tf.TensorSpec([None], tf.string))
    with pytest.raises(ValueError, match="dense outputs. Received: RaggedTensor. Pad it"):
        HubLayer(tmp_path / "m")(tf.constant(SENTENCES))
    with pytest.raises(ValueError, match="dense outputs. Received: RaggedTensor. Pad it"):
        HubLayer(tmp_path / "m")(keras.Input((), dtype="string"))


def test_several_traced_shapes(tmp_path):
    specs = tf.TensorSpec([None, 3]), tf.TensorSpec([None, None, 3])
    function_module(tmp_path / "m", lambda x: tf.reduce_sum(x, -1), *specs)
    layer = HubLayer(tmp_path / "m")
    assert_equal(layer(ONES), tf.fill([2], 3.0))
    assert_equal(layer(np.ones((2, 5, 3), "float32")), tf.fill([2, 5], 3.0))
    assert layer(keras.Input((7, 3))).shape == (None, 7)
    with pytest.raises(ValueError, match=r"float32\[None, 3\] or float32\[None, None, 3\]"):
        layer(np.ones((2, 4), "float32"))


def test_of_several_traced_dtypes_the_inputs_own_is_run(tmp_path):
    """A module that scales bytes and takes floats as they are: 255 means 1."""
    specs = tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3], tf.uint8)
    function_module(
        tmp_path / "m", lambda x: x if x.dtype.is_floating else tf.cast(x, "float32") / 255, *specs
    )
    layer = HubLayer(tmp_path / "m")
    np.testing.assert_allclose(layer(np.full((1, 3), 255, "uint8")), np.ones((1, 3)))
    np.testing.assert_allclose(layer(np.full((1, 3), 255, "float32")), np.full((1, 3), 255))
    np.testing.assert_allclose(layer(np.full((1, 3), 255, "float64")), np.full((1, 3), 255))


def test_output_key(folder_of):
    layer = HubLayer(folder_of("bert_encoder"), output_key="pooled_output")
    batch = modules.bert_batch([[2, 4, 5, 0]])
    assert_equal(layer(batch), HubLayer(folder_of("bert_encoder"))(batch)["pooled_output"])
    for key, name, inputs, known in [
        ("pooled", "bert_encoder", batch, "'encoder_outputs', 'pooled_output', 'sequence_output'"),
        ("pooled", "bare", ONES, "Tensor"),
        ("pooled", "yamnet", WAVES, "tuple"),
    ]:
        with pytest.raises(ValueError, match=f"module's outputs .*{known}.*output_key='pooled'"):
            HubLayer(folder_of(name), output_key=key)(inputs)


def test_a_tf1_module_runs_frozen(folder_of):
    layer = HubLayer(folder_of("tf1"), output_key="default")
    words = np.array(["apple", "tree", "apple"])
    table = layer.module_weights["embeddings"].numpy()
    assert table.shape == (11, 4) and table.std() > 0.1
    rows = table[[modules.WORDS.index(word) for word in words]]
    np.testing.assert_allclose(layer(words), rows)
    np.testing.assert_allclose(layer(words, training=True), rows)
    text = keras.Input((), dtype="string")
    model = keras.Model(text, keras.layers.Dense(1)(layer(text)))
    model.compile(optimizer="sgd", loss="mse")
    model.fit(tf.constant(words), np.ones((3, 1)), verbose=0)
    np.testing.assert_array_equal(layer.module_weights["embeddings"].numpy(), table)


def test_signatures_run_frozen(folder_of):
    w = HubLayer(folder_of("signatures")).module_weights["w"].numpy()
    for inputs in (ONES, {"x": ONES}):
        outputs = HubLayer(folder_of("signatures"))(inputs)
        np.testing.assert_allclose(outputs["features"], ONES @ w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outputs["norm"], np.sqrt([3, 3]), rtol=1e-5, atol=1e-6)
    add = HubLayer(folder_of("signatures"), signature="add", output_key="sum")
    np.testing.assert_allclose(add({"a": ONES, "b": np.arange(3)}), ONES + np.arange(3))
    with pytest.raises(ValueError, match=r"(?i)expected .*\bx\b.*Received: .*\by\b"):
        HubLayer(folder_of("signatures"))({"y": ONES})
    a, b = keras.Input((3,)), keras.Input(batch_shape=(3,))
    assert add({"a": a, "b": b}).shape == (None, 3)


@pytest.mark.parametrize(
    "name, options, form",
    [
        ("tf1", {}, "the TF1 format"),
        ("signatures", {}, "signatures only"),
        ("bare", {"signature": "serving_default"}, "signatures only"),
    ],
)
def test_what_cannot_be_fine_tuned_says_so(folder_of, name, options, form):
    match = f"Expected `trainable=False`: .* is a module of {form}.*Received: trainable=True"
    with pytest.raises(ValueError, match=match):
        HubLayer(folder_of(name), trainable=True, **options)
    layer = HubLayer(folder_of(name), **options)
    with pytest.warns(UserWarning, match=f"{match}.*It stays frozen"):
        layer.trainable = True
    assert layer.trainable is False and layer.trainable_weights == []


def test_an_unknown_signature_lists_the_known(folder_of):
    with pytest.raises(ValueError, match=r"one of \['add', 'serving_default'\].*'predict'"):
        HubLayer(folder_of("signatures"), signature="predict")


def test_a_bare_module_trains_what_its_functions_read(folder_of):
    layer = HubLayer(folder_of("bare"), trainable=True)
    assert sorted(layer.weight_names) == ["offset", "w"]
    assert [weight.name for weight in layer.trainable_weights] == ["w"]
    expected = ONES @ layer.module_weights["w"].numpy() + [1, 2]
    np.testing.assert_allclose(layer(ONES), expected, rtol=1e-5, atol=1e-6)


def test_an_attribute_weights_of_the_authors_own_is_no_dict_of_ours(tmp_path):
    w = tf.Variable([1.0, 2.0, 3.0], name="w")
    spec = tf.TensorSpec([None, 3])
    function_module(tmp_path / "m", lambda x: x * w, spec, variables=[w], weights=[w])
    assert HubLayer(tmp_path / "m", trainable=True).weight_names == ["w"]


def test_what_is_no_module_is_refused(tmp_path):
    with pytest.raises((ValueError, OSError), match="Received: .*gone"):
        HubLayer(tmp_path / "gone")
