"""The intermediate fusion layers: the contract, and each against its formula."""

import itertools
import math

import keras
import numpy as np
import pytest
from quick import QUICK

from mmzoo.export.testing.fusion_checks import (
    MODALITIES,
    WIDTHS,
    call_layer,
    check_absent,
    check_all_present,
    check_fusion,
    check_order,
    make_inputs,
)
from mmzoo.export.testing.layer_checks import check_layer, randomize
from mmzoo.fusion.bilinear_pooling import EPSILON, BilinearPooling
from mmzoo.fusion.feature_modulation import FeatureModulation
from mmzoo.fusion.gated_fusion import GatedFusion
from mmzoo.fusion.low_rank_fusion import LowRankFusion
from mmzoo.fusion.multiplicative_interaction import MultiplicativeInteraction
from mmzoo.fusion.tensor_fusion import TensorFusion

U, R = 5, 3  # units, rank

MAKE = {
    "GatedFusion": lambda: GatedFusion(U, name="fusion"),
    "FeatureModulation": lambda: FeatureModulation(U, main="text", name="fusion"),
    "TensorFusion": lambda: TensorFusion(name="fusion"),
    "LowRankFusion": lambda: LowRankFusion(U, R, name="fusion"),
    "MultiplicativeInteraction": lambda: MultiplicativeInteraction(U, name="fusion"),
    "BilinearPooling": lambda: BilinearPooling(U, R, name="fusion"),
}


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)


def gate_count(widths):
    return len(widths) * U * (sum(widths.values()) + 1) if len(widths) > 1 else 0


def pair_count(widths):
    return sum(a * b * U for a, b in itertools.combinations(widths.values(), 2))


# Trainable parameters from the dict of widths; absent vectors come on top.
COUNT = {
    "GatedFusion": lambda w: sum((d + 1) * U for d in w.values()) + gate_count(w),
    "FeatureModulation": lambda w: sum((d + 1) * U * (1 if m == "text" else 2)
                                       for m, d in w.items()),
    "TensorFusion": lambda w: 0,
    "LowRankFusion": lambda w: sum((d + 1) * U * R for d in w.values()) + R + U,
    "MultiplicativeInteraction": lambda w: pair_count(w) + sum(w.values()) * U + U,
    "BilinearPooling": lambda w: sum((d + 1) * U * R for d in w.values()),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKE)
def test_contract(tmp_path, name):
    names = MODALITIES
    if name == "GatedFusion":  # two: below
        names = [each for each in MODALITIES if len(each) != 2]
    check_fusion(
        MAKE[name],
        num_weights=lambda widths: COUNT[name](widths) + sum(widths.values()),
        modalities=names,
        folder=tmp_path,
        formats=QUICK,
    )


def test_contract_of_a_gate_between_two(tmp_path):
    """Where one of two is absent the other has gate 1: only a sample without any of the two
    trains the absent vectors, and only one with both the gate."""
    widths = {m: WIDTHS[m] for m in ("image", "text")}
    inputs = make_inputs("vectors", widths)
    inputs |= {"image_present": np.float32([0, 0, 1]), "text_present": np.float32([0, 1, 1])}
    make = MAKE["GatedFusion"]
    count = COUNT["GatedFusion"](widths) + sum(widths.values())
    check_layer(make, call_layer, inputs=inputs, num_weights=count, folder=tmp_path)
    layer = make()
    call_layer(layer, inputs)
    randomize(layer)
    check_absent(layer, inputs)
    check_order(layer, inputs)
    check_all_present(layer, make, inputs)


# --- the formulas, one sample and one entry at a time: `x` maps modality to vector, `w` name
# --- to weight, both float64


def dot(vector, column):
    return sum(a * b for a, b in zip(vector, column, strict=True))


def affine(x, w, m, j):
    """Entry j of x_m @ kernel + bias."""
    return dot(x[m], w[f"{m}_kernel"][:, j]) + w[f"{m}_bias"][j]


def gated(x, w, present):
    names = sorted(x)
    if not any(present.values()):
        present = dict.fromkeys(names, True)
    joined = [entry for m in names for entry in x[m]]
    y = []
    for u in range(U):
        weight = {}
        for k, m in enumerate(names):
            score = 0.0
            if len(names) > 1:
                j = k * U + u
                score = dot(joined, w["gate_kernel"][:, j]) + w["gate_bias"][j]
            weight[m] = math.exp(score) if present[m] else 0.0
        total = sum(weight.values())
        y.append(sum(weight[m] / total * math.tanh(affine(x, w, m, u)) for m in names))
    return y


def film(x, w, present):
    y = []
    for u in range(U):
        h = dot(x["text"], w["kernel"][:, u]) + w["bias"][u]
        shift = 0.0
        for m in sorted(set(x) - {"text"}):
            h *= 1 + affine(x, w, m, u)
            shift += affine(x, w, m, U + u)
        y.append(h + shift)
    return y


def outer(x, w, present):
    entries = [[*x[m], 1.0] for m in sorted(x)]
    return [math.prod(each) for each in itertools.product(*entries)]


def low_rank(x, w, present):
    y = []
    for u in range(U):
        total = w["bias"][u]
        for r in range(R):
            total += w["rank_weights"][r, 0] * math.prod(affine(x, w, m, r * U + u) for m in x)
        y.append(total)
    return y


def multiplicative(x, w, present):
    y = []
    for u in range(U):
        total = w["bias"][u] + sum(dot(x[m], w[f"{m}_kernel"][:, u]) for m in x)
        for a, b in itertools.combinations(sorted(x), 2):
            for i, left in enumerate(x[a]):
                for j, right in enumerate(x[b]):
                    total += left * w[f"{a}_{b}_kernel"][i, j, u] * right
        y.append(total)
    return y


def pooling(x, w, present):
    roots = []
    for u in range(U):
        z = sum(math.prod(affine(x, w, m, u * R + r) for m in x) for r in range(R))
        roots.append(z / (z * z + EPSILON) ** 0.25)
    return [root / math.sqrt(sum(s * s for s in roots) + EPSILON) for root in roots]


FORMULA = {
    "GatedFusion": gated,
    "FeatureModulation": film,
    "TensorFusion": outer,
    "LowRankFusion": low_rank,
    "MultiplicativeInteraction": multiplicative,
    "BilinearPooling": pooling,
}


@pytest.mark.parametrize("names", MODALITIES)
@pytest.mark.parametrize("name", MAKE)
def test_against_the_formula(name, names):
    rng = np.random.default_rng(1)
    features = {m: rng.standard_normal((8, WIDTHS[m])).astype("float32") for m in names}
    # Bit k of the sample's number: every combination of absent ones, of three modalities too.
    presence = {m: np.arange(8) >> k & 1 == 1 for k, m in enumerate(names)}
    layer = MAKE[name]()
    layer(features, presence=presence)
    randomize(layer, 0.5)
    w = {weight.name: weight.numpy().astype("float64") for weight in layer.weights}
    expected = []
    for k in range(8):
        present = {m: bool(presence[m][k]) for m in names}
        x = {m: features[m][k].astype("float64") if present[m] else w[f"{m}_absent"]
             for m in names}  # fmt: skip
        expected.append(FORMULA[name](x, w, present))
    actual = layer(features, presence=presence)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_first_modality_is_modulated_where_none_is_named():
    inputs = make_inputs("vectors", WIDTHS)
    named = FeatureModulation(U, main="audio")
    call_layer(named, inputs)
    randomize(named)
    first = FeatureModulation(U)
    call_layer(first, inputs)
    first.set_weights(named.get_weights())
    np.testing.assert_array_equal(call_layer(first, inputs), call_layer(named, inputs))


# --- errors


@pytest.mark.parametrize("value", [0, -3, 2.5, "4", None, True])
@pytest.mark.parametrize(
    "argument, make",
    [
        ("units", GatedFusion),
        ("units", FeatureModulation),
        ("units", MultiplicativeInteraction),
        ("units", lambda value: LowRankFusion(value, 2)),
        ("rank", lambda value: LowRankFusion(2, value)),
        ("units", lambda value: BilinearPooling(value, 2)),
        ("rank", lambda value: BilinearPooling(2, value)),
        ("limit", TensorFusion),
    ],
)
def test_positive_int_error(argument, make, value):
    match = rf"^`{argument}` must be a positive int. Received: {argument}={value!r}.$"
    with pytest.raises(ValueError, match=match):
        make(value)


def test_main_error():
    match = r"`main` to be one of the modalities, \['image', 'text'\].*Received: main='video'."
    with pytest.raises(ValueError, match=match):
        FeatureModulation(U, main="video")({"image": np.ones((2, 3)), "text": np.ones((2, 3))})


def test_limit_error():
    vectors = {"image": np.ones((2, 4)), "text": np.ones((2, 3))}
    assert TensorFusion(limit=20)(vectors).shape == (2, 20)
    match = r"at most limit=19 entries.*'image': 4.*which make 20. Use `LowRankFusion`"
    with pytest.raises(ValueError, match=match):
        TensorFusion(limit=19)(vectors)
    with pytest.raises(ValueError, match="limit=100000 entries"):
        TensorFusion()({"image": np.ones((2, 400)), "text": np.ones((2, 300))})


@pytest.mark.parametrize("name", MAKE)
def test_rank_of_tensor_error(name):
    match = r"expected shape \(batch, width\) for every modality. Received: text of shape \(2, 3, 4"
    with pytest.raises(ValueError, match=match):
        MAKE[name]()({"text": np.ones((2, 3, 4))})
