import numpy as np
import pytest

from mmzoo.export.testing.layer_checks import check_layer, randomize
from mmzoo.fusion import LateFusion

CLASSES = 4
MODALITIES = [("text",), ("image", "text"), ("audio", "image", "text")]


def data(names, batch=3, scale=2.0):
    rng = np.random.default_rng(0)
    return {m: (scale * rng.standard_normal((batch, CLASSES))).astype("float32") for m in names}


def reference(raw, logits):
    """`sum_m w_m * log_softmax(logit_m)`, `w = softplus(raw) / log 2`, in float64."""
    total = 0
    for weight, name in zip(np.asarray(raw, "float64"), sorted(logits), strict=True):
        logit = logits[name].astype("float64")
        log_softmax = logit - np.log(np.exp(logit).sum(1, keepdims=True))
        total = total + np.log1p(np.exp(weight)) / np.log(2) * log_softmax
    return total


@pytest.mark.parametrize("names", MODALITIES)
def test_conformance(tmp_path, names):
    check_layer(
        lambda: LateFusion(name="late"),
        lambda layer, inputs: layer(inputs),
        inputs=data(names),
        num_weights=len(names),
        output_shape=(3, CLASSES),
        formats=("saved_model", "tflite", "onnx") if len(names) == 3 else (),
        folder=tmp_path,
    )


@pytest.mark.parametrize("names", MODALITIES)
def test_against_the_formula(names):
    logits = data(names, batch=6)
    layer = LateFusion()
    layer(logits)
    np.testing.assert_allclose(layer(logits), reference([0] * len(names), logits), rtol=1e-5)
    randomize(layer, 2.0)
    raw = layer.modality_weights.numpy()
    np.testing.assert_allclose(layer(logits), reference(raw, logits), rtol=1e-5)


def test_weights_start_at_one_and_stay_positive():
    logits = data(("image", "text"))
    layer = LateFusion()
    logits["text"][:] = 0  # no opinion: log(1 / classes) for every class
    expected = reference([0], {"image": logits["image"]}) - np.log(CLASSES)
    np.testing.assert_allclose(layer(logits), expected, rtol=1e-5)
    layer.modality_weights.assign([-20.0, -20.0])
    assert (layer(logits).numpy() < 0).all()  # a product of probabilities, however small w


def test_set_expert_weights():
    logits = data(("image", "text"), batch=6)
    layer = LateFusion()
    layer(logits)
    for image, text in [(1.0, 1.0), (0.2, 3.0), (1e-4, 50.0)]:
        layer.set_expert_weights({"text": text, "image": image})
        expected = sum(
            weight * reference([0], {name: logits[name]})
            for name, weight in (("image", image), ("text", text))
        )
        np.testing.assert_allclose(layer(logits), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "weights", [{"image": 1.0}, {"image": 1.0, "audio": 1.0}, {"image": 0.0, "text": 1.0}]
)
def test_expert_weights_error(weights):
    layer = LateFusion()
    layer(data(("image", "text")))
    match = r"positive weight for each of \['image', 'text'\]. Received: {'image': "
    with pytest.raises(ValueError, match=match):
        layer.set_expert_weights(weights)


def test_permuting_samples_and_classes():
    logits = data(MODALITIES[2])
    layer = LateFusion()
    expected = layer(logits).numpy()
    turned = {m: value[::-1, ::-1].copy() for m, value in logits.items()}
    np.testing.assert_allclose(layer(turned), expected[::-1, ::-1], rtol=1e-5)
    np.testing.assert_array_equal(layer(dict(reversed(logits.items()))), expected)


def test_constant_added_to_the_logits_changes_nothing():
    logits = data(("image", "text"))
    layer = LateFusion()
    expected = layer(logits).numpy()
    logits["image"] += 100.0
    np.testing.assert_allclose(layer(logits), expected, rtol=1e-4)


def test_huge_logits_stay_finite():
    logits = data(("image", "text"))
    logits["image"][:] = [[1e30, -1e30, 0, 0]]
    assert np.isfinite(LateFusion()(logits)).all()


@pytest.mark.parametrize(
    "shapes, match",
    [
        (
            {"image": (3, 4), "text": (3, 5)},
            r"one shape .* Received: \{'image': 4, 'text': 5\} classes",
        ),
        (
            {"image": (3, 2, 4), "text": (3, 2, 4)},
            r"shape \(batch, width\) .* image of shape \(3, 2, 4\)",
        ),
        ({"image": (3,)}, r"shape \(batch, width\) .* Received: image of shape \(3,\)"),
    ],
)
def test_shape_error(shapes, match):
    with pytest.raises(ValueError, match=match):
        LateFusion()({name: np.zeros(shape) for name, shape in shapes.items()})
