"""What `publish` takes: structures, tables, frozen parts; what it refuses and replaces."""

import importlib
import json

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.data import concept128
from mmzoo.hub import Contract, HubLayer, Input, Outputs, publish, read_contract, resolve

IMAGES = np.random.default_rng(0).random((4, 8, 8, 3), "float32")


def dense(units=2):
    x = keras.Input((3,), name="x")
    return keras.Model(x, layers.Dense(units, name="y")(x))


def words_model():
    text = keras.Input((2,), dtype="string", name="text")
    ids = layers.StringLookup(vocabulary=["red", "apple"], name="lookup")(text)
    return keras.Model({"text": text}, {"y": layers.Embedding(3, 4, name="embedding")(ids)})


def test_a_string_lookups_table_is_in_it(tmp_path):
    model = words_model()
    words = tf.constant([["red", "apple"], ["apple", "pear"]])
    expected = model({"text": words})["y"]
    publish(model, tmp_path / "m")
    del model
    keras.backend.clear_session()
    layer = HubLayer(tmp_path / "m", trainable=True)
    np.testing.assert_allclose(layer({"text": words})["y"], expected, rtol=1e-5, atol=1e-6)
    assert layer.weight_names == ["embedding/embeddings"]
    root = tf.saved_model.load(str(tmp_path / "m"))
    np.testing.assert_allclose(
        root.signatures["serving_default"](text=words)["y"], expected, rtol=1e-5, atol=1e-6
    )


def test_a_modules_own_table_is_in_it(folder_of, tmp_path):
    text = keras.Input((), dtype="string", name="text")
    layer = HubLayer(folder_of("sentence_encoder"), trainable=True)
    model = keras.Model(text, layer(text))
    publish(model, tmp_path / "m")
    words = tf.constant(["red apple", "tree"])
    np.testing.assert_allclose(HubLayer(tmp_path / "m")(words), model(words), rtol=1e-5, atol=1e-6)
    assert resolve(tmp_path / "m") == tmp_path / "m"


def test_dicts_keep_their_keys_and_inputs_their_names(tmp_path):
    a, b = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    outputs = {"difference": layers.Subtract(name="s")([a, b]), "a": layers.Identity(name="i")(a)}
    model = keras.Model({"one": a, "two": b}, outputs)
    publish(model, tmp_path / "m")
    root = tf.saved_model.load(str(tmp_path / "m"))
    ones = tf.ones([1, 3])
    np.testing.assert_array_equal(root({"one": 3 * ones, "two": ones})["difference"], 2 * ones)
    served = root.signatures["serving_default"](first=3 * ones, second=ones)
    assert sorted(served) == ["a", "difference"]
    np.testing.assert_array_equal(served["difference"], 2 * ones)


def bert(folder_of):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in modules.BERT}
    return inputs, HubLayer(folder_of("bert_encoder"), trainable=True, name="bert")(inputs)


def test_nested_outputs(folder_of, tmp_path):
    inputs, outputs = bert(folder_of)
    model = keras.Model(inputs, outputs)
    publish(model, tmp_path / "m")
    batch = modules.bert_batch([[2, 4, 5]])
    answers, expected = HubLayer(tmp_path / "m")(batch), model(batch)
    assert isinstance(answers["encoder_outputs"], list) and len(answers["encoder_outputs"]) == 2
    tf.nest.map_structure(np.testing.assert_array_equal, answers, expected)


def test_two_outputs_of_one_layer_are_two(folder_of, tmp_path):
    inputs, outputs = bert(folder_of)
    model = keras.Model(inputs, [outputs["pooled_output"], outputs["sequence_output"]])
    publish(model, tmp_path / "m")
    served = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    shapes = sorted(t.shape.rank for t in served.structured_outputs.values())
    assert shapes == [2, 3], "serving_default lost an output"


def test_two_layers_of_one_module_keep_a_name_a_weight(folder_of, tmp_path):
    x = keras.Input((8, 8, 3), name="image")
    one = HubLayer(folder_of("image"), name="one", trainable=True)
    two = HubLayer(folder_of("image"), name="two", trainable=True)
    two.module_weights["head/bias"].assign(np.arange(6, dtype="float32"))
    model = keras.Model(x, one(x) + two(x))
    publish(model, tmp_path / "m")
    layer = HubLayer(tmp_path / "m")
    biases = [name for name in layer.weight_names if "bias" in name]
    assert len(layer.weights) == 14 and len(biases) == 2
    assert any("one" in name for name in biases) and any("two" in name for name in biases)
    np.testing.assert_allclose(layer(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)


def test_an_old_module_is_replaced_whole(tmp_path):
    publish(dense(2), tmp_path / "m", card="old")
    model = dense(3)
    assert publish(model, tmp_path / "m") == tmp_path / "m"
    assert not (tmp_path / "m" / "assets.extra").exists()
    np.testing.assert_allclose(HubLayer(tmp_path / "m")(np.ones((1, 3))), model(np.ones((1, 3))))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failure_leaves_the_old_module(tmp_path, monkeypatch):
    publish(dense(2), tmp_path / "m")
    module = importlib.import_module("mmzoo.hub.publishing")
    save = tf.saved_model.save

    def fail(root, folder, *args, **options):
        save(root, folder, *args, **options)
        raise OSError("disk full")

    monkeypatch.setattr(module.tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        publish(dense(3), tmp_path / "m")
    assert HubLayer(tmp_path / "m")(np.ones((1, 3))).shape == (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_nothing_of_a_users_is_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("years of work")
    for place in ("thesis", "file"):
        with pytest.raises(ValueError, match=f"module to replace. Received: .*{place}"):
            publish(dense(), tmp_path / place)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "years of work"
    publish(dense(), tmp_path / "m")
    (tmp_path / "m" / "chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="Received: "):
        publish(dense(), tmp_path / "m")
    assert (tmp_path / "m" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    publish(dense(), tmp_path / "empty")


def test_card_contract_and_checksums(tmp_path):
    contract = Contract(
        "image", Input("image", "float32", (8, 8)), Outputs(2), fine_tunable=True, licence="MIT"
    )
    card = "# Tower\nKünstliche Augen.\n"
    folder = publish(dense(), tmp_path / "m", card=card, contract=contract)
    assert (folder / "assets.extra" / "README.md").read_text(encoding="utf-8") == card
    assert json.loads((folder / "assets.extra" / "module.json").read_text())["licence"] == "MIT"
    assert read_contract(folder) == contract
    sums = (folder / "SHA256SUMS").read_text()
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "SHA256SUMS":
            assert file.relative_to(folder).as_posix() in sums


def test_what_is_no_functional_model_is_refused(tmp_path):
    class Subclass(keras.Model):
        def call(self, x):
            return x

    for model in (Subclass(), layers.Dense(2), "model.keras", keras.Sequential([layers.Dense(2)])):
        with pytest.raises(ValueError, match=r"Expected a functional keras\.Model\. Received: "):
            publish(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_built_sequential_is_published_or_refused_in_words(tmp_path):
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(2)])
    try:
        publish(model, tmp_path / "m")
    except ValueError as error:
        assert "functional" in str(error)  # noqa: PT017  either is right; a crash is not
    else:
        np.testing.assert_allclose(
            HubLayer(tmp_path / "m")(np.ones((1, 3))), model(np.ones((1, 3)))
        )


@pytest.fixture(scope="module")
def icons():
    """8 concepts of Concept-128: uint8 pictures and labels."""
    sources = concept128.load_sources("train")
    rows = [np.arange(sources.first["image"][k], sources.first["image"][k + 1]) for k in range(8)]
    labels = np.repeat(np.arange(8), [len(each) for each in rows])
    return sources.images[np.concatenate(rows)], labels


def test_trained_here_published_and_fine_tuned_by_a_stranger(icons, tmp_path):
    """The whole way: Keras, `publish`, `hub.load`, a plain training loop; accuracy grows."""
    import tensorflow_hub

    images, labels = icons
    keras.utils.set_random_seed(5)
    x = keras.Input((64, 64, 3), dtype="uint8", name="image")
    y = layers.Rescaling(1 / 127.5, -1.0, name="rescale")(x)
    for k, filters in enumerate((12, 24)):
        y = layers.Conv2D(filters, 5, 4, name=f"conv{k}")(y)
        y = layers.ReLU(name=f"relu{k}")(
            layers.BatchNormalization(momentum=0.7, name=f"norm{k}")(y)
        )
    logits = layers.Dense(8, name="logits")(layers.Flatten(name="flat")(y))
    model = keras.Model(x, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=16, epochs=2, verbose=0)

    def accuracy(function):
        return np.mean(np.argmax(function(images), 1) == labels)

    root = tensorflow_hub.load(str(publish(model, tmp_path / "m")))
    start = accuracy(root)
    assert start == accuracy(model) and 0.1 < start < 0.9
    before = [variable.numpy() for variable in root.variables]
    for step in range(24):
        rows = np.random.default_rng(step).permutation(len(labels))[:16]
        with tf.GradientTape() as tape:
            value = loss(labels[rows], root(images[rows], training=True))
        for variable, gradient in zip(
            root.trainable_variables,
            tape.gradient(value, list(root.trainable_variables)),
            strict=True,
        ):
            variable.assign_sub(0.02 * gradient)
    assert all(not np.array_equal(v, old) for v, old in zip(root.variables, before, strict=True))
    assert accuracy(root) > start + 0.05
    assert accuracy(model) == start, "the stranger's copy is no part of ours"
