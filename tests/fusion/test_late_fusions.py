"""`MeanFusion`, `WeightedFusion`, `StackedFusion`, `MajorityFusion`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import QUICK

from mmzoo.export.testing.fusion_checks import check_fusion
from mmzoo.export.testing.layer_checks import dtype_policy, randomize
from mmzoo.fusion.late_fusion import LateFusion
from mmzoo.fusion.majority_fusion import MajorityFusion
from mmzoo.fusion.mean_fusion import MeanFusion
from mmzoo.fusion.stacked_fusion import StackedFusion
from mmzoo.fusion.weighted_fusion import WeightedFusion

CLASSES = 4
UNITS = 6
NAMES = ("audio", "image", "text")
SUBSETS = [NAMES[2:], NAMES[1:], NAMES]
ALL = {  # make, and the exact number of weights for M experts
    "mean of logits": (MeanFusion, lambda m: 0),
    "mean of probabilities": (lambda: MeanFusion("probabilities"), lambda m: 0),
    "weighted": (WeightedFusion, lambda m: m if m > 1 else 0),
    "stacked": (StackedFusion, lambda m: m * (CLASSES + 1) * CLASSES),
    "stacked of units": (
        lambda: StackedFusion(UNITS),
        lambda m: m * (CLASSES + 1) * (CLASSES + UNITS) + UNITS * CLASSES,
    ),
    "majority": (MajorityFusion, lambda m: 0),
    "soft majority": (lambda: MajorityFusion(temperature=2.5), lambda m: 0),
}
LOG_PROBABILITIES = ("mean of probabilities", "weighted")


def data(names=NAMES, batch=8, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = {m: (scale * rng.standard_normal((batch, CLASSES))).astype("float32") for m in names}
    # Every combination of the three, none of them too.
    presence = {m: np.arange(batch) // 2 ** NAMES.index(m) % 2 == 0 for m in names}
    return logits, presence


def built(name, logits, presence=None, scale=0.7):
    keras.utils.set_random_seed(0)
    layer = ALL[name][0]()
    layer(logits, presence=presence)
    randomize(layer, scale)
    return layer


def softmax(logit):
    power = np.exp(np.asarray(logit, "float64") - max(logit))
    return power / power.sum()


def reference(layer, logits, presence=None):
    """The docstrings' formulas in float64, one sample at a time, over those present."""
    weights = {w.name: w.numpy().astype("float64") for w in layer.weights}
    rows = []
    for sample in range(len(logits["text"])):
        names = sorted(logits)
        here = [k for k, m in enumerate(names) if presence is None or presence[m][sample]]
        p = {k: softmax(logits[names[k]][sample]) for k in here}
        row = np.zeros(CLASSES)
        if isinstance(layer, StackedFusion):
            said = [np.log(p[k]) if k in here else np.zeros(CLASSES) for k in range(len(names))]
            said = np.concatenate([*said, [float(k in here) for k in range(len(names))]])
            row = said @ weights["kernel"]
            if layer.units:
                hidden = [max(0.0, number) for number in said @ weights["hidden_kernel"]]
                row = row + np.array(hidden) @ weights["output_kernel"]
        elif isinstance(layer, MajorityFusion):
            for k in here:
                row[list(p[k]).index(max(p[k]))] += 1
                row += p[k] / len(here) / 2
            row = row / layer.temperature
        elif not here:
            kinds = (WeightedFusion, MeanFusion)
            assert isinstance(layer, kinds)
            row += 0 if getattr(layer, "of", "") == "logits" else np.log(1 / CLASSES)
        elif getattr(layer, "of", "") == "logits":
            row = sum(np.log(p[k]) for k in here) / len(here)
        else:
            scores = weights.get("scores", np.zeros(len(names)))
            total = sum(np.exp(scores[k]) for k in here)
            row = np.log(sum(np.exp(scores[k]) / total * p[k] for k in here))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", ALL)
def test_contract(tmp_path, name):
    make, num_weights = ALL[name]
    check_fusion(
        make, folder=tmp_path, formats=QUICK, num_weights=lambda widths: num_weights(len(widths))
    )


@pytest.mark.parametrize("names", SUBSETS)
@pytest.mark.parametrize("name", ALL)
def test_against_the_formula(name, names):
    logits, presence = data(names)
    for here in (presence, None):
        layer = built(name, logits, here)
        expected = reference(layer, logits, here)
        # Sums of up to 21 terms near 10, in float32, that may cancel.
        np.testing.assert_allclose(layer(logits, presence=here), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_with_no_expert_all_classes_are_alike(name):
    logits, _ = data()
    nobody = {m: np.zeros(8, bool) for m in NAMES}
    output = built(name, logits, nobody)(logits, presence=nobody).numpy()
    np.testing.assert_array_equal(output, np.broadcast_to(output[:1, :1], output.shape))


@pytest.mark.parametrize("name", LOG_PROBABILITIES)
def test_log_probabilities_sum_to_one(name):
    logits, presence = data(scale=5.0)
    output = built(name, logits, presence)(logits, presence=presence)
    np.testing.assert_allclose(np.exp(output).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean of logits", *LOG_PROBABILITIES])
def test_mean_of_equal_experts_is_the_expert(name):
    logits, _ = data()
    same = dict.fromkeys(NAMES, logits["text"])
    expected = np.log([softmax(logit) for logit in logits["text"]])
    np.testing.assert_allclose(built(name, same)(same), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean of logits", *LOG_PROBABILITIES])
def test_a_lone_expert_is_repeated(name):
    logits, _ = data()
    presence = {m: np.full(8, m == "image") for m in NAMES}
    expected = np.log([softmax(logit) for logit in logits["image"]])
    output = built(name, logits, presence)(logits, presence=presence)
    np.testing.assert_allclose(output, expected, rtol=1e-5)


def test_weighted_fusion_starts_as_the_mean_and_stays_within_its_experts():
    logits, presence = data()
    layer = WeightedFusion()
    expected = MeanFusion("probabilities")(logits, presence=presence)
    np.testing.assert_allclose(layer(logits, presence=presence), expected, rtol=1e-6)
    layer.scores.assign([3.0, -2.0, 0.5])
    fused = np.exp(layer(logits))
    experts = np.array([[softmax(row) for row in logits[m]] for m in NAMES])
    assert (fused > experts.min(0) - 1e-6).all()
    assert (fused < experts.max(0) + 1e-6).all()
    layer.scores.assign([0.0, 50.0, 0.0])
    np.testing.assert_allclose(np.exp(layer(logits)), experts[1], rtol=1e-5)


def test_a_veto_holds_in_the_mean_of_logits_only():
    logits = {"image": np.array([[9.0, 0, 0, 0]]), "text": np.array([[-90.0, 1, 0, 0]])}
    assert np.argmax(MeanFusion()(logits)) == 1
    assert np.argmax(MeanFusion("probabilities")(logits)) == 0


@pytest.mark.parametrize("names", SUBSETS)
@pytest.mark.parametrize("units", [None, UNITS])
def test_stacking_starts_as_the_product_of_experts(units, names):
    logits, presence = data(names)
    for here in (presence, None):
        expected = LateFusion()(logits, presence=here)
        actual = StackedFusion(units)(logits, presence=here)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("units", [None, UNITS])
def test_stacking_knows_who_is_present(units):
    """Two experts of which one says nothing, or isn't there: the same but for presence."""
    logits = {"image": np.array([[0.0, 1, 2, 3]]), "text": np.zeros((1, 4))}
    here = {m: np.ones(1, bool) for m in logits}
    layer = StackedFusion(units)
    layer(logits, presence=here)
    before = layer(logits, presence={**here, "text": np.zeros(1, bool)}).numpy()
    kernel = layer.kernel.numpy()
    kernel[-1] += [5, 0, 0, 0]  # sorted: the last row is of the presence of text
    layer.kernel.assign(kernel)
    after = layer(logits, presence={**here, "text": np.zeros(1, bool)}).numpy()
    np.testing.assert_array_equal(after, before)
    assert np.argmax(layer(logits, presence=here)) == 0


def votes(*tops, sure=3.0):
    return {m: np.eye(CLASSES)[[top]] * sure for m, top in zip(NAMES, tops, strict=True)}


def test_majority_of_three_outvotes_the_sure_one():
    logits = votes(1, 1, 2, sure=0.1)
    logits["text"] = logits["text"] * 1000
    output = MajorityFusion()(logits).numpy()[0]
    assert list(np.argsort(-output)[:2]) == [1, 2]
    np.testing.assert_array_equal(np.floor(output), [0, 2, 1, 0])


def test_a_tie_of_votes_goes_to_the_more_probable():
    logits = votes(0, 1, 2)
    logits["image"] *= 2
    assert np.argmax(MajorityFusion()(logits)) == 1
    # Nor need it be the surest expert's: class 2 has a vote, and is the second choice of all.
    logits = {m: np.where(value == 0, -9.0, value) for m, value in votes(0, 1, 2).items()}
    logits["audio"][0, 2] = logits["image"][0, 2] = 2.9
    assert np.argmax(MajorityFusion()(logits)) == 2


def test_an_absent_expert_has_no_vote():
    logits = votes(1, 1, 2)
    presence = {m: np.full(1, m == "text") for m in NAMES}
    output = MajorityFusion()(logits, presence=presence).numpy()[0]
    np.testing.assert_array_equal(np.floor(output), [0, 0, 1, 0])


def test_an_expert_with_two_top_classes_votes_for_the_first():
    logits = {"text": np.array([[0.0, 2.0, 2.0, 0.0]])}
    np.testing.assert_array_equal(np.floor(MajorityFusion()(logits).numpy()[0]), [0, 1, 0, 0])


def test_the_mean_probability_never_outweighs_a_vote():
    logits, presence = data(batch=400, scale=20.0)
    output = MajorityFusion()(logits, presence=presence).numpy()
    for row, sample in zip(output, range(400), strict=True):
        count = np.zeros(CLASSES)
        for m in NAMES:
            count[np.argmax(logits[m][sample])] += presence[m][sample]
        np.testing.assert_array_equal(np.floor(row), count)


def test_temperature_of_the_majority_leaves_the_ranking():
    logits, presence = data()
    sharp, soft = (
        MajorityFusion(temperature)(logits, presence=presence).numpy() for temperature in (0.1, 10)
    )
    np.testing.assert_array_equal(np.argsort(-sharp), np.argsort(-soft))
    np.testing.assert_allclose(sharp, 100 * soft, rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_extreme_logits_stay_finite(name, policy):
    """Sure of different classes, beyond what float16 holds; a class ruled out by -inf."""
    logits = {
        "audio": np.array([[6e4, -6e4, 0, 0]] * 3, "float32"),
        "image": np.array([[-6e4, 6e4, -6e4, 0]] * 3, "float32"),
        "text": np.array([[-np.inf, 0, 1, 2]] * 3, "float32"),
    }
    with dtype_policy(policy):
        layer = built(name, logits)
        with tf.GradientTape() as tape:
            output = layer(logits)
            loss = tf.reduce_sum(tf.cast(output, "float32"))
        gradients = tape.gradient(loss, [w.value for w in layer.weights])
    assert np.isfinite(tf.cast(output, "float32")).all()
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["mean of probabilities", "weighted", "mean of logits"])
def test_a_rare_class_keeps_its_probability_in_float16(name):
    """exp(-40) is 0 in float16, -40 is not."""
    logits = {m: np.array([[0.0, -40.0, -41.0, -60.0]]) for m in NAMES}
    with dtype_policy("mixed_float16"):
        output = np.asarray(ALL[name][0]()(logits), "float64")
    np.testing.assert_allclose(output, logits["text"], rtol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_permuting_classes_of_a_symmetric_fusion(name):
    if name.startswith("stacked"):
        pytest.skip("a stacked model has weights for each class")
    logits, presence = data()
    layer = built(name, logits, presence)
    expected = layer(logits, presence=presence).numpy()
    turned = {m: value[:, ::-1].copy() for m, value in logits.items()}
    output = layer(turned, presence=presence)
    np.testing.assert_allclose(output, expected[:, ::-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_classes_error(name):
    match = r"one shape .* Received: \{'image': 4, 'text': 5\} classes"
    with pytest.raises(ValueError, match=match):
        ALL[name][0]()({"image": np.zeros((3, 4)), "text": np.zeros((3, 5))})


@pytest.mark.parametrize("of", ["probability", None])
def test_of_error(of):
    with pytest.raises(ValueError, match=rf"`of` must be one of \('logits', .*of={of!r}"):
        MeanFusion(of)


@pytest.mark.parametrize("units", [0, -1, 1.5, True])
def test_units_error(units):
    with pytest.raises(ValueError, match=r"`units` must be a positive int. Received: units="):
        StackedFusion(units)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_temperature_error(temperature):
    match = rf"`temperature` must be positive and finite. Received: temperature={temperature}"
    with pytest.raises(ValueError, match=match):
        MajorityFusion(temperature)
