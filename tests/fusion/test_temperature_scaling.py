"""Temperatures of experts: each logit of an expert over one learned number."""

import numpy as np
import pytest
import tensorflow as tf
from test_late_fusions import CLASSES, NAMES, SUBSETS, data

from mmzoo.export.testing.layer_checks import check_layer, randomize
from mmzoo.fusion import MeanFusion, TemperatureScaling


def call_scaling(layer, inputs):
    names = [name for name in inputs if not name.endswith("_present")]
    presence = {m: inputs[f"{m}_present"] > 0 for m in names if f"{m}_present" in inputs}
    return layer({m: inputs[m] for m in names}, presence or None)


def scaled_reference(layer, logits, presence=None):
    logs = layer.log_temperatures.numpy().astype("float64")
    return {
        m: np.array([
            row / np.exp(logs[k]) if presence is None or presence[m][sample] else 0 * row
            for sample, row in enumerate(logits[m].astype("float64"))
        ])
        for k, m in enumerate(sorted(logits))
    }  # fmt: skip


@pytest.mark.parametrize("names", SUBSETS)
@pytest.mark.parametrize("with_presence", [False, True])
def test_scaling_contract(tmp_path, names, with_presence):
    logits, presence = data(names, batch=3)
    inputs = dict(logits)
    if with_presence:
        inputs |= {f"{m}_present": presence[m].astype("float32") for m in names}
    check_layer(
        TemperatureScaling,
        call_scaling,
        inputs=inputs,
        num_weights=len(names),
        output_shape=[(3, CLASSES)] * len(names),
        formats=("saved_model", "tflite", "onnx") if names == NAMES and with_presence else (),
        folder=tmp_path,
    )


@pytest.mark.parametrize("names", SUBSETS)
def test_scaling_against_the_formula(names):
    logits, presence = data(names)
    for here in (presence, None):
        layer = TemperatureScaling()
        layer(logits, here)
        randomize(layer, 1.0)
        expected = scaled_reference(layer, logits, here)
        output = layer(dict(reversed(logits.items())), here)
        assert set(output) == set(names)
        for m in names:
            np.testing.assert_allclose(output[m], expected[m], rtol=1e-5)


def test_scaling_never_changes_the_ranking_of_an_expert():
    logits, _ = data(batch=50)
    layer = TemperatureScaling()
    for m, value in layer(logits).items():
        np.testing.assert_array_equal(value, logits[m])  # it starts at 1
    layer.set_temperatures({"audio": 0.01, "image": 7.3, "text": 300.0})
    for m, value in layer(logits).items():
        np.testing.assert_array_equal(np.argsort(value), np.argsort(logits[m]))
        assert not np.allclose(value, logits[m])


@pytest.mark.parametrize("content", [7.0, np.inf, np.nan])
def test_absent_logits_are_not_felt_in_the_temperatures(content):
    logits, presence = data()
    layer = TemperatureScaling()
    found = []
    for fill in (None, content):
        filled = {m: value.copy() for m, value in logits.items()}
        for m in NAMES:
            filled[m][~presence[m]] = filled[m][~presence[m]] if fill is None else fill
        with tf.GradientTape() as tape:
            output = MeanFusion()(layer(filled, presence), presence=presence)
            loss = tf.reduce_sum(output**2)
        found.append([output, tape.gradient(loss, layer.log_temperatures.value)])
    for a, b in zip(*found, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "temperatures", [{"image": 1.0}, {"image": 1.0, "audio": 1.0}, {"image": 0.0, "text": 1.0}]
)
def test_set_temperatures_error(temperatures):
    layer = TemperatureScaling()
    layer(data(("image", "text"))[0])
    match = r"positive temperature for each of \['image', 'text'\]. Received: {'image': "
    with pytest.raises(ValueError, match=match):
        layer.set_temperatures(temperatures)


def test_scaling_shape_and_modalities_errors():
    match = r"shape \(batch, classes\) .* Received: text of shape \(3, 2, 4\)"
    with pytest.raises(ValueError, match=match):
        TemperatureScaling()({"text": np.zeros((3, 2, 4))})
    match = r"`features` and `presence` of the same .*\['text'\] and \['image'\]"
    with pytest.raises(ValueError, match=match):
        TemperatureScaling()({"text": np.zeros((3, 4))}, {"image": np.ones(3, bool)})
