"""Faults planted in a bundle, each found when it is verified or loaded."""

import itertools
import json
import shutil

import numpy as np
import pytest
from small_model import WEIGHT, small_samples

from mmzoo.export import ParityError, load_bundle, verify_bundle
from mmzoo.export.bundle import exporter
from mmzoo.export.certify.certificate import certify
from mmzoo.export.samples.files import load_samples
from mmzoo.export.samples.samples import Samples


def flip_weight(path, value):
    """Puts `value` in the place of one weight, found by its bytes."""
    data = bytearray(path.read_bytes())
    place = data.find(np.float32(WEIGHT).tobytes())
    assert place > 0, f"no such weight in {path}"
    data[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(bytes(data))


def test_an_untouched_bundle_verifies(exported):
    assert verify_bundle(exported.path).certificate["holds"] is True


@pytest.mark.parametrize(
    "format, file, value",
    [("onnx", "onnx/model.onnx", WEIGHT + 0.1), ("tflite", "tflite/model.tflite", np.nan)],
)
def test_one_changed_weight_is_found_and_the_output_named(copy, format, file, value):
    flip_weight(copy / file, value)
    with pytest.raises(ParityError, match=f"Worst: {format}, output '(embedding|probability)'"):
        verify_bundle(copy)


def test_a_changed_saved_model_is_found_without_running_it(copy):
    """It may hold operators that write files."""
    flip_weight(copy / "saved_model/1/variables/variables.data-00000-of-00001", WEIGHT - 0.1)
    with pytest.raises(ParityError, match="saved_model: saved_model/1/variables/.*SHA-256") as e:
        verify_bundle(copy)
    assert e.value.certificate["formats"]["saved_model"]["runtime"].startswith("not run")


def test_an_added_file_is_found(copy):
    """TensorFlow Serving would serve the higher version."""
    shutil.copytree(copy / "saved_model" / "1", copy / "saved_model" / "2")
    with pytest.raises(ParityError, match=r"saved_model/2/saved_model\.pb: not in") as caught:
        verify_bundle(copy)
    breaches = caught.value.certificate["formats"]["saved_model"]["breaches"]
    assert any("saved_model/2/saved_model.pb: no part of the bundle" in b for b in breaches)


def test_class_names_and_labels_and_the_certificate_are_held(copy):
    manifest = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(manifest.replace('"c1"', '"c9"'))
    with pytest.raises(ParityError, match=r"manifest\.json is not the one that was certified"):
        verify_bundle(copy)
    (copy / "manifest.json").write_text(manifest)
    certificate = json.loads((copy / "certificate.json").read_text())
    certificate["formats"]["onnx"]["metric"]["artifact"] = 0.999
    (copy / "certificate.json").write_text(json.dumps(certificate))
    with pytest.raises(ParityError, match=r"certificate\.json does not say what the checks say"):
        verify_bundle(copy)
    samples = small_samples()
    Samples(samples.inputs, samples.labels[::-1]).save(copy / "samples.npz")
    with pytest.raises(ValueError, match="Expected the samples 'file' of SHA-256"):
        verify_bundle(copy)


def test_a_truncated_reference_is_a_clear_error(copy):
    data = (copy / "reference.npz").read_bytes()
    for broken in (b"", data[:100], data[: len(data) // 2]):
        (copy / "reference.npz").write_bytes(broken)
        with pytest.raises(ParityError, match=r"reference\.npz is not the one"):
            verify_bundle(copy)
    (copy / "reference.npz").unlink()
    with pytest.raises(ValueError, match="Expected the reference answers"):
        verify_bundle(copy)


def test_a_changed_weight_is_named_even_if_the_checksum_was_changed_too(copy):
    flip_weight(copy / "tflite/model.tflite", np.nan)
    manifest = json.loads((copy / "manifest.json").read_text())
    files = manifest["formats"]["tflite"]["files"]
    files["tflite/model.tflite"] = exporter.sha256(copy / "tflite/model.tflite")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ParityError, match="not finite") as caught:
        verify_bundle(copy)
    formats = caught.value.certificate["formats"]
    assert [name for name, entry in formats.items() if not entry["holds"]] == ["tflite"]


def test_a_change_without_effect_is_found_by_checksum(copy):
    with (copy / "tflite" / "model.tflite").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ParityError, match=r"tflite/model\.tflite: expected SHA-256"):
        verify_bundle(copy)


def test_a_missing_or_truncated_file_is_found(copy):
    (copy / "onnx" / "model.onnx").write_bytes(b"")
    (copy / "tflite" / "model.tflite").unlink()
    with pytest.raises(ParityError, match="onnx: portable: .*load and run") as caught:
        verify_bundle(copy)
    assert "found no file" in str(caught.value)


def test_names_that_differ_from_the_manifest_are_found(copy):
    text = (copy / "manifest.json").read_text().replace('"numbers"', '"digits"')
    (copy / "manifest.json").write_text(text)
    with np.load(copy / "samples.npz") as archive:
        arrays = {name.replace("numbers", "digits"): archive[name] for name in archive.files}
    np.savez_compressed(copy / "samples.npz", **arrays)
    with pytest.raises(ValueError, match="Expected the samples 'file' of SHA-256"):
        verify_bundle(copy)
    manifest = json.loads(text.replace('"embedding"', '"vector"'))
    manifest["refused_sizes"] = dict.fromkeys(["short", "long", "text empty"], "left out here")
    samples = load_samples(copy / "samples.npz")
    with np.load(copy / "reference.npz") as archive:
        reference = {"samples": {}, "probes": {}, "nonfinite": {}}
        for chosen, name in itertools.product(reference, ("probability", "embedding")):
            key = name.replace("embedding", "vector")
            reference[chosen][key] = archive[f"{chosen}/{name}"]
    breaches = certify(copy, manifest, samples, reference)["formats"]["tflite"]["breaches"]
    assert "Invalid Input name (digits)" in breaches[0]
    whole = json.loads((copy / "certificate.json").read_text())["formats"]["tflite"]["checks"]
    wanted = sum(check["sizes"] not in manifest["refused_sizes"] for check in whole)
    assert wanted >= 10 and f"0 of {wanted} checks were made" in breaches
    manifest["inputs"][1]["name"] = "numbers"
    for entry in manifest["formats"].values():
        for signature in entry["signatures"].values():
            signature["inputs"][1]["name"] = "numbers"
    certificate = certify(copy, manifest, small_samples(), reference)
    for entry in certificate["formats"].values():
        assert not entry["holds"]
        assert any(
            "expected output 'vector'" in breach and "the runtime shows None" in breach
            for breach in entry["breaches"]
        )


def test_changed_reference_answers_are_found(copy):
    with np.load(copy / "reference.npz") as archive:
        answers = {name: archive[name] + 1 for name in archive.files}
    np.savez_compressed(copy / "reference.npz", **answers)
    with pytest.raises(ParityError, match=r"reference\.npz is not the one"):
        verify_bundle(copy)


def test_changed_samples_are_refused(copy):
    samples = small_samples()
    samples.inputs["numbers"][0, 0] += 1
    samples.save(copy / "samples.npz")
    with pytest.raises(ValueError, match="Expected the samples 'file' of SHA-256"):
        verify_bundle(copy)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda m: m["formats"]["onnx"].update(path="../x"), "'onnx' stands at '../x'"),
        (lambda m: m["formats"]["onnx"]["files"].update({"../x": ""}), "leads out of the bundle"),
        (lambda m: m["formats"].update(coreml={"path": "x"}), "'coreml' stands at 'x'"),
        (lambda m: m["formats"]["onnx"].update(signatures={}), "signatures of 'onnx'"),
        (lambda m: m.update(formats={}), "no format"),
        (lambda m: m.pop("outputs"), "KeyError: 'outputs'"),
        (lambda m: m["samples"].pop("sha256"), "KeyError: 'sha256'"),
        (lambda m: m.update(formats=[1]), "AttributeError"),
    ],
)
def test_a_manifest_that_we_did_not_write_is_refused(copy, change, match):
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=match):
        load_bundle(copy)


def test_no_bundle_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a folder with manifest\.json"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="Expected a bundle that mmzoo wrote"):
        load_bundle(tmp_path)
