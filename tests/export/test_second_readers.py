"""Other runtimes read the same artifacts."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo import fusion
from mmzoo.export import ParityError, export_bundle
from mmzoo.export.certify import second_runtimes
from mmzoo.export.samples.samples import Samples

NAMES = {
    "saved_model": ["saved_model by OpenVINO"],
    "tflite": ["tflite without XNNPACK", "tflite by OpenVINO"],
    "tflite-batch1": ["tflite without XNNPACK", "tflite by OpenVINO"],
    "onnx": ["onnx by OpenVINO"],
    "tflite-dynamic": [],
}


def build():
    """Two inputs and three outputs, one of them bool, one int, in no order of their names."""
    x = keras.Input((6,), name="x")
    b = keras.Input((4,), name="b")
    presence = fusion.presence_inputs(["x", "b"])
    fused = fusion.Concatenation(name="fusion")({"x": x, "b": b}, presence=presence)
    logits = layers.Dense(5, name="logits")(layers.Dense(64, "relu", name="hidden")(fused))
    outputs = {
        "probability": layers.Softmax(name="probability")(logits),
        "large": layers.Identity(name="large")(logits > 0),
        "count": layers.Identity(name="count")(ops.sum(ops.cast(logits > 0, "int32"), -1)),
    }
    taken = {t.name: t for t in (x, b, *presence.values())}
    return keras.Model(taken, outputs, name="two")


def samples():
    rng = np.random.default_rng(0)
    shapes = {"x": (20, 6), "b": (20, 4)}
    return Samples({name: rng.standard_normal(s).astype("float32") for name, s in shapes.items()})


def test_every_reader_gives_the_same_answers_of_every_subset(tmp_path):
    keras.utils.set_random_seed(0)
    bundle = export_bundle(
        build(), tmp_path / "bundle", formats=tuple(NAMES), samples=samples(), metric_limit=0.1
    )
    for name, readers in NAMES.items():
        found = bundle.certificate["formats"][name]["second_readers"]
        assert [reader["runtime"] for reader in found] == readers
        for reader in found:
            assert reader["samples"] == 20 and reader["breaches"] == []
            assert 0 <= reader["max_abs"] < 1e-5


def test_another_answer_of_a_second_reader_is_a_breach(tmp_path, monkeypatch):
    run = second_runtimes.run_artifact

    def wrong(format, *arguments, **options):
        result = run(format, *arguments, **options)
        if format == "onnx by OpenVINO":
            result.outputs[1]["probability"] = result.outputs[1]["probability"] * 1.001
        return result

    monkeypatch.setattr(second_runtimes, "run_artifact", wrong)
    with pytest.raises(ParityError, match="onnx by OpenVINO, 'probability': largest difference"):
        export_bundle(build(), tmp_path / "bundle", formats=["onnx"], samples=samples())


def test_without_openvino_the_certificate_says_so(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        second_runtimes.importlib.util, "find_spec",
        lambda name, *rest: None if name == "openvino" else find(name, *rest),
    )  # fmt: skip
    bundle = export_bundle(build(), tmp_path / "bundle", formats=["onnx"], samples=samples())
    [reader] = bundle.certificate["formats"]["onnx"]["second_readers"]
    assert reader["not_run"] == "OpenVINO is not installed"
