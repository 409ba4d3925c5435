"""Temperatures from held-out samples: each expert as sure as it is right."""

import keras
import numpy as np
import pytest

from mmzoo.export.testing.layer_checks import assert_near
from mmzoo.fusion.late_fusion import LateFusion
from mmzoo.fusion.mean_fusion import MeanFusion
from mmzoo.fusion.temperature_scaling import TemperatureScaling
from mmzoo.training.calibration import calibrate_experts, calibrate_temperatures

SAMPLES = 4000
TRUE = {"image": 3.0, "text": 0.4}


def samples():
    """Logits whose best temperature is known.

    With noise of variance 1 around the label's one-hot vector, `log p(label | clean)` is
    `clean[label]` but for a constant: `clean` is right, and T times it is too sure or too shy.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, SAMPLES)
    inputs = {}
    for name, temperature in TRUE.items():
        clean = rng.standard_normal((SAMPLES, 4)) + np.eye(4)[labels]
        inputs[name] = (temperature * clean).astype("float32")
    return inputs, labels


def experts(with_presence=False, fuse=MeanFusion):
    inputs = {name: keras.Input((4,), name=name) for name in TRUE}
    layer = TemperatureScaling(name="temperatures")
    if not with_presence:
        fused = fuse(name="fused")(layer(inputs))
        return keras.Model(inputs, {"logits": fused}), layer
    here = {name: keras.Input((), dtype="bool", name=f"{name}_present") for name in TRUE}
    fused = fuse(name="fused")(layer(inputs, here), presence=here)
    every = {**inputs, **{f"{name}_present": tensor for name, tensor in here.items()}}
    return keras.Model(every, {"logits": fused}), layer


def test_the_true_temperatures_are_found():
    (model, layer), (inputs, labels) = experts(), samples()
    found = calibrate_temperatures(model, layer, inputs, labels)
    assert set(found) == set(TRUE)
    for name, temperature in TRUE.items():
        assert found[name] == pytest.approx(temperature, rel=0.1)
    set_to = np.exp(layer.log_temperatures.numpy())
    np.testing.assert_allclose(set_to, [found["image"], found["text"]], rtol=1e-5)


def test_no_other_temperature_is_better():
    (model, layer), (inputs, labels) = experts(), samples()
    found = calibrate_temperatures(model, layer, inputs, labels)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for name, best in found.items():
        losses = [float(cross_entropy(labels, inputs[name] / (best * f))) for f in (0.9, 1, 1.1)]
        assert losses[1] < min(losses[0], losses[2])


def test_absent_samples_do_not_count():
    inputs, labels = samples()
    first = np.arange(SAMPLES) < 2500
    model, layer = experts(with_presence=True)
    noisy = {name: value.copy() for name, value in inputs.items()}
    noisy["image"][~first] = np.nan
    presence = {"image_present": first, "text_present": np.ones(SAMPLES, bool)}
    found = calibrate_temperatures(model, layer, noisy | presence, labels)
    model, layer = experts()
    part = {name: value[first] for name, value in inputs.items()}
    assert found["image"] == pytest.approx(
        calibrate_temperatures(model, layer, part, labels[first])["image"], rel=1e-3
    )
    assert found["text"] == pytest.approx(
        calibrate_temperatures(model, layer, inputs, labels)["text"], rel=1e-3
    )


def test_weights_of_experts_too_leave_absent_samples_out():
    inputs, labels = samples()
    symbols = {name: keras.Input((4,), name=name) for name in TRUE}
    here = {name: keras.Input((), dtype="bool", name=f"{name}_present") for name in TRUE}
    layer = LateFusion(name="experts")
    model = keras.Model(
        {**symbols, **{f"{name}_present": tensor for name, tensor in here.items()}},
        {"logits": layer(symbols, presence=here)},
    )
    gone = np.zeros(SAMPLES, bool)
    given = {**inputs, "text": np.full_like(inputs["text"], np.nan)}
    given |= {"image_present": ~gone, "text_present": gone}
    weights = calibrate_experts(model, layer, given, labels)
    assert weights["image"] == pytest.approx(1 / TRUE["image"], rel=0.1)
    assert weights["text"] == pytest.approx(1.0)  # nothing was learned of it
    logits = model.predict(given, verbose=0)["logits"]
    expected = weights["image"] * np.asarray(keras.ops.log_softmax(inputs["image"]))
    assert_near(logits, expected, 1e-5)


def test_a_lone_expert():
    inputs, labels = samples()
    symbols = {"image": keras.Input((4,), name="image")}
    scaling, fusion = TemperatureScaling(), LateFusion()
    alone = {"image": inputs["image"]}
    model = keras.Model(symbols, scaling(symbols))
    temperature = calibrate_temperatures(model, scaling, alone, labels)["image"]
    model = keras.Model(symbols, {"logits": fusion(symbols)})
    weight = calibrate_experts(model, fusion, alone, labels)["image"]
    assert temperature == pytest.approx(TRUE["image"], rel=0.1)
    assert weight == pytest.approx(1 / temperature)


def test_errors():
    inputs, labels = samples()
    model, layer = experts()
    with pytest.raises(ValueError, match="Expected 4000 labels. Received: 3999"):
        calibrate_temperatures(model, layer, inputs, labels[1:])
    model, layer = experts(with_presence=True)
    given = inputs | {"image_present": np.ones(SAMPLES, bool)}
    given |= {"text_present": np.zeros(SAMPLES, bool)}
    with pytest.raises(ValueError, match="samples with every expert. Received: none with 'text'"):
        calibrate_temperatures(model, layer, given, labels)
