"""`load_keras`: every layer of mmzoo is known, and what runs a foreign module asks for trust."""

import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from hub import modules
from keras import layers

from mmzoo import encoders, fusion
from mmzoo.hub import Contract, HubLayer, Input, Outputs
from mmzoo.io.keras_files import import_modules, load_keras

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
        "from mmzoo.io.keras_files import load_keras\n"
        f"print(load_keras({str(saved[0])!r}).output)\n"
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


def dense(**options):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3, **options)])


def test_a_model_in_an_h5_file_is_loaded_whatever_its_ending(tmp_path):
    model = dense()
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.keras").write_bytes((tmp_path / "model.h5").read_bytes())
    x = np.ones((2, 4), "float32")
    for name in ("model.h5", "model.keras"):
        np.testing.assert_allclose(load_keras(tmp_path / name)(x), model(x))


def write_kinds(folder):
    """Files that are no Keras model: name to the telling words of the refusal."""
    model = dense()
    model.save_weights(folder / "a.weights.h5")
    model.save(folder / "a.h5")
    model.save(folder / "whole.keras")
    whole = (folder / "whole.keras").read_bytes()
    (folder / "cut.h5").write_bytes((folder / "a.h5").read_bytes()[:5000])
    (folder / "cut.keras").write_bytes(whole[:-20])
    (folder / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    (folder / "model.onnx").write_bytes(b"\x08\x08\x12\x04test")
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "a.pt").write_bytes(b"\x80\x02")
    np.savez(folder / "arrays.keras", x=np.zeros(3))
    (folder / "arrays.keras.npz").rename(folder / "arrays.keras")
    with zipfile.ZipFile(folder / "zip.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(folder / "no_weights.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (folder / "empty.keras").write_bytes(b"")
    return {
        "a.weights.h5": "weights and no model: build the model in Python.*load_weights",
        "cut.h5": "cut short or damaged",
        "cut.keras": "cut short or damaged",
        "model.tflite": "a TFLite file, which is what `mmzoo export` writes",
        "model.onnx": "an ONNX file, which is what `mmzoo export` writes",
        "saved_model.pb": "a file of a SavedModel",
        "a.pt": "weights of PyTorch",
        "arrays.keras": "an .npz file of arrays. Samples go to --samples",
        "zip.keras": "without config.json.*no Keras archive",
        "no_weights.keras": "without model.weights.h5",
        "empty.keras": "which is empty",
    }


def test_files_of_other_kinds_are_named_with_the_way_out(tmp_path):
    for name, match in write_kinds(tmp_path).items():
        with pytest.raises(ValueError, match=match):
            load_keras(tmp_path / name)


def test_folders_and_links_are_named(tmp_path):
    dense().save(tmp_path / "best.keras")
    with pytest.raises(FileNotFoundError, match="a folder. It holds best.keras: name that"):
        load_keras(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="a SavedModel, which no longer has.*HubLayer"):
        load_keras(saved)
    (saved / "keras_metadata.pb").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="a SavedModel. It was written by Keras 2"):
        load_keras(saved)
    (tmp_path / "link.keras").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="a link that leads to no file"):
        load_keras(tmp_path / "link.keras")


def test_files_of_keras_2_are_loaded_or_named(tmp_path):
    pytest.importorskip("tf_keras", reason="pip install tf_keras")
    code = (
        "import sys, tf_keras as k\n"
        "m = k.Sequential([k.layers.Input((4,), name='x'), k.layers.Dense(3),\n"
        "                  k.layers.BatchNormalization()])\n"
        "m.save(sys.argv[1] + '/model.h5'); m.save(sys.argv[1] + '/model.keras')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=120
    )
    assert load_keras(tmp_path / "model.h5").output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"written by Keras 2.*pip install tf_keras.*set_weights"):
        load_keras(tmp_path / "model.keras")


def test_a_lambda_asks_for_trust(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2)])
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        with pytest.raises(ValueError, match="a Lambda layer holds a program.*--trust"):
            load_keras(tmp_path / name)
        loaded = load_keras(tmp_path / name, trust=True)
        np.testing.assert_allclose(loaded(np.ones((1, 4))), 2)


OWN = """
import keras
{decorator}
class Plus{k}(keras.layers.Layer):
    def call(self, x):
        return x + 1
{decorator}
def twice{k}(x):
    return 2 * x
"""
SAVE = """
import sys, keras
sys.path.insert(0, sys.argv[1])
from own_{k} import Plus{k}, twice{k}
x = keras.Input((4,))
layer = keras.layers.Dense(3, activation=twice{k}, kernel_initializer="ones")
keras.Model(x, layer(x)).save(sys.argv[1] + "/function_{k}.keras")
keras.Model(x, Plus{k}()(x)).save(sys.argv[1] + "/class_{k}.keras")
keras.Model(x, Plus{k}()(x)).save(sys.argv[1] + "/class_{k}.h5")
"""


@pytest.mark.parametrize(
    "k, decorator", [(1, ""), (2, "@keras.saving.register_keras_serializable('own')")]
)
def test_layers_and_functions_of_a_user_are_imported(tmp_path, monkeypatch, k, decorator):
    (tmp_path / f"own_{k}.py").write_text(OWN.format(k=k, decorator=decorator))
    subprocess.run(
        [sys.executable, "-c", SAVE.format(k=k), str(tmp_path)], check=True, capture_output=True,
        timeout=120,
    )  # fmt: skip
    for kind, name in (("class", "Plus"), ("function", "twice")):
        with pytest.raises(ValueError, match=f"the {kind} '{name}{k}' is not known.*--import"):
            load_keras(tmp_path / f"{kind}_{k}.keras")
    with pytest.raises(ValueError, match=f"'Plus{k}' is not known.*--import FILE.py"):
        load_keras(tmp_path / f"class_{k}.h5")
    monkeypatch.setattr(sys, "path", [*sys.path])
    if k == 1:
        import_modules([str(tmp_path / f"own_{k}.py")])
    else:  # a module of the current folder
        monkeypatch.chdir(tmp_path)
        import_modules([f"own_{k}"])
    x = np.ones((1, 4), "float32")
    np.testing.assert_allclose(load_keras(tmp_path / f"class_{k}.keras")(x), x + 1)
    np.testing.assert_allclose(load_keras(tmp_path / f"class_{k}.h5")(x), x + 1)
    np.testing.assert_allclose(load_keras(tmp_path / f"function_{k}.keras")(x), [[8, 8, 8]])


def test_modules_that_cannot_be_imported_are_named(tmp_path):
    (tmp_path / "broken_own.py").write_text("1 / 0")
    for name, match in {
        "no_such_module_of_ours": "No module named",
        str(tmp_path / "gone.py"): "no such file",
        str(tmp_path / "broken_own.py"): "ZeroDivisionError",
    }.items():
        with pytest.raises(ImportError, match=f"for --import. Received: '{name}'.*{match}"):
            import_modules([name])
    assert "broken_own" not in sys.modules
