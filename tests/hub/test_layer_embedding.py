"""A module's files inside the `.keras` archive: a model that outlives the cache."""

import gc
import importlib
import shutil
import warnings
from pathlib import Path

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from test_layer_saving import IMAGES, assert_same_values, classifier, fit, load, values

from mmzoo.export import to_saved_model
from mmzoo.hub import HubLayer, publish

SENTENCES = tf.constant(["red apple", "how are you", "nothing known"])


@pytest.fixture
def copy_of(folder_of, tmp_path):
    """Function of a builder's name to a module that the test may delete."""

    def copy(name, **options):
        return Path(shutil.copytree(folder_of(name, **options), tmp_path / name))

    return copy


def speaker(folder, **options):
    text = keras.Input((), dtype="string", name="text")
    return keras.Model(
        {"text": text}, {"y": HubLayer(folder, name="hub", embed=True, **options)(text)}
    )


def test_a_model_outlives_its_module(copy_of, tmp_path):
    """Weights, answers, and the optimizer's state: training goes on to the same values."""
    folder = copy_of("image", dropout=0.0)
    model = classifier(folder, embed=True, frozen=["stem/norm/beta"])
    fit(model)
    model.save(tmp_path / "model.keras")
    trained, answers = values(model), model(IMAGES).numpy()
    losses = fit(model, 3)
    shutil.rmtree(folder)

    loaded = load(tmp_path / "model.keras")
    layer = loaded.get_layer("hub")
    assert_same_values(values(loaded), trained)
    np.testing.assert_allclose(loaded(IMAGES), answers, rtol=1e-5, atol=1e-6)
    assert len(layer.trainable_weights) == 4
    assert loaded.losses and loaded.optimizer.iterations == 2
    for name, weight in layer.module_weights.items():
        assert weight.value is layer.module.variables[name]
    np.testing.assert_allclose(fit(loaded, 3), losses, rtol=1e-5, atol=1e-6)
    assert_same_values(values(loaded), values(model))
    to_saved_model(loaded, tmp_path / "exported")


def test_a_second_generation_lives_too(copy_of, tmp_path):
    folder = copy_of("image", dropout=0.0)
    model = classifier(folder, embed=True)
    model.save(tmp_path / "one.keras")
    shutil.rmtree(folder)
    second = load(tmp_path / "one.keras")
    (tmp_path / "one.keras").unlink()
    fit(second)
    second.save(tmp_path / "two.keras")
    expected = values(second)
    del second
    gc.collect()
    third = load(tmp_path / "two.keras")
    assert_same_values(values(third), expected)
    np.testing.assert_allclose(
        fit(third, 1), fit(load(tmp_path / "two.keras"), 1), rtol=1e-5, atol=1e-6
    )


def test_string_tables_come_along(copy_of, tmp_path):
    folder = copy_of("sentence_encoder")
    model = speaker(folder, trainable=True)
    expected = model({"text": SENTENCES})["y"]
    model.save(tmp_path / "model.keras")
    shutil.rmtree(folder)
    loaded = load(tmp_path / "model.keras")
    (tmp_path / "model.keras").unlink()
    np.testing.assert_allclose(loaded({"text": SENTENCES})["y"], expected, rtol=1e-5, atol=1e-6)
    publish(loaded, tmp_path / "published")  # reads the table's file once more
    again = HubLayer(tmp_path / "published", output_key="y")({"text": SENTENCES})
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6)


def test_what_is_unpacked_goes_with_the_layer(copy_of, tmp_path):
    folder = copy_of("bare")
    x = keras.Input((3,))
    keras.Model(x, HubLayer(folder, name="hub", embed=True)(x)).save(tmp_path / "model.keras")
    shutil.rmtree(folder)
    loaded = load(tmp_path / "model.keras")
    unpacked = loaded.get_layer("hub")._folder
    assert (unpacked / "saved_model.pb").exists()
    loaded(np.ones((1, 3)))
    del loaded
    keras.backend.clear_session()
    gc.collect()
    assert not unpacked.exists()


def test_without_its_files_a_layer_says_what_it_waits_for(copy_of):
    folder = copy_of("bare")
    layer = HubLayer(folder, name="hub", embed=True)
    layer(keras.Input((3,)))
    config = layer.get_config()
    shutil.rmtree(folder)
    waiting = HubLayer.from_config(config)
    assert waiting.get_config() == config
    with pytest.raises(ValueError, match="can't be resolved here, and its files come only with"):
        _ = waiting.module
    plain = {**config, "embed": False}
    with pytest.raises((OSError, ValueError), match="Received: .*bare"):
        HubLayer.from_config(plain)


def test_another_module_at_the_same_place_is_not_taken_for_it(copy_of, tmp_path):
    folder = copy_of("image", dropout=0.0)
    model = classifier(folder, embed=True)
    model.save(tmp_path / "model.keras")
    answers = model(IMAGES).numpy()
    shutil.rmtree(folder)
    modules.function_module(
        folder, lambda x: x[:, 0, 0] @ tf.ones([3, 6]), tf.TensorSpec([None] * 4)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not the one")
        loaded = load(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(IMAGES), answers, rtol=1e-5, atol=1e-6)


def test_another_table_behind_the_same_graph_is_not_taken_for_it(copy_of, tmp_path):
    """Two vocabularies make one graph: only the asset tells them apart."""
    folder = copy_of("sentence_encoder")
    model = speaker(folder)
    model.save(tmp_path / "model.keras")
    expected = model({"text": SENTENCES})["y"]
    (asset,) = (folder / "assets").iterdir()
    asset.write_text("\n".join(reversed(modules.WORDS)) + "\n")
    loaded = load(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded({"text": SENTENCES})["y"], expected, rtol=1e-5, atol=1e-6)


def test_what_ships_with_mmzoo_is_trusted_and_nothing_in_its_name(folder_of, tmp_path, monkeypatch):
    """Safe mode loads a shipped module's files, never an archive's under the same handle."""
    shipped = tmp_path / "shipped"
    good = Path(shutil.copytree(folder_of("bare"), shipped / "good"))
    resolve = importlib.import_module("mmzoo.hub.resolution")
    find = resolve.resolve
    monkeypatch.setattr(
        resolve,
        "resolve",
        lambda handle, **options: good if handle == "mmzoo/good/1" else find(handle, **options),
    )
    resolver = importlib.import_module("mmzoo.hub.resolution")
    monkeypatch.setattr(resolver, "SHIPPED", shipped)
    monkeypatch.setattr(importlib.import_module("mmzoo.hub.layer"), "resolve", resolver.resolve)
    x = keras.Input((3,))
    model = keras.Model(x, HubLayer("mmzoo/good/1", name="hub")(x))
    model.save(tmp_path / "good.keras")
    ones = np.ones((1, 3), "float32")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "good.keras")(ones), model(ones)
    )

    modules.function_module(tmp_path / "evil", lambda x: 666 + 0 * x, tf.TensorSpec([None, 3]))
    layer = HubLayer(tmp_path / "evil", embed=True, name="hub")
    forged = keras.Model(x, layer(x))
    layer.handle = "mmzoo/good/1"
    forged.save(tmp_path / "evil.keras")
    try:
        answer = keras.models.load_model(tmp_path / "evil.keras")(ones)
    except ValueError:
        return
    assert not (np.asarray(answer) == 666).any(), "a program out of an archive ran in safe mode"
