"""What a TFLite file costs, and that a wrong one is found out."""

import keras
import numpy as np
import pytest

from mmzoo.export.bench import model_cost
from mmzoo.fusion import zoo

SHAPES = {"image": (3, 6), "text": (4, 5)}


def samples_of(model, count=6):
    rng = np.random.default_rng(0)
    inputs = {}
    for name, tensor in model.input.items():
        value = rng.standard_normal((count, *tensor.shape[1:])).astype("float32")
        inputs[name] = value > -1 if tensor.dtype == "bool" else value
    return inputs


@pytest.mark.parametrize("kind", ["LateFusion", "CrossAttention"])
def test_a_kind_of_fusion_answers_alike(kind):
    keras.utils.set_random_seed(0)
    model = zoo.build_kind(kind, SHAPES, 4, 8)
    found = model_cost.measure_tflite(model, samples_of(model))
    assert found.breaches == () and 0 <= found.max_difference < 1e-5
    assert np.isfinite(found.latency_ms) and found.latency_ms > 0


def build(offset=0.0, names=("logits",)):
    inputs = keras.Input((3,), name="text")
    outputs = {name: keras.layers.Rescaling(2.0, offset)(inputs) for name in names}
    return keras.Model({"text": inputs}, outputs)


@pytest.mark.parametrize(
    "other, worst, breach",
    [
        (build(offset=0.5), 0.1, "logits: largest difference 0.5 is 0.1 of the scale"),
        (build(offset=float("nan")), float("nan"), "logits: 18 of 18 values are not finite"),
        (build(names=("fused",)), float("nan"), "logits: expected float32 of shape (6, 3), rec"),
    ],
)
def test_a_file_that_answers_otherwise_is_told(monkeypatch, other, worst, breach):
    write = model_cost.write_tflite
    monkeypatch.setattr(model_cost, "write_tflite", lambda model, path: write(other, path))
    inputs = {"text": np.linspace(-2.5, 2.5, 18, dtype="float32").reshape(6, 3)}
    found = model_cost.measure_tflite(build(), inputs)
    assert found.max_difference == pytest.approx(worst, nan_ok=True)
    assert found.breaches[0].startswith(breach)


def test_a_difference_within_the_tolerance_is_none(monkeypatch):
    write = model_cost.write_tflite
    other = build(offset=0.5)
    monkeypatch.setattr(model_cost, "write_tflite", lambda model, path: write(other, path))
    inputs = {"text": np.linspace(-2500, 2500, 18, dtype="float32").reshape(6, 3)}
    assert model_cost.measure_tflite(build(), inputs, tolerance=2e-4).breaches == ()
    assert model_cost.measure_tflite(build(), inputs).breaches != ()
