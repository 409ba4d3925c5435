"""Bad and hostile files at the command line: one clear line, exit code 1, nothing touched."""

import errno
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.cli import main as command
from mmzoo.export import export_bundle, load_bundle, verify_bundle
from mmzoo.export.bundle import exporter as bundles
from mmzoo.export.bundle.checksums import write_sums
from mmzoo.export.samples.samples import Samples
from mmzoo.io.files import sha256


def build():
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    made = layers.Dense(4, activation="softmax", name="probability")(layers.Dense(48, "relu")(x))
    return keras.Model({"x": x}, {"probability": made}, name="victim")


def samples():
    rng = np.random.default_rng(0)
    return Samples({"x": rng.standard_normal((20, 6), "float32")}, rng.integers(0, 4, 20))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_bundle(build(), tmp_path_factory.mktemp("hostile") / "b", samples=samples()).path


@pytest.fixture
def copy(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "b"))


@pytest.fixture
def mmzoo(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mmzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        said = capsys.readouterr().err
        assert "Traceback" not in said and "not an error that mmzoo foresaw" not in said, said
        return stopped.value.code or 0, " ".join(said.split())

    return run


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def recertify(folder, only=None):
    """What an attacker does too: every checksum fits again; with `only`, in a bundle of that."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    others = [name for name in manifest["formats"] if only not in (None, name)]
    for name in others:
        shutil.rmtree(folder / manifest["formats"].pop(name)["path"].split("/")[0])
    for name, entry in manifest["formats"].items():
        top = folder / entry["path"].split("/")[0]
        found = {p.relative_to(folder).as_posix(): sha256(p) for p in top.rglob("*") if p.is_file()}
        manifest["formats"][name]["files"] = found
    path.write_text(json.dumps(manifest))
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["manifest_sha256"] = sha256(path)
    certificate["formats"] = {name: certificate["formats"][name] for name in manifest["formats"]}
    (folder / "certificate.json").write_text(json.dumps(certificate))
    write_sums(folder)


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "of another kind": lambda data: b"\x89PNG\r\n\x1a\n" + data[8:],
    "oversized": lambda data: data + b"\xff" * 2_000_000,
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
}
ARTIFACTS = {
    "tflite": "tflite/model.tflite",
    "onnx": "onnx/model.onnx",
    "saved_model": "saved_model/1/saved_model.pb",
    "variables": "saved_model/1/variables/variables.index",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_damaged_artifact_is_refused_though_all_sums_fit(copy, mmzoo, name, damage):
    path = copy / ARTIFACTS[name]
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    form = {"variables": "saved_model"}.get(name, name)
    recertify(copy, form)  # of that format alone: to run the others takes most of the time
    before = files_of(copy)
    code, said = mmzoo("verify", copy)
    # What is appended to a TFLite file is never read: the answers, which are compared, stay.
    harmless = damage == "oversized" and name == "tflite"
    assert code == (0 if harmless else 1), said
    if not harmless:
        assert form in said
    assert files_of(copy) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["manifest.json", "certificate.json", "reference.npz", "samples.npz", "SHA256SUMS"]
)
def test_a_damaged_file_of_the_bundle_is_refused(copy, mmzoo, name, damage):
    path = copy / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    before = files_of(copy)
    code, said = mmzoo("verify", copy)
    assert code == 1 and said.startswith("error: Expected"), said
    assert files_of(copy) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_keras_file_is_refused(tmp_path, mmzoo, damage):
    build().save(tmp_path / "model.keras")
    path = tmp_path / "model.keras"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    samples().save(tmp_path / "samples.npz")
    before = files_of(tmp_path)
    code, said = mmzoo(
        "export", path, "--out", tmp_path / "out", "--formats", "tflite",
        "--samples", tmp_path / "samples.npz",
    )  # fmt: skip
    assert code == 1 and "Expected a Keras 3 archive" in said, said
    assert files_of(tmp_path) == before and not (tmp_path / "out").exists()


def test_a_keras_file_with_a_lambda_is_refused(tmp_path, mmzoo):
    x = keras.Input((6,), name="x")
    ran = tmp_path / "ran"
    code_of = f"open({str(ran)!r}, 'w').close()"
    model = keras.Model({"x": x}, {"y": layers.Lambda(lambda t: exec(code_of) or t)(x)})
    ran.unlink(missing_ok=True)
    model.save(tmp_path / "model.keras")
    code, said = mmzoo("export", tmp_path / "model.keras", "--out", tmp_path / "out")
    assert code == 1 and "Expected a Keras 3 archive" in said and "ambda" in said
    assert not ran.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/mmzoo-outside.txt", "a/../../outside.txt"]
)
def test_an_archive_whose_paths_climb_out_writes_nothing_there(tmp_path, mmzoo, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    build().save(inner / "model.keras")
    with zipfile.ZipFile(inner / "model.keras", "a") as archive:
        archive.writestr(name, "written")
    samples().save(inner / "samples.npz")
    code, said = mmzoo(
        "export", inner / "model.keras", "--out", inner / "out", "--formats", "tflite",
        "--samples", inner / "samples.npz",
    )  # fmt: skip
    assert code == 1 and "leads out of the archive" in said, said
    assert not (tmp_path / "outside.txt").exists() and not (inner / "out").exists()
    assert not Path("/tmp/mmzoo-outside.txt").exists()


@pytest.mark.parametrize("kind", ["WriteFile", "ReadFile", "EagerPyFunc"])
def test_a_saved_model_that_touches_files_is_not_run(copy, mmzoo, kind, tmp_path):
    target = tmp_path / "written"

    class Thief(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, "x")])
        def __call__(self, x):
            if kind == "WriteFile":
                tf.io.write_file(str(target), "stolen")
            elif kind == "ReadFile":
                x += tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)
            else:
                x = tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), [None, 6])
            return {"probability": tf.nn.softmax(x[:, :4])}

    thief = Thief()
    shutil.rmtree(copy / "saved_model" / "1")
    signatures = dict.fromkeys(["serving_default", "portable"], thief.__call__)
    tf.saved_model.save(thief, str(copy / "saved_model" / "1"), signatures)
    recertify(copy)
    code, said = mmzoo("verify", copy)
    assert code == 1 and re.search(rf"operator '{kind}' .*which is not known to compute", said), (
        said
    )
    assert not target.exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda m: m["inputs"][0].update(name="y"), "are not"),
        (lambda m: m["outputs"][0].update(dtype="int32"), "are not"),
        (lambda m: m["formats"]["onnx"].update(path="../onnx"), "stands at"),
        (lambda m: m["formats"]["onnx"]["files"].update({"../../etc/passwd": "0"}), "leads out"),
        (lambda m: m["formats"].update(gguf=m["formats"]["onnx"]), "stands at"),
        (lambda m: m.update(schema=99), "of schema 99"),
        (lambda m: m.pop("samples"), "samples"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, mmzoo, change, words):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    code, said = mmzoo("verify", copy)
    assert code == 1 and words in said and "Expected a bundle that mmzoo wrote" in said, said


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["write_onnx", "certify", "write_sums"])
def test_an_export_that_is_cut_off_leaves_the_old_bundle_whole(copy, monkeypatch, stop, where):
    before = files_of(copy)

    def cut(*arguments, **options):
        raise stop

    if where == "write_onnx":
        monkeypatch.setitem(bundles.WRITERS, "onnx", cut)
    else:
        monkeypatch.setattr(bundles, where, cut)
    with pytest.raises(type(stop)):
        export_bundle(build(), copy, formats=["tflite", "onnx"], samples=samples())
    assert files_of(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]
    monkeypatch.undo()
    assert load_bundle(copy).certificate["holds"] and verify_bundle(copy)
