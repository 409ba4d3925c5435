"""Faults planted in a bundle, each of which `verify` finds and names."""

import json
import re
import shutil

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import numpy_helper

from mmzoo.export import ParityError, export_bundle, verify_bundle
from mmzoo.export.bundle.checksums import write_sums
from mmzoo.export.samples.samples import Samples
from mmzoo.io.files import sha256


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    made = layers.Dense(48, "relu", name="hidden")(x)
    made = layers.Dense(4, activation="softmax", name="probability")(made)
    rng = np.random.default_rng(0)
    samples = Samples({"x": rng.standard_normal((20, 6), "float32")}, rng.integers(0, 4, 20))
    return export_bundle(
        keras.Model({"x": x}, {"probability": made}, name="faulty"),
        tmp_path_factory.mktemp("faults") / "bundle", samples=samples, classes=list("abcd"),
        formats=["saved_model", "tflite", "onnx", "tflite-dynamic"], metric_limit=0.1,
    ).path  # fmt: skip


def flip(path, place=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 0x41
    path.write_bytes(bytes(data))


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def better(certificate):
    certificate["formats"]["onnx"]["metric"]["artifact"] = 1.0


def nan(path):
    data = path.read_bytes()
    marker = data.find(b"\0" * 16)
    path.write_bytes(data[:marker] + np.full(4, np.nan, "<f4").tobytes() + data[marker + 16 :])


def swap(path, other):
    path.write_bytes(other.read_bytes())


def hide(bundle):
    """A changed file whose checksums were all made anew."""
    path = bundle / "onnx/model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(value * 1.01, tensor.name))
    onnx.save(model, path)

    def change(manifest):
        manifest["formats"]["onnx"]["files"]["onnx/model.onnx"] = sha256(path)

    edit(bundle / "manifest.json", change)
    digest = sha256(bundle / "manifest.json")
    edit(bundle / "certificate.json", lambda c: c.update(manifest_sha256=digest))
    write_sums(bundle)


def rename(manifest):
    manifest["task"]["answers"][0]["classes"].reverse()


FAULTS = {
    "a bit of the TFLite file": (
        lambda b: flip(b / "tflite/model.tflite"), "tflite/model.tflite.*SHA-256"),
    "a bit of the ONNX file": (lambda b: flip(b / "onnx/model.onnx"), "onnx/model.onnx.*SHA-256"),
    "a bit of the weights of the SavedModel": (
        lambda b: flip(b / "saved_model/1/variables/variables.data-00000-of-00001"),
        "variables.*SHA-256"),
    "a bit of a quantised file": (
        lambda b: flip(b / "tflite-dynamic/model.tflite"), "tflite-dynamic/model.tflite.*SHA-256"),
    "a certificate made better": (
        lambda b: edit(b / "certificate.json", better), "certificate.json"),
    "a class renamed": (
        lambda b: edit(b / "manifest.json", rename), "manifest.json"),
    "reference answers of another model": (
        lambda b: np.savez(b / "reference.npz", **{
            "samples/probability": np.full((20, 4), 0.25, "float32")}), "reference.npz"),
    "a second version for the server": (
        lambda b: shutil.copytree(b / "saved_model/1", b / "saved_model/2"), "saved_model/2"),
    "an empty version": (lambda b: (b / "saved_model/4").mkdir(), "saved_model/4: a folder"),
    "a file that nobody wrote": (
        lambda b: (b / "saved_model/1/assets.extra/run.sh").write_text("rm -rf /"), "run.sh"),
    "a warm-up record lost": (
        lambda b: (b / "saved_model/1/assets.extra/tf_serving_warmup_requests").unlink(),
        "warmup_requests"),
    "one format in the place of a variant": (
        lambda b: swap(b / "tflite-dynamic/model.tflite", b / "tflite/model.tflite"),
        "tflite-dynamic"),
    "a card that promises more": (
        lambda b: (b / "MODEL_CARD.md").write_text("# perfect"), "MODEL_CARD.md: not as"),
    "a server's settings changed": (
        lambda b: (b / "serving/models.config").write_text(""), "serving/models.config: not as"),
    "sums removed": (lambda b: (b / "SHA256SUMS").unlink(), "SHA256SUMS: no such file"),
    "weights changed and every checksum made anew": (
        hide, "onnx.*(largest difference|top-1)"),
    "NaN among the weights": (
        lambda b: nan(b / "tflite/model.tflite"), "tflite"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_a_planted_fault(exported, tmp_path, fault):
    copy = shutil.copytree(exported, tmp_path / "bundle")
    plant, named = FAULTS[fault]
    plant(copy)
    with pytest.raises(ParityError) as caught:
        verify_bundle(copy)
    breaches = [f"{name}: {breach}" for name, entry in caught.value.certificate["formats"].items()
                for breach in entry["breaches"]]  # fmt: skip
    breaches += caught.value.certificate["breaches"]
    assert any(re.search(named, breach) for breach in breaches), breaches


def test_an_untouched_copy_verifies(exported, tmp_path):
    assert len(FAULTS) >= 10
    copy = shutil.copytree(exported, tmp_path / "bundle")
    assert verify_bundle(copy).certificate["holds"] is True
