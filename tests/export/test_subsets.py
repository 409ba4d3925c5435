"""Every subset of the modalities is verified, with what must not be felt in the absent ones."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo import fusion
from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export import ParityError, export_bundle, to_onnx, verify_bundle
from mmzoo.export.certify import reference_answers
from mmzoo.export.certify.certificate import certify
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import describe
from mmzoo.tasks.tensors import Tensor

NAMES = ["text+audio", "text", "audio", "nothing"]


def small_model(felt=""):
    """Bytes and a waveform, any of them absent. `felt` is hidden from no one."""
    text = keras.Input((None,), dtype="uint8", name="text")
    audio = keras.Input((12,), name="audio")
    presence = fusion.presence_inputs(["text", "audio"])
    inputs = {"text": text, "audio": audio}
    seen = fusion.HideAbsent(name="hide")(inputs, presence) | {
        name: inputs[name] for name in inputs if name == felt
    }
    ids, mask = ByteTokens(name="bytes")(seen["text"])
    table = layers.ReLU()(layers.Embedding(256, 6, name="table")(ids))
    vectors = {
        "text": MaskedPooling()(table, mask),
        "audio": layers.Dense(5, name="waves")(seen["audio"]),
    }
    if felt:
        x = layers.Concatenate()(list(vectors.values()))
    else:
        x = fusion.Concatenation(name="fusion")(vectors, presence=presence)
    probability = layers.Dense(4, activation="softmax", name="probability")(x)
    if felt:  # Keras leaves out an input that nothing reads
        for here in presence.values():
            probability = probability + 0 * ops.expand_dims(ops.cast(here, "float32"), -1)
    taken = {t.name: t for t in (*inputs.values(), *presence.values())}
    return keras.Model(taken, {"probability": probability}, name="small")


def small_samples(count=22):
    rng = np.random.default_rng(0)
    inputs = {
        "text": rng.integers(1, 255, (count, 9)).astype("uint8"),
        "audio": rng.standard_normal((count, 12), "float32"),
    }
    return Samples(inputs, rng.integers(0, 4, count))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = small_model()
    layer = model.get_layer("fusion")
    for weight in layer.trainable_weights:
        weight.assign(weight + 1.0)
    path = tmp_path_factory.mktemp("subsets") / "bundle"
    return model, export_bundle(model, path, samples=small_samples(), classes=list("abcd"))


def test_an_input_tells_presence_by_its_name_dtype_and_shape():
    x = keras.Input((3,), name="x")
    others = {
        "x_present": keras.Input((), dtype="bool", name="x_present"),
        "y_present": keras.Input((), dtype="bool", name="y_present"),  # there is no y
        "x_here": keras.Input((), dtype="bool", name="x_here"),
    }
    y = x + sum(ops.expand_dims(ops.cast(o, "float32"), -1) for o in others.values())
    inputs, _ = describe(keras.Model({"x": x, **others}, {"result": y}))
    assert {t.name: t.presence_of for t in inputs} == {
        "x": "", "x_present": "x", "y_present": "", "x_here": "",
    }  # fmt: skip
    assert [Tensor.from_json(t.to_json()) for t in inputs] == inputs


def test_subsets_are_dealt_out_evenly_and_what_is_absent_is_spoilt():
    inputs, _ = describe(small_model())
    samples = small_samples().fit(inputs)
    assert samples.inputs["text_present"].all() and samples.inputs["audio_present"].all()
    drawn = draw_subsets(samples, inputs)
    assert list(drawn.rows) == NAMES
    assert sorted(np.concatenate(list(drawn.rows.values()))) == list(range(128))
    for name, rows in drawn.rows.items():
        assert len(rows) == 32
        for modality in ("text", "audio"):
            here = modality in name
            for kind in (drawn.blank, drawn.spoilt):
                assert (kind.inputs[f"{modality}_present"][rows] == here).all()
            blank, spoilt = (kind.inputs[modality][rows] for kind in (drawn.blank, drawn.spoilt))
            if here:
                np.testing.assert_array_equal(blank, samples.inputs[modality][rows % 22])
                np.testing.assert_array_equal(spoilt, blank)
            else:
                assert not blank.any()
                assert np.isnan(spoilt).all() if modality == "audio" else spoilt.all()


def test_more_subsets_than_samples_repeat_the_samples():
    tensors = [Tensor(f"m{k}", "float32", (None, 2)) for k in range(5)]
    tensors += [Tensor(f"m{k}_present", "bool", (None,), presence_of=f"m{k}") for k in range(5)]
    samples = Samples({f"m{k}": np.ones((17, 2), "float32") for k in range(5)}).fit(tensors)
    drawn = draw_subsets(samples, tensors)
    assert len(drawn.rows) == 32 and len(drawn.origin) == 32 * 32
    assert drawn.origin.tolist() == (np.arange(1024) % 17).tolist()
    assert {len(rows) for rows in drawn.rows.values()} == {32}
    assert draw_subsets(samples, tensors[:5]) is None


def test_what_a_sample_lacks_by_itself_is_not_dealt_to_it():
    inputs, _ = describe(small_model())
    given = small_samples()
    here = np.arange(22) % 2 == 0
    spoilt = np.where(here[:, None], given.inputs["audio"], np.float32(np.nan))
    present = {t.name: np.ones(22, bool) for t in inputs if t.presence_of}
    values = {**given.inputs, **present, "audio": spoilt, "audio_present": here}
    samples = Samples(values).fit(inputs)
    drawn = draw_subsets(samples, inputs)
    for name, rows in drawn.rows.items():
        if "audio" in name:
            assert here[drawn.origin[rows]].all()
        assert (drawn.blank.inputs["audio_present"][rows] == ("audio" in name)).all()
    assert np.isfinite(drawn.blank.inputs["audio"]).all()


def test_the_certificate_holds_for_every_subset_in_every_format(exported):
    model, bundle = exported
    assert bundle.certificate["holds"] is True
    labels = small_samples().labels
    inputs, _ = describe(model)
    drawn = draw_subsets(small_samples().fit(inputs), inputs)
    answers = np.asarray(model(drawn.blank.inputs)["probability"])
    for name, entry in bundle.certificate["formats"].items():
        for signature in {"saved_model": ["serving_default", "portable"]}.get(name, ["portable"]):
            seen = [
                (check["sizes"], check["batch"], check["samples"])
                for check in entry["checks"]
                if check["signature"] == signature and check["sizes"] in [*NAMES, "subsets"]
            ]
            sizes = {name: len(rows) for name, rows in drawn.rows.items()}
            assert seen == [("subsets", 1, 51), *((n, 17, size) for n, size in sizes.items())]
        assert list(entry["subsets"]) == NAMES
        for subset, rows in drawn.rows.items():
            right = np.mean(answers[rows].argmax(1) == labels[drawn.origin[rows]])
            assert entry["subsets"][subset]["artifact"] == pytest.approx(right)
    assert len({tuple(row) for row in answers.round(4)}) > 10  # the answers do differ


def test_presence_is_an_input_of_every_signature(exported):
    _, bundle = exported
    for entry in bundle.manifest["formats"].values():
        for signature in entry["signatures"].values():
            found = {t["name"]: t for t in signature["inputs"]}
            for modality in ("text", "audio"):
                assert found[f"{modality}_present"] == {
                    "name": f"{modality}_present", "dtype": "bool", "shape": [None],
                    "presence_of": modality,
                }  # fmt: skip


@pytest.mark.parametrize("felt, shown", [("audio", "NaN|not finite"), ("text", "difference")])
def test_a_model_that_feels_what_is_absent_does_not_pass(felt, shown, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="'probability' changes when the content of an absent.*HideAbsent"
    ):
        export_bundle(small_model(felt), tmp_path / "bundle", samples=small_samples())
    assert not (tmp_path / "bundle").exists()
    # Nor does a file that does so by itself.
    monkeypatch.setattr(reference_answers, "check_model", lambda *_: None)
    with pytest.raises(ParityError, match=shown) as caught:
        export_bundle(small_model(felt), tmp_path / "bundle", samples=small_samples())
    failed = {
        (name, check["sizes"])
        for name, entry in caught.value.certificate["formats"].items()
        for check in entry["checks"]
        if not check["holds"]
    }
    other = "text" if felt == "audio" else "audio"
    wrong = {"subsets", other, "nothing"}
    assert failed == {(name, size) for name in ("saved_model", "tflite", "onnx") for size in wrong}
    assert not (tmp_path / "bundle").exists()


def test_verify_runs_the_subsets_again_and_compares_their_metric(exported, tmp_path):
    copy = shutil.copytree(exported[1].path, tmp_path / "bundle")
    verified = verify_bundle(copy)
    assert verified.certificate["holds"] is True
    path = copy / "certificate.json"
    certificate = json.loads(path.read_text())
    certificate["formats"]["onnx"]["subsets"]["text"]["artifact"] = 1.0
    path.write_text(json.dumps(certificate))
    with pytest.raises(ParityError, match="certificate.json does not say what the checks say"):
        verify_bundle(copy)


def test_answers_for_subsets_can_not_be_left_out(exported):
    _, bundle = exported
    tensors = [Tensor.from_json(t) for t in bundle.manifest["inputs"]]
    samples = small_samples().fit(tensors)
    with np.load(bundle.path / "reference.npz") as archive:
        reference = {key.partition("/")[0]: {"probability": archive[key]} for key in archive.files}
    reference.pop("subsets")
    with pytest.raises(ValueError, match="answers for every subset of the modalities"):
        certify(bundle.path, bundle.manifest, samples, reference)


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_predict_takes_any_subset(exported, format):
    model, bundle = exported
    given = {"text": "red apple"}
    [best, *_] = predict_sample(bundle.path, format, given, top=4)["probability"]
    inputs = {
        "text": np.frombuffer(b"red apple", "uint8")[None],
        "audio": np.full((1, 12), 7, "float32"),
        "text_present": np.array([True]),
        "audio_present": np.array([False]),
    }
    expected = np.asarray(model(inputs)["probability"])[0]
    assert best["class"] == "abcd"[expected.argmax()]
    assert best["score"] == pytest.approx(float(expected.max()), rel=1e-5)


def test_predict_wants_something(exported):
    with pytest.raises(ValueError, match="at least one of text, audio"):
        predict_sample(exported[1].path, "tflite", {})
    with pytest.raises(ValueError, match="Unknown: smell"):
        predict_sample(exported[1].path, "tflite", {"smell": 1, "text": "a"})
    for text in ("", " \n"):
        with pytest.raises(ValueError, match="Received an empty one. Leave it out: the model can"):
            predict_sample(exported[1].path, "tflite", {"text": text})


def test_predict_says_what_a_model_without_presence_lacks(tmp_path):
    text = keras.Input((9,), dtype="uint8", name="text")
    audio = keras.Input((12,), name="audio")
    x = layers.Concatenate()([ops.cast(text, "float32") / 255, audio])
    model = keras.Model(
        {"text": text, "audio": audio},
        {"probability": layers.Dense(4, activation="softmax", name="classify")(x)},
    )
    export_bundle(model, tmp_path / "bundle", samples=small_samples(), formats=["tflite"])
    with pytest.raises(ValueError, match="Missing: audio; this model can't do without"):
        predict_sample(tmp_path / "bundle", "tflite", {"text": "red"})


def test_a_choice_in_onnx_does_not_feel_what_was_not_chosen(tmp_path):
    """tf2onnx writes a choice as a sum of products, through which NaN comes."""
    x = keras.Input((3,), name="x")
    here = keras.Input((3,), dtype="bool", name="here")
    there = keras.Input((3,), dtype="bool", name="there")
    chosen = layers.Identity(name="chosen")(ops.where(here, x, 1.0))
    mask = ops.cast(ops.where(here, there, ops.logical_not(there)), "int32")
    count = layers.Identity(name="mask")(ops.where(there, mask, 5))
    model = keras.Model({"x": x, "here": here, "there": there}, {"chosen": chosen, "count": count})
    path = to_onnx(model, tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    values = np.array([[1, np.nan, np.inf], [2, -np.inf, 3]], "float32")
    inputs = {"x": values, "here": np.array([[1, 0, 0], [1, 0, 1]], bool)}
    inputs["there"] = rng.integers(0, 2, (2, 3)).astype(bool)
    [outputs] = run_artifact("onnx", path, inputs, [(2, 2)]).outputs
    np.testing.assert_array_equal(outputs["chosen"], [[1, 1, 1], [2, 1, 3]])
    np.testing.assert_array_equal(outputs["count"], np.asarray(model(inputs)["count"]))
