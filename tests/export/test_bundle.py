"""A bundle from export to verification, and faults planted in it."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text import ByteTokens
from mmzoo.export import ParityError, bundle, export_bundle, load_bundle, verify_bundle
from mmzoo.export.certificate import certify
from mmzoo.export.manifest import Tensor, scores_output
from mmzoo.export.samples import Samples, load_samples

WEIGHT = 0.71828127  # found again in the files by its bytes


def small_model(masked=True):
    """Text and numbers to a probability and an embedding."""
    text = keras.Input((None,), dtype="uint8", name="text")
    numbers = keras.Input((4,), name="numbers")
    ids, mask = ByteTokens(name="bytes")(text)
    x = layers.ReLU()(layers.Embedding(256, 6, name="table")(ids))
    x = MaskedPooling()(x, mask) if masked else layers.GlobalAveragePooling1D()(x)
    x = layers.Concatenate()([x, numbers])
    embedding = layers.Dense(
        5, activation="tanh", name="embed", bias_initializer=keras.initializers.Constant(WEIGHT)
    )(x)
    probability = layers.Dense(7, activation="softmax", name="classify")(embedding)
    outputs = {"probability": probability, "embedding": embedding}
    return keras.Model({"text": text, "numbers": numbers}, outputs, name="small")


def small_samples(count=20):
    rng = np.random.default_rng(0)
    text = rng.integers(1, 255, (count, 9)).astype("uint8")
    text[::3, 4:] = 0
    inputs = {"text": text, "numbers": rng.standard_normal((count, 4), "float32")}
    return Samples(inputs, rng.integers(0, 7, count))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("export") / "bundle"
    return export_bundle(
        small_model(), path, samples=small_samples(), classes=[f"c{k}" for k in range(7)]
    )


@pytest.fixture
def copy(exported, tmp_path):
    """A copy to break."""
    return shutil.copytree(exported.path, tmp_path / "bundle")


def flip_weight(path, value):
    """Puts `value` in the place of one weight, found by its bytes."""
    data = bytearray(path.read_bytes())
    place = data.find(np.float32(WEIGHT).tobytes())
    assert place > 0, f"no such weight in {path}"
    data[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(bytes(data))


def test_the_certificate_covers_every_format_signature_batch_and_output(exported):
    assert exported.certificate["holds"] is True
    seen = {
        (name, check["signature"], check["sizes"], check["batch"], check["output"])
        for name, entry in exported.certificate["formats"].items()
        for check in entry["checks"]
    }
    signatures = [
        ("saved_model", "serving_default"),
        ("saved_model", "portable"),
        ("tflite", "portable"),
        ("onnx", "portable"),
    ]
    assert seen == {
        (name, signature, sizes, batch, output)
        for name, signature in signatures
        for sizes, batch in [
            ("samples", 1),
            ("samples", 3),
            ("samples", 17),
            ("short", 3),
            ("long", 3),
            ("text empty", 1),
        ]
        for output in ("probability", "embedding")
    }
    for entry in exported.certificate["formats"].values():
        for check in entry["checks"]:
            assert check["finite"]
            assert 0 <= check["scale_relative"] <= 1e-5
            counts = {"samples": 20, "text empty": 1}
            assert check["samples"] == counts.get(check["sizes"], 6)
            assert check["top1_agreement"] == 1
        assert entry["metric"]["change"] == 0
        assert entry["bytes"] > 0
        assert set(entry["latency_ms"]) == {"1", "3", "17"}


def test_names_dtypes_shapes_and_order_are_in_the_manifest(exported):
    manifest = json.loads((exported.path / "manifest.json").read_text())
    assert manifest["inputs"] == [
        {"name": "text", "dtype": "uint8", "shape": [None, None]},
        {"name": "numbers", "dtype": "float32", "shape": [None, 4]},
    ]
    assert manifest["outputs"] == [
        {"name": "probability", "dtype": "float32", "shape": [None, 7]},
        {"name": "embedding", "dtype": "float32", "shape": [None, 5]},
    ]
    strings = manifest["formats"]["saved_model"]["signatures"]["serving_default"]["inputs"]
    assert strings[0] == {"name": "text", "dtype": "string", "shape": [None]}
    model = onnx.load(exported.path / "onnx" / "model.onnx")
    assert {value.name for value in model.graph.input} == {"text", "numbers"}
    assert {value.name for value in model.graph.output} == {"probability", "embedding"}
    assert {v.type.tensor_type.shape.dim[0].dim_param for v in model.graph.input} == {"batch"}
    assert model.opset_import[0].version == 18


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


def test_a_resize_is_refused_though_it_does_nothing_at_the_samples_own_size(tmp_path):
    """Area resizing is lost on the way to ONNX without a word."""
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Resizing(16, 16, interpolation="area")(layers.Rescaling(1 / 255)(image))
    model = keras.Model({"image": image}, {"mean": layers.GlobalMaxPooling2D()(x)})
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype("uint8")
    with pytest.raises(ValueError, match="ResizeArea in layer 'resizing'"):
        export_bundle(model, tmp_path / "b", formats=["onnx"], samples=Samples({"image": pixels}))
    assert list(tmp_path.iterdir()) == []


def test_class_names_must_fit_the_scores(tmp_path):
    with pytest.raises(ValueError, match="as many class names as one output has scores.*2 names"):
        export_bundle(
            small_model(), tmp_path / "b", formats=["onnx"], samples=small_samples(),
            classes=["a", "b"],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_scores_are_found_by_name_and_not_by_order():
    outputs = [{"name": "embedding", "shape": [None, 5]}, {"name": "y", "shape": [None, 7]}]
    assert scores_output({"outputs": outputs, "classes": ["c"] * 7}) == "y"
    assert scores_output({"outputs": outputs, "classes": None}) is None
    outputs.append({"name": "probability", "shape": [None, 7]})
    assert scores_output({"outputs": outputs, "classes": ["c"] * 7}) == "probability"


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
    files["tflite/model.tflite"] = bundle.sha256(copy / "tflite/model.tflite")
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
        reference = {"samples": {}}
        for name in ("probability", "embedding"):
            key = name.replace("embedding", "vector")
            reference["samples"][key] = archive[f"samples/{name}"]
    breaches = certify(copy, manifest, samples, reference)["formats"]["tflite"]["breaches"]
    assert "Invalid Input name (digits)" in breaches[0]
    assert "0 of 6 checks were made" in breaches
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


def test_a_breach_leaves_the_old_bundle_and_nothing_else(copy, monkeypatch):
    def wrong(model, path):
        other = small_model()
        other.set_weights([weight + 0.05 for weight in model.get_weights()])
        return bundle.write_tflite(other, path)

    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    monkeypatch.setitem(bundle.WRITERS, "tflite", wrong)
    with pytest.raises(ParityError, match="Worst: tflite"):
        export_bundle(small_model(), copy, formats=["tflite"], samples=small_samples())
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]
    with pytest.raises(ParityError):
        export_bundle(
            small_model(), copy.parent / "new", formats=["tflite"], samples=small_samples()
        )
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_a_model_that_sees_the_padding_is_found(tmp_path):
    """Its answer to a text depends on how long the others of the batch are."""
    with pytest.raises(ParityError, match="serving_default, batch 1, output 'embedding'"):
        export_bundle(
            small_model(masked=False), tmp_path / "bundle", formats=["saved_model"],
            samples=small_samples(),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_good_export_replaces_the_old_bundle_whole(copy):
    export_bundle(small_model(), copy, formats=["onnx"], samples=small_samples())
    assert sorted(p.name for p in copy.iterdir()) == [
        "MODEL_CARD.md", "SHA256SUMS", "certificate.json", "manifest.json", "onnx",
        "reference.npz", "samples.npz",
    ]  # fmt: skip
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else"):
        export_bundle(small_model(), tmp_path, samples=small_samples())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_unknown_formats_and_missing_samples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`formats` must be some of"):
        export_bundle(small_model(), tmp_path / "b", formats=["coreml"])
    with pytest.raises(ValueError, match="whose inputs are not those of Concept-128.*'numbers'"):
        export_bundle(small_model(), tmp_path / "b")
    few = {name: value[:16] for name, value in small_samples().inputs.items()}
    with pytest.raises(ValueError, match="Expected at least 17 samples"):
        Samples(few)
    with pytest.raises(ValueError, match=r"Received none of \['x'\]"):
        small_samples().fit(
            [Tensor("numbers", "float32", (None, 4)), Tensor("x", "int32", (None,))]
        )
    with pytest.raises(ValueError, match=r"samples of 'numbers' as float32 of shape \(None, 5\)"):
        small_samples().fit([Tensor("numbers", "float32", (None, 5))])
    with pytest.raises(ValueError, match="Expected 20 integer labels"):
        Samples(small_samples().inputs, np.zeros(5, int))
