"""`load_keras`: every layer of mmzoo is known, and what runs a foreign module asks for trust."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from hub import modules
from keras import layers

from mmzoo import encoders, fusion
from mmzoo.hub import Contract, HubLayer, Input, Outputs
from mmzoo.loading import load_keras

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype="uint8")


def picture_model():
    """An encoder with a fusion behind it, compiled."""
    picture = keras.Input((None, None, 3), dtype="uint8", name="image")
    text = keras.Input((None,), dtype="uint8", name="text")
    encoded = [encoders.image(units=4)(picture), encoders.text(units=4)(text)]
    names = ("image", "text")
    y = fusion.InteractiveAttention(4, name="fusion")(
        {name: each["tokens"] for name, each in zip(names, encoded, strict=True)},
        {name: each["mask"] for name, each in zip(names, encoded, strict=True)},
    )
    model = keras.Model({"image": picture, "text": text}, {"y": layers.Dense(2, name="y")(y)})
    model.compile(loss="mse", optimizer="adam")
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = picture_model()
    model.save(path)
    return path, model


def test_the_model_is_the_same_and_not_compiled(saved):
    path, model = saved
    inputs = {"image": PICTURES, "text": np.array([[97, 98, 0], [99, 0, 0]], "uint8")}
    for loaded in (load_keras(path), load_keras(str(path), trust=True)):
        np.testing.assert_allclose(loaded(inputs)["y"], model(inputs)["y"], rtol=1e-5, atol=1e-6)
        assert not loaded.compiled


def test_it_needs_no_import_of_what_the_archive_names(saved):
    """Keras knows a class once its module is imported: here in a process that imported none."""
    code = (
        f"from mmzoo.loading import load_keras; print(load_keras({str(saved[0])!r}).output)\n"
        "import keras\n"
        "known = keras.saving.get_custom_objects()\n"
        "print([n for n in ('HubLayer', 'LogMel', 'LateFusion', 'PresenceDropout', 'MaskedSum',\n"
        "       'WordPieceIds', 'UnitLength', 'WhisperLogMel')\n"
        "      if not any(k.endswith(f'>{n}') for k in known)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def hub_model(handle):
    contract = Contract("image", Input("image", "float32", value_range=(0, 1)), Outputs(6), True)
    picture = keras.Input((None, None, 3), dtype="uint8", name="image")
    ours = str(handle).startswith("mmzoo/")
    encoder = encoders.image(handle, **({} if ours else {"contract": contract}))
    return keras.Model({"image": picture}, {"pooled": encoder(picture)["pooled"]})


def test_a_foreign_module_needs_trust(tmp_path):
    model = hub_model(modules.image(tmp_path / "m"))
    model.save(tmp_path / "model.keras")
    message = r"(?s)Expected a Keras 3 archive .* and a module is a program.*safe mode"
    with pytest.raises(ValueError, match=message):
        load_keras(tmp_path / "model.keras")
    loaded = load_keras(tmp_path / "model.keras", trust=True)
    np.testing.assert_allclose(
        loaded({"image": PICTURES})["pooled"],
        model({"image": PICTURES})["pooled"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_shipped_module_needs_none(tmp_path):
    model = hub_model("mmzoo/concept128-image/1")
    model.save(tmp_path / "model.keras")
    loaded = load_keras(tmp_path / "model.keras")
    assert isinstance(loaded.get_layer("image_encoder").get_layer("module"), HubLayer)
    np.testing.assert_allclose(
        loaded({"image": PICTURES})["pooled"],
        model({"image": PICTURES})["pooled"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_trust_ends_with_the_call(tmp_path):
    hub_model(modules.image(tmp_path / "m")).save(tmp_path / "model.keras")
    load_keras(tmp_path / "model.keras", trust=True)
    with pytest.raises(ValueError, match="a module is a program"):
        load_keras(tmp_path / "model.keras")


def test_no_file(tmp_path):
    for path in (tmp_path / "gone.keras", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"Expected a .keras file. Received: {path}, "):
            load_keras(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"x" * 1_000])
def test_no_archive(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected a Keras 3 archive .*Received: {path}, which"):
        load_keras(path)


def test_half_an_archive(tmp_path, saved):
    path = tmp_path / "model.keras"
    whole = saved[0].read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="Expected a Keras 3 archive"):
        load_keras(path)


def test_another_ending(tmp_path, saved):
    path = tmp_path / "model.zip"
    path.write_bytes(saved[0].read_bytes())
    with pytest.raises(ValueError, match="Expected a Keras 3 archive"):
        load_keras(path)
