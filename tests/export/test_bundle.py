"""A bundle: what is in it, and what is refused before one is written."""

import json

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from small_model import small_model, small_samples

from mmzoo.export import ParityError, export_bundle, verify_bundle
from mmzoo.export.bundle import exporter
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks import Tensor
from mmzoo.tasks.guess import scores_output


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
            ("probes", 1),
            ("probes", 17),
            ("unsteady probes", 1),  # 95 through tanh
            ("unsteady probes", 17),
        ]
        for output in ("probability", "embedding")
    }
    probes = exported.manifest["probes"]
    shaken = len(probes["unsteady"])
    counts = {"samples": 20, "text empty": 1, "probes": probes["rows"] - shaken}
    counts["unsteady probes"] = shaken
    for entry in exported.certificate["formats"].values():
        for check in entry["checks"]:
            assert check["finite"]
            assert 0 <= check["scale_relative"] <= 1e-5
            assert check["samples"] == counts.get(check["sizes"], 6)
            decides = check["output"] == "probability" and "probes" not in check["sizes"]
            assert check["agreement"] == (1 if decides else None)
        assert entry["metric"]["change"] == 0
        assert entry["bytes"] > 0
        assert set(entry["latency_ms"]) == {"1", "3", "17"}


def test_names_dtypes_shapes_and_order_are_in_the_manifest(exported):
    manifest = json.loads((exported.path / "manifest.json").read_text())
    assert manifest["inputs"] == [
        {"name": "text", "dtype": "uint8", "shape": [None, None], "kind": "text"},
        {"name": "numbers", "dtype": "float32", "shape": [None, 4], "kind": "array"},
    ]
    assert manifest["outputs"] == [
        {"name": "probability", "dtype": "float32", "shape": [None, 7]},
        {"name": "embedding", "dtype": "float32", "shape": [None, 5]},
    ]
    strings = manifest["formats"]["saved_model"]["signatures"]["serving_default"]["inputs"]
    assert strings[0] == {"name": "text", "dtype": "string", "shape": [None], "kind": "text"}
    model = onnx.load(exported.path / "onnx" / "model.onnx")
    assert {value.name for value in model.graph.input} == {"text", "numbers"}
    assert {value.name for value in model.graph.output} == {"probability", "embedding"}
    assert {v.type.tensor_type.shape.dim[0].dim_param for v in model.graph.input} == {"batch"}
    assert model.opset_import[0].version == 18


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
    outputs = [Tensor("embedding", "float32", (None, 5)), Tensor("y", "float32", (None, 7))]
    assert scores_output(outputs, ["c"] * 7) == "y"
    assert scores_output(outputs, None) is None
    outputs.append(Tensor("probability", "float32", (None, 7)))
    assert scores_output(outputs, ["c"] * 7) == "probability"


def test_a_breach_leaves_the_old_bundle_and_nothing_else(copy, monkeypatch):
    def wrong(model, path):
        other = small_model()
        other.set_weights([weight + 0.05 for weight in model.get_weights()])
        return exporter.write_tflite(other, path)

    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    monkeypatch.setitem(exporter.WRITERS, "tflite", wrong)
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
    with pytest.raises(ValueError, match="does not feel how far 'text' is padded"):
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
    with pytest.raises(ValueError, match="Expected `samples` .--samples FILE.npz"):
        export_bundle(small_model(), tmp_path / "b")
    none = {name: value[:0] for name, value in small_samples().inputs.items()}
    with pytest.raises(ValueError, match="expected at least one sample"):
        Samples(none)
    with pytest.raises(ValueError, match=r"Received none of \['x'\]"):
        small_samples().fit(
            [Tensor("numbers", "float32", (None, 4)), Tensor("x", "int32", (None,))]
        )
    with pytest.raises(ValueError, match=r"samples of 'numbers' as float32 of shape \(None, 5\)"):
        small_samples().fit([Tensor("numbers", "float32", (None, 5))])
    with pytest.raises(ValueError, match="expected 20 integer labels"):
        Samples(small_samples().inputs, np.zeros(5, int))


def test_fewer_samples_than_a_batch_are_repeated_and_that_is_said(tmp_path):
    few = {name: value[:5] for name, value in small_samples().inputs.items()}
    labels = np.arange(5) % 3
    made = export_bundle(
        small_model(), tmp_path / "b", samples=Samples(few, labels), formats=["tflite"]
    )
    assert made.manifest["samples"]["count"] == 17
    assert made.manifest["samples"]["given"] == 5
    assert made.certificate["samples"]["given"] == 5
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert "5 samples (file), repeated to fill a batch of 17" in card
    checked = verify_bundle(tmp_path / "b")
    assert checked.certificate["samples"] == made.certificate["samples"]
    with pytest.raises(ValueError, match="int8 needs at least .* 5 of them different"):
        export_bundle(
            small_model(), tmp_path / "c", samples=Samples(few, labels), formats=["tflite-int8"]
        )
