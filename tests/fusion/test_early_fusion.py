"""`Concatenation` and `ElementwiseFusion`: vectors in, one vector out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import QUICK

from mmzoo.export.testing.fusion_checks import check_fusion
from mmzoo.export.testing.layer_checks import randomize
from mmzoo.fusion.concatenation import Concatenation
from mmzoo.fusion.elementwise_fusion import MODES, ElementwiseFusion

NAMES = ("audio", "image", "text")
WIDTHS = {"audio": 3, "image": 6, "text": 4}
ALIKE = dict.fromkeys(NAMES, 4)
UNITS = 16  # so that in a maximum each modality wins somewhere
ALL = {  # make, widths, and the exact number of weights for widths
    "concatenation": (Concatenation, WIDTHS, lambda widths: sum(widths.values())),
    **{
        mode: (lambda mode=mode: ElementwiseFusion(mode=mode), ALIKE, lambda w: sum(w.values()))
        for mode in MODES
    },
    **{
        f"{mode} of units": (
            lambda mode=mode: ElementwiseFusion(UNITS, mode),
            WIDTHS,
            lambda widths: sum(d + d * UNITS + UNITS for d in widths.values()),
        )
        for mode in MODES
    },
}
SUBSETS = [NAMES[2:], NAMES[1:], NAMES]


def data(names, widths, batch=8, seed=0):
    rng = np.random.default_rng(seed)
    features = {m: rng.standard_normal((batch, widths[m])).astype("float32") for m in names}
    # Every combination of the three, none of them too.
    presence = {m: np.arange(batch) // 2 ** NAMES.index(m) % 2 == 0 for m in names}
    return features, presence


def built(make, features, presence):
    keras.utils.set_random_seed(0)
    layer = make()
    layer(features, presence=presence)
    randomize(layer, 0.7)
    return layer


def reference(layer, features, presence):
    """The docstrings' formulas in float64, a sample and a number at a time."""
    weights = {w.name: w.numpy().astype("float64") for w in layer.weights}
    rows = []
    for sample in range(len(features["text"])):
        parts = []
        for m in sorted(features):
            here = presence is None or presence[m][sample]
            part = features[m][sample].astype("float64") if here else weights[f"{m}_absent"]
            if getattr(layer, "units", None):
                part = part @ weights[f"{m}_kernel"] + weights[f"{m}_bias"]
            if getattr(layer, "mode", None) == "product" and not here:
                part = 1 + part
            parts.append(part)
        if isinstance(layer, Concatenation):
            rows.append([number for part in parts for number in part])
            continue
        combine = {"sum": sum, "mean": np.mean, "max": max, "product": np.prod}[layer.mode]
        rows.append([combine([part[k] for part in parts]) for k in range(len(parts[0]))])
    return np.array(rows)


@pytest.mark.parametrize("name", ALL)
def test_contract(tmp_path, name):
    make, widths, num_weights = ALL[name]
    check_fusion(make, folder=tmp_path, widths=widths, num_weights=num_weights, formats=QUICK)


@pytest.mark.parametrize("names", SUBSETS)
@pytest.mark.parametrize("name", ALL)
def test_against_the_formula(name, names):
    make, widths, _ = ALL[name]
    features, presence = data(names, widths)
    layer = built(make, features, presence)
    expected = reference(layer, features, presence)
    np.testing.assert_allclose(layer(features, presence=presence), expected, rtol=1e-5, atol=1e-6)
    bare = built(make, features, None)
    expected = reference(bare, features, None)
    np.testing.assert_allclose(bare(features), expected, rtol=1e-5, atol=1e-6)


def test_concatenation_is_in_sorted_order():
    features = {"text": np.array([[3.0]]), "audio": np.array([[1.0, 2.0]])}
    np.testing.assert_array_equal(Concatenation()(features), [[1, 2, 3]])


@pytest.mark.parametrize("mode", MODES)
def test_permuting_the_modalities_of_an_unprojected_fusion_changes_nothing(mode):
    features, _ = data(NAMES, ALIKE)
    layer = ElementwiseFusion(mode=mode)
    expected = layer(features)
    turned = dict(zip(NAMES, [features[m] for m in ("text", "audio", "image")], strict=True))
    np.testing.assert_allclose(layer(turned), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_one_modality_passes_as_it_is(mode):
    features, _ = data(("text",), ALIKE)
    np.testing.assert_array_equal(ElementwiseFusion(mode=mode)(features), features["text"])


@pytest.mark.parametrize("units", [None, UNITS])
def test_in_a_product_what_is_absent_starts_as_about_one(units):
    features, presence = data(("image", "text"), ALIKE)
    presence = {"image": np.zeros(8, bool), "text": np.ones(8, bool)}
    layer = ElementwiseFusion(units, "product")
    output = layer(features, presence=presence).numpy()
    alone = features["text"]
    if units:
        kernel, _ = layer._projections["text"]
        alone = alone @ kernel.numpy()
    np.testing.assert_allclose(output, alone, rtol=0.15, atol=1e-6)
    assert not np.allclose(output, alone, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_absent_learns(mode):
    """Every number of the absent vector gets a gradient, but where another one is the largest."""
    features, presence = data(("image", "text"), ALIKE)
    layer = built(lambda: ElementwiseFusion(mode=mode), features, presence)
    absent = [weight.value for weight in layer.weights if weight.name.endswith("_absent")]
    assert len(absent) == 2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(features, presence=presence) ** 2)
    for gradient in tape.gradient(loss, absent):
        assert (gradient.numpy() != 0).mean() >= (0.5 if mode == "max" else 1.0)


@pytest.mark.parametrize("units", [0, -3, 2.5, "4", True])
def test_units_error(units):
    with pytest.raises(ValueError, match=r"`units` must be a positive int. Received: units="):
        ElementwiseFusion(units)


@pytest.mark.parametrize("mode", ["average", None, 3])
def test_mode_error(mode):
    match = rf"`mode` must be one of \('sum', .*\). Received: mode={mode!r}"
    with pytest.raises(ValueError, match=match):
        ElementwiseFusion(mode=mode)


def test_widths_error():
    features, _ = data(("image", "text"), WIDTHS)
    match = r"one width .* Received: \{'image': 6, 'text': 4\}. Pass `units`"
    with pytest.raises(ValueError, match=match):
        ElementwiseFusion()(features)


@pytest.mark.parametrize("make", [Concatenation, ElementwiseFusion])
def test_rank_and_modalities_errors(make):
    match = r"shape \(batch, width\) .* Received: text of shape \(3, 2, 4\)"
    with pytest.raises(ValueError, match=match):
        make()({"text": np.zeros((3, 2, 4))})
    match = r"same modalities. Received: \['text'\] and \['image'\]"
    with pytest.raises(ValueError, match=match):
        make()({"text": np.zeros((3, 4))}, presence={"image": np.ones(3, bool)})
