"""Each exporter in its own runtime, and the traps that converters keep silent about."""

import importlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mmzoo.export import ParityError, export_bundle, load_model, to_onnx, to_saved_model, to_tflite
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.surgery.model_description import call, describe
from mmzoo.io.files import atomic_write

EXPORTERS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}
X = np.random.default_rng(0).standard_normal((5, 3), "float32")


def dense(activation=None):
    x = keras.Input((3,), name="x")
    y = layers.Dense(4, activation=activation, name="dense")(x)
    return keras.Model({"x": x}, {"y": y})


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("activation", ["gelu", "mish"])
def test_activations_that_converters_lose(format, activation, tmp_path):
    """Exact GELU becomes Erfc, which tf2onnx lacks and leaves in the file without a word."""
    model = dense(activation)
    path = EXPORTERS[format](model, tmp_path / "model")
    result = run_artifact(format, path, {"x": X}, [(1, 5), (2, 5)])
    for outputs in result.outputs:
        np.testing.assert_allclose(outputs["y"], model.predict({"x": X})["y"], atol=1e-6)
    assert result.report["python_tensorflow"] is False
    assert result.report["inputs"] == {"x": {"dtype": "float32", "shape": [None, 3]}}


def test_a_step_of_the_onnx_optimizer_that_fails_is_left_out(tmp_path, monkeypatch):
    from tf2onnx import optimizer

    tried = []

    class Broken:
        def optimize(self, graph, iteration):
            tried.append(iteration)
            graph.reset_nodes([])  # half done
            raise RuntimeError("of the optimizer")

    monkeypatch.setitem(optimizer._optimizers, "fold_constants", Broken)
    to_onnx(dense("gelu"), tmp_path / "model")
    assert len(tried) > 1  # without it, the whole conversion was done again


@pytest.mark.parametrize("format", EXPORTERS)
def test_a_keras_file_exports_as_its_model_does(format, tmp_path):
    model = dense()
    model.save(tmp_path / "model.keras")
    path = EXPORTERS[format](str(tmp_path / "model.keras"), tmp_path / "artifact")
    result = run_artifact(format, path, {"x": X}, [(5, 5)])
    np.testing.assert_allclose(result.outputs[0]["y"], model(X)["y"], atol=1e-6)


@pytest.mark.parametrize("structure", ["single", "list"])
@pytest.mark.parametrize("format", EXPORTERS)
def test_models_without_dicts_keep_their_layers_names(format, structure, tmp_path):
    a, b = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    y = layers.Subtract(name="difference")([a, b]) if structure == "list" else 2 * a
    y = layers.Identity(name="result")(y)
    model = keras.Model([a, b] if structure == "list" else a, y)
    path = EXPORTERS[format](model, tmp_path / "model")
    inputs = {"first": X, "second": 3 * X} if structure == "list" else {"first": X}
    result = run_artifact(format, path, inputs, [(5, 5)])
    expected = -2 * X if structure == "list" else 2 * X
    np.testing.assert_allclose(result.outputs[0]["result"], expected, atol=1e-6)


def test_serving_default_takes_strings_and_portable_takes_bytes(tmp_path):
    text = keras.Input((None,), dtype="uint8", name="text")
    total = layers.Lambda(lambda t: ops.sum(ops.cast(t, "float32"), axis=1, keepdims=True))(text)
    model = keras.Model({"text": text}, {"sum": total})
    path = to_saved_model(model, tmp_path / "model")
    words = ["", "a", "りんご", "\x01" * 300]
    expected = np.array([[sum(word.encode())] for word in words], "float32")
    strings = np.array([word.encode() for word in words], "S")
    result = run_artifact(
        "saved_model", path, {"text": strings}, [(1, 4), (4, 4)], signature="serving_default"
    )
    for outputs in result.outputs:
        np.testing.assert_array_equal(outputs["sum"], expected)
    encoded = np.zeros((4, 300), "uint8")
    for row, word in zip(encoded, words, strict=True):
        row[: len(word.encode())] = list(word.encode())
    result = run_artifact("saved_model", path, {"text": encoded}, [(3, 4)])
    np.testing.assert_array_equal(result.outputs[0]["sum"], expected)


def test_variables_are_stored_once(tmp_path):
    model = keras.Sequential([keras.Input((512,), name="x"), layers.Dense(512, name="y")])
    path = to_saved_model(model, tmp_path / "model")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert 4 * 512 * 512 < size < 1.3 * 4 * 512 * 512


def test_python_loads_what_the_c_api_refuses(tmp_path):
    """Why `tf.saved_model.load` is no evidence: a Keras model as the root loses variables."""
    model = dense()
    function = tf.function(lambda x: call(model, {"x": x}))
    signature = function.get_concrete_function(x=tf.TensorSpec([None, 3], name="x"))
    tf.saved_model.save(model, str(tmp_path), signatures={"portable": signature})
    loaded = tf.saved_model.load(str(tmp_path)).signatures["portable"]
    np.testing.assert_allclose(loaded(x=tf.constant(X))["y"], model({"x": X})["y"], atol=1e-6)
    with pytest.raises(RuntimeFailure, match="Could not find variable dense/"):
        run_artifact("saved_model", tmp_path, {"x": X}, [(5, 5)])


@pytest.mark.parametrize(
    "format, content, match",
    [
        ("tflite", b"", "tflite: expected"),
        ("tflite", b"TFL3" * 100, "tflite: expected"),
        ("onnx", b"not onnx", "onnx: expected"),
    ],
)
def test_broken_files_are_a_failure_not_a_crash(format, content, match, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(RuntimeFailure, match=match):
        run_artifact(format, path, {"x": X}, [(5, 5)])


def test_a_runtime_that_hangs_is_stopped(tmp_path):
    path = to_tflite(dense(), tmp_path / "model")
    with pytest.raises(RuntimeFailure, match="to finish in 0 s"):
        run_artifact("tflite", path, {"x": X}, [(5, 5)], time_limit=0.0)


@pytest.mark.parametrize("format", EXPORTERS)
def test_unknown_signatures_are_named(format, tmp_path):
    path = EXPORTERS[format](dense(), tmp_path / "model")
    with pytest.raises(RuntimeFailure, match="Expected the signature"):
        run_artifact(format, path, {"x": X}, [(5, 5)], signature="predict")


def test_what_a_format_cannot_carry_is_refused_and_nothing_is_left(tmp_path):
    number = keras.Input((2,), dtype="int64", name="number")
    hashed = layers.Hashing(10, name="hash")(number)
    model = keras.Model({"number": number}, {"y": layers.Embedding(10, 2)(hashed)})
    with pytest.raises(ValueError, match="Expected a model of TFLite builtin operators"):
        to_tflite(model, tmp_path / "a" / "model.tflite")
    with pytest.raises(ValueError, match="StringToHashBucketFast in layer 'hash'"):
        to_onnx(model, tmp_path / "b" / "model.onnx")
    assert list(tmp_path.rglob("*.*")) == []


def test_an_exporter_proves_what_it_writes(tmp_path, monkeypatch):
    right, wrong = dense(), dense()
    module = importlib.import_module("mmzoo.export.convert.onnx_writer")
    write = module.write_onnx
    monkeypatch.setattr(module, "write_onnx", lambda model, path: write(wrong, path))
    with pytest.raises(ParityError, match="Worst: onnx, output 'y'"):
        to_onnx(right, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_exporters_do_not_replace_a_users_folder(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "manifest.json").write_text("{}")  # a browser extension has one too
    for exporter in EXPORTERS.values():
        with pytest.raises(ValueError, match="Received: .*folder|holds something else"):
            exporter(dense(), tmp_path)
    with pytest.raises(ValueError, match="holds something else"):
        export_bundle(dense(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "thesis.txt"]


def test_names_that_a_format_would_change_are_refused(tmp_path):
    x = keras.Input((3,), name="my-input")
    model = keras.Model({"x": x}, {"y": layers.Dense(2)(x)})
    with pytest.raises(ValueError, match="letters, digits and underscores.*'my-input'"):
        to_tflite(model, tmp_path / "model.tflite")
    file = keras.Input((3,), name="file")
    model = keras.Model({"file": file}, {"args": layers.Dense(2)(file)})
    assert to_tflite(model, tmp_path / "model.tflite").is_file()


def test_signatures_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`signatures` may hold.*'predict'"):
        to_saved_model(dense(), tmp_path / "model", signatures=["predict"])
    assert list(tmp_path.iterdir()) == []


def test_load_model_says_what_it_wants(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a \.keras file"):
        load_model(tmp_path / "gone.keras")
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ValueError, match="which Keras can't load"):
        load_model(tmp_path / "broken.keras")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="which Keras can't load"):
        load_model(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="Expected a functional keras.Model"):
        load_model(42)


def test_describe_wants_unique_names_and_a_free_batch():
    x = keras.Input((3,), name="x")
    twice = keras.Model({"x": x}, [layers.Identity(name="y")(x), layers.Identity(name="y2")(x)])
    assert [tensor.name for tensor in describe(twice)[1]] == ["y", "y2"]
    fixed = keras.Input(batch_shape=(1, 3), name="x")
    with pytest.raises(ValueError, match="Expected a free batch axis"):
        describe(keras.Model({"x": fixed}, {"y": layers.Identity()(fixed)}))


def test_call_binds_by_name_whatever_the_order():
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    model = keras.Model({"b": b, "a": a}, {"y": layers.Subtract()([a, b])})
    values = {"a": np.full((1, 1), 5.0, "float32"), "b": np.full((1, 1), 2.0, "float32")}
    assert float(call(model, values)["y"][0, 0]) == 3


def test_beside_replaces_only_on_success(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(target) as place:
        place.write_text("new")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    with atomic_write(target) as place:
        place.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_beside_puts_an_old_folder_back_if_the_new_one_cannot_take_its_place(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileNotFoundError), atomic_write(target):
        pass  # nothing was written
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as place:
        place.mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "old"]
    with atomic_write(target) as place:
        place.mkdir()
        (place / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "new"]


@pytest.mark.parametrize(
    "package, module", [("ai_edge_litert", "litert"), ("onnxruntime", "onnx_runtime")]
)
def test_a_missing_runtime_names_the_pip_line(package, module, monkeypatch, tmp_path):
    runtime = importlib.import_module(f"mmzoo.export.runtimes.{module}").Runtime
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"`pip install {package.replace('_', '-')}`"):
        runtime(tmp_path / "model", "portable")
