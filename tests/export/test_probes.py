"""Probe rows: drawn from the samples, answered by Keras, and held in every format."""

import importlib
import itertools
import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_model import small_model, small_samples

from mmzoo.export import ParityError, export_bundle, to_onnx, to_tflite, verify_bundle
from mmzoo.export.certify.edge_cases.probe_answers import answer_probes
from mmzoo.export.certify.edge_cases.probe_rows import NORMAL, draw_probes
from mmzoo.export.certify.reference_answers import answers, predict
from mmzoo.export.samples.samples import Samples, random_samples
from mmzoo.export.surgery.model_description import describe
from mmzoo.tasks.tensors import Tensor

RNG = np.random.default_rng(0)
FLOATS = Samples({"x": RNG.uniform(0.5, 1.5, (20, 4)).astype("float32")})
INTEGERS = Samples({"k": RNG.integers(0, 5, (20, 3)).astype("int32")})


def test_rows_by_the_kind_of_each_input():
    tensors = [
        Tensor("image", "uint8", (None, 2, 2, 1)),
        Tensor("audio", "float32", (None, 3)),
        Tensor("half", "float16", (None, 2)),
        Tensor("ids", "int32", (None, 2)),
        Tensor("small", "int8", (None,)),
        Tensor("mask", "bool", (None, 4)),
        Tensor("image_present", "bool", (None,), presence_of="image"),
        Tensor("audio_present", "bool", (None,), presence_of="audio"),
    ]
    given = Samples(
        {
            "image": RNG.integers(0, 9, (20, 2, 2, 1)).astype("uint8"),
            "audio": np.clip(RNG.standard_normal((20, 3)), -1.5, 2).astype("float32"),
            "half": np.full((20, 2), 9000, "float16"),
            "ids": np.tile([[3, 7]], (20, 1)).astype("int32"),
            "small": np.full(20, 100, "int8"),
            "mask": RNG.random((20, 4)) > 0.5,
        }
    ).fit(tensors)
    drawn = draw_probes(given, tensors)
    again = draw_probes(given, tensors)
    for name, value in drawn.inputs.items():
        np.testing.assert_array_equal(value, again.inputs[name])
        assert value.dtype == given.inputs[name].dtype and len(value) == len(drawn) <= 40
    rows = dict(zip(drawn.names, range(len(drawn)), strict=True))
    assert len(rows) == len(drawn)
    seen = {name: {k.partition("=")[2] for k in rows if k.startswith(f"{name}=")}
            for name in given.inputs}  # fmt: skip
    low, high = (f"{10.0 * f(given.inputs['audio']):g}" for f in (np.min, np.max))
    assert seen["image"] == {"0", "1", "255"}
    assert seen["audio"] >= {"0", "95", high}
    assert seen["ids"] >= {"-1", "7"} and seen["small"] >= {"-1", "100"}
    assert seen["mask"] >= {"false", "true"}  # the third with fewer inputs
    together = [k for name, k in rows.items() if name.startswith("all inputs")]
    assert {int(drawn.inputs["ids"][k].max()) for k in together} == {-1, 0, 1, 7, 70, 30}
    assert np.isfinite(drawn.inputs["half"]).all()
    assert {low, high} <= {f"{drawn.inputs['audio'][k, 0]:g}" for k in together}
    assert not drawn.inputs["image_present"][rows["all absent"]]
    assert not drawn.inputs["audio_present"][rows["audio absent"]]
    assert drawn.inputs["image_present"][rows["audio absent"]]
    normal = [k for name, k in rows.items() if name.startswith(NORMAL)]
    assert len(normal) >= 4
    for k in normal:
        np.testing.assert_array_equal(drawn.inputs["audio"][k], given.inputs["audio"][k % 20])
    fewer = drawn.without(["all absent", "image=0"])
    assert len(fewer) == len(drawn) - 2
    np.testing.assert_array_equal(
        fewer.inputs["ids"][fewer.rows_of(["ids=-1"])], np.full((1, 2), -1)
    )


def test_no_two_rows_have_one_name():
    """All inputs take 0 and 1 together twice: where one is left out, the other stays."""
    values = {n: np.full((20, 2), k, "int32") for n, k in {"ids": 1, "kinds": 0, "mask": 1}.items()}
    tensors = [Tensor(name, "int32", (None, 2)) for name in values]
    drawn = draw_probes(Samples(values), tensors)
    assert len(set(drawn.names)) == len(drawn)


def test_token_ids_of_no_text_are_not_asked_of_strings():
    tensors = [Tensor("ids", "int32", (None, 2), tokens_of="text"),
               Tensor("x", "float32", (None, 2))]  # fmt: skip
    given = Samples(
        {"ids": np.ones((20, 2), "int32"), "x": np.ones((20, 2), "float32")},
        texts={"text": np.full((20, 3), 97, "uint8")},
    )
    drawn = draw_probes(given, tensors)
    assert [n for n, i in zip(drawn.names, drawn.ids, strict=True) if i] == [
        name for name in drawn.names if name.startswith("ids=")
    ]
    assert (drawn.texts["text"] == 97).all()


def model_of(samples, function):
    [(name, value)] = samples.inputs.items()
    x = keras.Input(value.shape[1:], dtype=str(value.dtype), name=name)
    return keras.Model({name: x}, {"y": function(x)})


def safe_log(x):
    value = ops.log(x)
    return ops.where(ops.isinf(value), -10.0, ops.where(ops.isnan(value), 0.0, value))


# What converters wrote: the function that Keras runs, and the one that stood in the file.
WRONG = {
    "softplus at 95": (
        FLOATS, ops.softplus, lambda x: ops.log(1 + ops.exp(x)), "not finite|largest"),
    "one_hot of -1": (
        INTEGERS, lambda k: ops.one_hot(k, 5), lambda k: ops.one_hot((k + 5) % 5, 5), "largest"),
    "a unit vector of zeros": (
        FLOATS, layers.UnitNormalization(),
        lambda x: x / ops.sqrt(ops.sum(x * x, -1, keepdims=True)), "not finite"),
    "a cap that is not kept": (
        FLOATS, lambda x: ops.minimum(x, 6.0), lambda x: x + 0.0, "largest difference"),
    "isinf": (FLOATS, safe_log, lambda x: ops.where(ops.isnan(ops.log(x)), 0.0, ops.log(x)),
              "not finite"),
    "an index above the largest": (
        INTEGERS, lambda k: ops.one_hot(k, 5), lambda k: ops.one_hot(ops.minimum(k, 4), 5),
        "largest difference"),
    "a small value beside huge ones": (
        FLOATS, lambda x: x + 0.01 * ops.cast(ops.equal(x, 0), "float32"), lambda x: x + 0.0,
        "largest difference 0.01"),
    "a square that is 0 for Keras alone": (
        FLOATS, lambda x: ops.sign(x * x), lambda x: ops.sign(ops.abs(x)), "largest difference 1"),
}  # fmt: skip


@pytest.mark.parametrize("case, format", list(zip(WRONG, itertools.cycle(["tflite", "onnx"]))))
def test_a_wrong_value_that_samples_do_not_show_is_found(case, format, tmp_path, monkeypatch):
    samples, right, wrong, words = WRONG[case]
    model, planted = model_of(samples, right), model_of(samples, wrong)
    np.testing.assert_allclose(
        predict(model, samples.inputs)["y"], predict(planted, samples.inputs)["y"], atol=1e-6
    )
    module = importlib.import_module(f"mmzoo.export.convert.{format}_writer")
    write = getattr(module, f"write_{format}")
    monkeypatch.setattr(module, f"write_{format}", lambda _, path: write(planted, path))
    with pytest.raises(ParityError, match=f"output 'y', probes: .*{words}") as caught:
        {"tflite": to_tflite, "onnx": to_onnx}[format](model, tmp_path / "m", samples=samples)
    failed = {c["sizes"] for c in caught.value.certificate["formats"][format]["checks"]
              if not c["holds"]}  # fmt: skip
    assert failed == {"probes"}
    assert list(tmp_path.iterdir()) == []


def asked(model, samples, tolerance=1e-5):
    inputs, _ = describe(model)
    samples = samples.fit(inputs)
    usual = predict(model, samples.inputs)
    return answer_probes(model, samples, inputs, usual, tolerance)


def test_what_keras_refuses_or_answers_with_nan_is_left_out_and_counted():
    found, said = asked(model_of(INTEGERS, layers.Embedding(9, 2)), INTEGERS)
    assert set(said["reasons"]) == {"k=40"} and said["left_out"] == 1  # -1 is Keras' last
    assert all("Keras refuses it: " in reason for reason in said["reasons"].values())
    assert said["rows"] == len(found["y"]) == 5 and said["unsteady"] == []
    found, said = asked(model_of(FLOATS, ops.log), FLOATS)
    assert said["reasons"] == dict.fromkeys(
        ["x=0", "x=-95"], "Keras answers NaN or infinity in 'y'"
    )
    assert np.isfinite(found["y"]).all()


def test_a_row_that_rounding_alone_moves_is_unsteady_and_must_be_finite():
    model = model_of(FLOATS, lambda x: ops.sin(1e4 * x))
    _, said = asked(model, FLOATS, 1e-3)
    assert "x=95" in said["unsteady"] and "x=0" not in said["unsteady"]
    assert not any(name.startswith(NORMAL) for name in said["unsteady"])


def test_the_weights_are_moved_in_the_question_and_not_in_the_model():
    keras.utils.set_random_seed(0)
    model = model_of(INTEGERS, lambda k: layers.Dense(2)(ops.cast(k, "float32") * 1e3 - 1e3))
    before = [v.numpy() for v in model.weights]
    _, said = asked(model, INTEGERS, 1e-9)
    assert said["unsteady"]  # of a tolerance that float32 does not keep
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert asked(model, INTEGERS)[1]["unsteady"] == []


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    keras.utils.set_random_seed(0)
    return export_bundle(
        small_model(), tmp_path_factory.mktemp("probes") / "bundle", samples=small_samples(),
        classes=list("abcdefg"), metric_limit=0.1,
        formats=["saved_model", "tflite", "tflite-batch1", "tflite-dynamic"],
    )  # fmt: skip


def test_a_bundle_runs_them_alone_and_mixed_in_every_signature(probed):
    said = probed.manifest["probes"]
    assert said == probed.certificate["probes"] and said["left_out"] == 0
    for name, entry in probed.certificate["formats"].items():
        for signature in probed.manifest["formats"][name]["signatures"]:
            made = [c for c in entry["checks"]
                    if c["sizes"] == "probes" and c["signature"] == signature]  # fmt: skip
            assert {c["batch"] for c in made} == ({1} if name == "tflite-batch1" else {1, 17})
            assert {c["output"] for c in made} == {"probability", "embedding"}
            assert all(c["samples"] + len(said["unsteady"]) == said["rows"] for c in made)
            assert all(c["finite"] for c in made)


def test_verify_runs_the_same_rows_again(probed, tmp_path):
    copy = shutil.copytree(probed.path, tmp_path / "bundle")
    assert verify_bundle(copy).certificate["probes"] == probed.manifest["probes"]
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["probes"] |= {"reasons": {"text=0": "none"}, "left_out": 1}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="Expected reference answers to .* probe rows"):
        verify_bundle(copy)


def test_a_quantised_file_must_answer_them_with_finite_numbers(tmp_path, monkeypatch):
    variants = importlib.import_module("mmzoo.export.convert.variants")
    dense = layers.Dense(4, use_bias=False)
    model = model_of(FLOATS, lambda x: layers.UnitNormalization()(dense(x)))

    def root(x):
        y = dense(x)
        return y / ops.sqrt(ops.sum(y * y, -1, keepdims=True))

    wrong = model_of(FLOATS, root)
    write = variants.write_tflite
    monkeypatch.setattr(variants, "write_tflite", lambda _, path: write(wrong, path))
    with pytest.raises(ParityError, match="tflite-float16: portable, .*probes: .*not finite"):
        export_bundle(model, tmp_path / "b", samples=FLOATS, formats=["tflite-float16"])


def test_random_samples_have_answers_too():
    model = model_of(FLOATS, layers.Dense(3))
    inputs, _ = describe(model)
    found, refused, said = answers(model, random_samples(inputs))
    assert refused == {} and len(found["probes"]["y"]) == said["rows"] > 6
