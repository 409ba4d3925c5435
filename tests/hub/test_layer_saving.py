"""Saved and restored by name: `.keras`, `.weights.h5`, checkpoints, config, safe mode."""

import json
import shutil

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.hub import HubLayer

IMAGES = np.random.default_rng(0).random((6, 8, 8, 3), "float32")
LABELS = np.random.default_rng(1).standard_normal((6, 2)).astype("float32")


def classifier(folder, **options):
    layer = HubLayer(folder, name="hub", **{"trainable": True, **options})
    x = keras.Input((8, 8, 3), name="image")
    model = keras.Model(x, layers.Dense(2, name="head")(layer(x)))
    model.compile(optimizer="adam", loss="mse")
    return model


def fit(model, steps=2):
    fitted = model.fit(IMAGES, LABELS, batch_size=6, epochs=steps, shuffle=False, verbose=0)
    return fitted.history["loss"]


def load(path):
    return keras.models.load_model(path, safe_mode=False)


def values(model):
    return {n: w.numpy() for n, w in model.get_layer("hub").module_weights.items()}


def assert_same_values(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def through_weights_file(model, make, folder):
    model.save_weights(folder / "model.weights.h5")
    other = make()
    other.load_weights(folder / "model.weights.h5")
    return other


def through_checkpoint(model, make, folder):
    path = tf.train.Checkpoint(model=model).save(str(folder / "checkpoint"))
    other = make()
    status = tf.train.Checkpoint(model=other).restore(path)
    status.assert_existing_objects_matched()
    return other


def through_archive(model, make, folder):
    model.save(folder / "model.keras")
    return load(folder / "model.keras")


WAYS = {"h5": through_weights_file, "checkpoint": through_checkpoint, "keras": through_archive}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trainable", [True, False])
def test_trained_values_come_back(folder_of, way, trainable, tmp_path):
    folder = folder_of("image", dropout=0.0)
    model = classifier(folder)
    initial = values(model)
    fit(model)
    model.get_layer("hub").trainable = trainable
    trained = values(model)
    assert all(not np.array_equal(trained[name], initial[name]) for name in initial)

    restored = WAYS[way](model, lambda: classifier(folder, trainable=trainable), tmp_path)
    assert_same_values(values(restored), trained)
    np.testing.assert_allclose(restored(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    layer = restored.get_layer("hub")
    assert len(layer.trainable_weights) == 5 * trainable
    for name, weight in layer.module_weights.items():
        assert weight.value is layer.module.variables[name]
    assert len(restored.weights) == 9


def test_an_archive_goes_on_where_training_stopped(folder_of, tmp_path):
    model = classifier(folder_of("image", dropout=0.0), frozen=["stem/norm/.*"])
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    np.testing.assert_allclose(fit(loaded, 3), fit(model, 3), rtol=1e-5, atol=1e-6)
    assert_same_values(values(loaded), values(model))


def test_checkpoints_keep_each_variable_once_under_its_name(folder_of, tmp_path):
    layer = HubLayer(folder_of("image"), trainable=True)
    layer(IMAGES)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "checkpoint"))
    stored = [name for name, _ in tf.train.list_variables(path) if name.startswith("layer/")]
    assert len(stored) == 7
    for name in layer.weight_names:
        assert any(name.replace("/", ".S") in key for key in stored), name


def test_a_waveform_layer_that_has_run_can_be_checkpointed(folder_of, tmp_path):
    layer = HubLayer(folder_of("yamnet"), trainable=True)
    layer(np.zeros((1, modules.YAMNET_SAMPLES), "float32"))
    expected = layer.module_weights["yamnet/hidden"].numpy() + 1
    layer.module_weights["yamnet/hidden"].assign(expected)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "checkpoint"))
    other = HubLayer(folder_of("yamnet"))
    tf.train.Checkpoint(layer=other).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(other.module_weights["yamnet/hidden"], expected)


def scaled(folder, shapes, reverse=False):
    """A model of `inputs * a * b * ...` whose module lists its variables in an order."""
    variables = {
        name: tf.Variable(tf.fill(shape, float(k + 2)), name=name)
        for k, (name, shape) in enumerate(shapes.items())
    }

    def call(x):
        for variable in variables.values():
            x = x * tf.reduce_sum(variable)
        return x

    listed = list(variables.values())[:: -1 if reverse else 1]
    modules.function_module(
        folder, call, tf.TensorSpec([None, 2]), variables=listed, trainable_variables=listed
    )
    x = keras.Input((2,))
    return keras.Model(x, HubLayer(folder, trainable=True, name="hub")(x))


@pytest.mark.parametrize("way", ["h5", "checkpoint"])
def test_names_decide_and_not_the_order(way, tmp_path):
    model = scaled(tmp_path / "one", {"a": [], "b": []})
    for name, value in [("a", 5.0), ("b", 7.0)]:
        model.get_layer("hub").module_weights[name].assign(value)
    other = WAYS[way](
        model, lambda: scaled(tmp_path / "two", {"a": [], "b": []}, reverse=True), tmp_path
    )
    assert other.get_layer("hub").weight_names == ["b", "a"]
    assert_same_values(values(other), {"b": np.float32(7), "a": np.float32(5)})


def test_mismatches_are_all_listed_and_nothing_is_assigned(tmp_path):
    scaled(tmp_path / "one", {"a": [], "b/x": [2], "c": []}).save_weights(tmp_path / "w.weights.h5")
    other = scaled(tmp_path / "two", {"a": [], "b/x": [3], "d": [], "e": [1]})
    before = values(other)
    with pytest.raises(ValueError, match="Expected the weights of layer 'hub'") as error:
        other.load_weights(tmp_path / "w.weights.h5")
    message = str(error.value)
    for line in ("4 differ", "missing: d", "missing: e", "unexpected: c"):
        assert line in message
    assert "b/x: expected shape (3,), received (2,)" in message
    assert "a:" not in message.split("differ")[1].split("\n\n")[0]
    assert_same_values(values(other), before)


def test_names_with_dots_and_slashes_do_not_meet(tmp_path):
    model = scaled(tmp_path / "m", {"a/b": [], "a.b": []})
    model.get_layer("hub").module_weights["a/b"].assign(5.0)
    model.save_weights(tmp_path / "w.weights.h5")
    other = scaled(tmp_path / "n", {"a/b": [], "a.b": []})
    other.load_weights(tmp_path / "w.weights.h5")
    assert_same_values(values(other), {"a/b": np.float32(5), "a.b": np.float32(3)})


def test_state_that_a_module_does_not_list_is_saved_too(tmp_path):
    """Its functions read a variable that `variables` leaves out: no answer may hang on it."""
    w, steps = tf.Variable([1.0, 2.0], name="w"), tf.Variable(0.0, trainable=False, name="steps")

    def call(x, training=False):
        if training:
            steps.assign_add(1.0)
        return x * w + steps

    modules.function_module(
        tmp_path / "m", call, tf.TensorSpec([None, 2]), training=True,
        variables=[w], trainable_variables=[w], steps=steps,
    )  # fmt: skip
    x = keras.Input((2,))
    model = keras.Model(x, HubLayer(tmp_path / "m", trainable=True, name="hub")(x))
    ones = np.ones((1, 2), "float32")
    model(ones, training=True)
    np.testing.assert_array_equal(model(ones), [[2, 3]])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load(tmp_path / "model.keras")(ones), [[2, 3]])


def test_a_changed_module_is_an_error_and_its_weights_can_be_had(tmp_path):
    model = classifier(modules.image(tmp_path / "m", dropout=0.0))
    fit(model)
    model.save(tmp_path / "model.keras")
    shutil.rmtree(tmp_path / "m")
    modules.image(tmp_path / "m", dropout=0.5, seed=3)
    with pytest.raises(ValueError, match="Expected the module that layer 'hub' was saved with"):
        load(tmp_path / "model.keras")
    anew = classifier(tmp_path / "m")
    anew.load_weights(tmp_path / "model.keras")
    assert_same_values(values(anew), values(model))


def test_config_round_trip(folder_of):
    layer = HubLayer(
        folder_of("bert_encoder"), trainable=True, frozen=["bert/layer_.*", "bert/pooler/kernel"],
        output_key="pooled_output", batched=True, embed=True, name="hub", dtype="mixed_float16",
    )  # fmt: skip
    tokens = {name: keras.Input((None,), dtype="int32", name=name) for name in modules.BERT}
    layer(tokens)
    config = layer.get_config()
    assert json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copy = HubLayer.from_config(config)
    assert copy.get_config() == config
    assert (copy.handle, copy.batched, copy.embed) == (str(folder_of("bert_encoder")), True, True)
    assert copy.compute_dtype == "float16" and copy.output_key == "pooled_output"
    assert [weight.name for weight in copy.trainable_weights] == [
        "bert.word_embeddings", "bert.type_embeddings",
    ]  # fmt: skip
    signature = HubLayer(folder_of("signatures"), signature="add").get_config()
    assert HubLayer.from_config(signature).signature == "add"
    assert keras.saving.get_registered_name(HubLayer) == "mmzoo>HubLayer"


def test_a_config_does_not_grow_from_archive_to_archive(folder_of, tmp_path):
    model = classifier(folder_of("image"))
    first = model.get_layer("hub").get_config()
    for _ in range(2):
        model.save(tmp_path / "model.keras")
        model = load(tmp_path / "model.keras")
    assert model.get_layer("hub").get_config() == first


def test_a_module_that_goes_after_loading_does_not_stop_a_save(folder_of, tmp_path):
    """A cache is emptied during a run of hours: the weights are in memory all the same."""
    shutil.copytree(folder_of("image"), tmp_path / "m")
    model = classifier(tmp_path / "m")
    fit(model)
    shutil.rmtree(tmp_path / "m")
    model.save(tmp_path / "model.keras")
    shutil.copytree(folder_of("image"), tmp_path / "m")
    assert_same_values(values(load(tmp_path / "model.keras")), values(model))


def test_safe_mode_is_honoured(folder_of, tmp_path):
    model = classifier(folder_of("image"))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="a module is a program.*pass `safe_mode=False`"):
        keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="a module is a program"):
        keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(model.get_layer("hub"))
        )
    keras.models.clone_model(model)
