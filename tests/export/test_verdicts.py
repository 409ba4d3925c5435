"""What decides over a bundle: near ties, calibration apart, formats that a model can carry."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export import ParityError, export_bundle, load_bundle, verify_bundle
from mmzoo.export.bundle.checksums import write_sums
from mmzoo.export.certify.metric_checks import different_metrics
from mmzoo.export.samples.calibration import CALIBRATION, row_hashes, split
from mmzoo.export.samples.files import load_samples
from mmzoo.export.samples.samples import Samples
from mmzoo.io.files import sha256
from mmzoo.io.place_lock import PlaceInUseError, lock_place
from mmzoo.tasks import Scores


def metric(artifact=0.75, **changes):
    found = {
        "name": "accuracy", "output": "y", "keras": 0.75, "artifact": artifact,
        "change": artifact - 0.75, "differ": round(abs(artifact - 0.75) * 20), "samples": 20,
        "may_flip": 1,
    }  # fmt: skip
    return {"metric": found | changes, "subsets": {}}


def tampered(**changes):
    return {"metric": metric()["metric"] | changes, "subsets": {}}


def test_samples_whose_lead_is_under_two_tolerances_may_flip():
    scores = np.array([[1, 0], [0.5, 0.5 + 1.5e-5], [0.5, 0.5 + 3e-5], [0.5, 0.5]], "float64")
    assert Scores("y").may_flip(scores, 1e-5) == 2


@pytest.mark.parametrize("stored", [0.7, 0.8])
def test_a_near_tie_on_another_processor_is_no_other_metric(stored):
    assert different_metrics(metric(stored), metric()) == []


@pytest.mark.parametrize(
    "stored",
    [
        metric(0.85), metric(0.65), metric(0.8, change=0), metric(0.8, differ=0),
        metric(0.77), metric(keras=0.8, artifact=0.8), metric(may_flip=20), metric(samples=40),
        metric(differ=2), tampered(artifact="0.75"), tampered(artifact=float("nan")),
        metric(output="z"),
        {"metric": None, "subsets": {}}, {"metric": {}, "subsets": {}},
        metric() | {"subsets": {"image": None}},
    ],
)  # fmt: skip
def test_a_tampered_metric_is_another_one(stored):
    assert different_metrics(stored, metric())


def test_a_quantised_file_is_held_to_its_limit():
    assert not different_metrics(metric(0.7), metric(may_flip=0) | metric(0.75), limit=0.005)
    assert different_metrics(metric(0.95), metric(), limit=0.005)


def test_a_continuous_metric_is_held_to_its_interval():
    def error(value):
        return metric(
            value, name="error", keras=0.5, change=value - 0.5, differ=None, interval=[0.49, 0.51]
        )

    assert not different_metrics(error(0.5012345), error(0.5))
    assert different_metrics(error(0.52), error(0.5))


def dense(seed=0, wide=4):
    keras.utils.set_random_seed(seed)
    x = keras.Input((3,), name="x")
    hidden = layers.Dense(16, "relu")(x)
    return keras.Model({"x": x}, {"probability": layers.Dense(wide, "softmax")(hidden)})


def dense_samples(count=40, model=None):
    values = np.random.default_rng(0).standard_normal((count, 3)).astype("float32")
    labels = None
    if model is not None:
        labels = np.asarray(model({"x": values})["probability"]).argmax(1)
    return Samples({"x": values}, labels)


def test_the_parts_are_disjoint_whatever_the_order_and_whatever_stands_twice():
    values = np.repeat(np.arange(30, dtype="float32"), 2)[:, None]
    labels = np.repeat(np.arange(30) % 3, 2)
    order = np.random.default_rng(1).permutation(60)
    found = []
    for chosen in (np.arange(60), order):
        calibration, checked = split(Samples({"x": values[chosen]}, labels[chosen]))
        assert not set(row_hashes(calibration.inputs)) & set(row_hashes(checked.inputs))
        assert len(calibration) + len(checked) == 60 and len(calibration) == 14
        kinds = np.unique(calibration.inputs["x"].astype(int) % 3, return_counts=True)[1]
        assert kinds.max() - kinds.min() <= 2
        found.append(sorted(calibration.inputs["x"].ravel()))
    assert found[0] == found[1]


@pytest.mark.parametrize("values", [np.arange(20), np.zeros(60)])
def test_too_few_samples_for_both_parts_are_refused(values):
    with pytest.raises(ValueError, match="int8 needs at least 21 different samples"):
        split(Samples({"x": values[:, None].astype("float32")}))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    model = dense()
    return export_bundle(
        model, tmp_path_factory.mktemp("verdicts") / "b", formats=["onnx", "onnx-int8"],
        samples=dense_samples(model=model), classes=list("abcd"), metric_limit=0.1,
        name="Weather", about={"Data": "Ours."},
    )  # fmt: skip


def test_int8_is_judged_on_samples_that_it_never_saw(quantised):
    stated = quantised.manifest["calibration"]
    assert stated["count"] == 10 and quantised.manifest["samples"]["count"] == 30
    assert "10 of 40 samples" in stated["split"]
    with np.load(quantised.path / CALIBRATION) as archive:
        taken = {name.removeprefix("input/"): archive[name] for name in archive.files}
    checked = load_samples(quantised.path / "samples.npz")
    assert not set(row_hashes(taken)) & set(row_hashes(checked.inputs))
    assert CALIBRATION in (quantised.path / "SHA256SUMS").read_text()
    card = (quantised.path / "MODEL_CARD.md").read_text()
    assert card.startswith("# Weather\n") and "10 of 40 samples" in card and "Ours." in card
    assert verify_bundle(quantised.path).certificate["holds"] is True


def seal(folder, manifest):
    """As who tampers would: every sum is right again."""
    (folder / "manifest.json").write_text(json.dumps(manifest))
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["manifest_sha256"] = sha256(folder / "manifest.json")
    (folder / "certificate.json").write_text(json.dumps(certificate))
    write_sums(folder)


def test_verify_finds_calibration_on_the_checked_samples(quantised, tmp_path):
    import shutil

    from mmzoo.export.samples.calibration import Calibration

    folder = shutil.copytree(quantised.path, tmp_path / "b")
    checked = load_samples(folder / "samples.npz").inputs
    wrong = {name: value[:10] for name, value in checked.items()}
    np.savez(folder / CALIBRATION, **{f"input/{name}": value for name, value in wrong.items()})
    write_sums(folder)
    with pytest.raises(ParityError, match="not the samples that the manifest names"):
        verify_bundle(folder)
    stated = quantised.manifest["calibration"]
    described = Calibration(wrong, stated["source"], stated["split"]).to_json()
    seal(folder, quantised.manifest | {"calibration": described})
    with pytest.raises(ParityError, match="10 of its samples are among those"):
        verify_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"tolerance": 0.5}, "`tolerance` must be"), ({"tolerance": None}, "can't be read")],
)
def test_a_manifest_that_allows_everything_is_refused(quantised, tmp_path, changes, words):
    (tmp_path / "manifest.json").write_text(json.dumps(quantised.manifest | changes))
    (tmp_path / "certificate.json").write_text(json.dumps(quantised.certificate))
    with pytest.raises(ValueError, match=words):
        load_bundle(tmp_path)


def recurrent():
    x = keras.Input((None, 3), name="x")
    return keras.Model({"x": x}, {"y": layers.Dense(2)(layers.LSTM(3)(x))})


def steps(count=20):
    values = np.random.default_rng(0).standard_normal((count, 5, 3)).astype("float32")
    return Samples({"x": values})


def test_a_default_format_that_cannot_be_made_takes_no_other_with_it(tmp_path, capsys):
    from mmzoo.evaluation.report.summary import print_certificate

    bundle = export_bundle(recurrent(), tmp_path / "b", samples=steps())
    assert {"saved_model", "onnx"} <= set(bundle.manifest["formats"])
    assert list(bundle.manifest["left_out"]) == ["tflite"]
    why = bundle.manifest["left_out"]["tflite"]
    assert "tflite-batch1" in why
    print_certificate(bundle.certificate)
    assert "Left out: tflite." in capsys.readouterr().out
    assert "- `tflite`: " in (bundle.path / "MODEL_CARD.md").read_text()
    assert not (bundle.path / "tflite").exists()
    assert verify_bundle(bundle.path).certificate["holds"] is True


def test_a_format_that_was_asked_for_is_made_or_nothing_is(tmp_path):
    with pytest.raises(ValueError):
        export_bundle(recurrent(), tmp_path / "b", samples=steps(), formats=["onnx", "tflite"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("no such op"), ImportError("no package")])
def test_any_refusal_of_a_default_format_is_reported(tmp_path, monkeypatch, error):
    from mmzoo.export.bundle import exporter as bundle

    def refuse(*_, **__):
        raise error

    monkeypatch.setitem(bundle.WRITERS, "saved_model", refuse)
    monkeypatch.setitem(bundle.WRITERS, "tflite", refuse)
    monkeypatch.setattr(bundle, "write_variant", refuse)
    made = export_bundle(dense(), tmp_path / "b", samples=dense_samples())
    assert set(made.manifest["formats"]) == {"onnx"}
    assert made.manifest["left_out"] == dict.fromkeys(["saved_model", "tflite"], str(error))
    assert not (made.path / "serving").exists()
    monkeypatch.setitem(bundle.WRITERS, "onnx", refuse)
    with pytest.raises(type(error), match=str(error)):
        export_bundle(dense(), tmp_path / "c", samples=dense_samples())
    assert not (tmp_path / "c").exists()


def test_a_default_format_that_answers_otherwise_is_left_out(tmp_path, monkeypatch):
    from mmzoo.export.bundle import exporter as bundle

    def other(_, path, **__):
        return bundle.write_onnx(dense(seed=1), path)

    monkeypatch.setitem(bundle.WRITERS, "onnx", other)
    monkeypatch.setitem(bundle.WRITERS, "saved_model", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a fault of ours is no refusal
        export_bundle(dense(), tmp_path / "a", samples=dense_samples())
    monkeypatch.undo()
    monkeypatch.setitem(bundle.WRITERS, "onnx", other)
    made = export_bundle(dense(), tmp_path / "b", samples=dense_samples())
    assert "onnx" not in made.manifest["formats"] and not (made.path / "onnx").exists()
    assert "not the Keras model's" in made.manifest["left_out"]["onnx"]
    with pytest.raises(ParityError):
        export_bundle(dense(), tmp_path / "c", samples=dense_samples(), formats=["tflite", "onnx"])
    assert not (tmp_path / "c").exists()


def test_two_exports_into_one_place_are_told_apart(tmp_path):
    with lock_place(tmp_path / "b"), pytest.raises(PlaceInUseError, match="another run"):
        export_bundle(dense(), tmp_path / "b", formats=["onnx"], samples=dense_samples())
    assert not list(tmp_path.iterdir())
