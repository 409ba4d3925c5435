"""`PresenceDropout`: which modalities a sample loses in training."""

import itertools

import keras
import numpy as np
import pytest

from mmzoo.export.testing.layer_checks import check_layer, dtype_policy
from mmzoo.fusion.presence_dropout import PresenceDropout

NAMES = ("audio", "image", "text")
SAMPLES = 20_000
RATES = {"audio": 0.1, "image": 0.5, "text": 0.8}


def presence_of(names=NAMES, absent=(), batch=SAMPLES):
    return {m: np.full(batch, m not in absent) for m in names}


def drawn(layer, presence, training=True):
    """Bool `(samples, modalities)`: what a call kept."""
    output = layer(presence, training=training)
    assert set(output) == set(presence)
    for name, here in output.items():
        assert here.dtype == bool and here.shape == presence[name].shape
    return np.stack([output[name] for name in sorted(presence)], 1)


def pattern_shares(rates, here):
    """P(kept) of every subset: each drops alone, but all stay where none would."""
    shares = {}
    for kept in itertools.product((False, True), repeat=len(rates)):
        share = 1.0
        for keep, rate, present in zip(kept, rates, here, strict=True):
            share *= (1 - rate if keep else rate) if present else float(not keep)
        shares[kept] = share
    nobody = (False,) * len(rates)
    if any(here):
        shares[tuple(here)] += shares.pop(nobody)
        shares[nobody] = 0.0
    return shares


def call_with_numbers(layer, inputs):
    """Presence comes in and goes out as numbers: not every runtime can return a bool input."""
    presence = layer({name: value > 0 for name, value in inputs.items()})
    return {name: keras.ops.cast(here, layer.compute_dtype) for name, here in presence.items()}


@pytest.mark.parametrize("rate", [0.4, RATES])
def test_conformance(tmp_path, rate):
    inputs = {m: np.array([k != j for j in range(3)], "float32") for k, m in enumerate(NAMES)}
    check_layer(
        lambda: PresenceDropout(rate, seed=3, name="dropout"),
        call_with_numbers,
        inputs=inputs,
        num_weights=0,
        output_shape=[(3,)] * 3,
        folder=tmp_path,
    )


@pytest.mark.parametrize("rate", [0.2, 0.7, RATES])
@pytest.mark.parametrize("absent", [(), ("image",), ("audio", "text"), NAMES])
def test_every_subset_has_its_share(rate, absent):
    kept = drawn(PresenceDropout(rate, seed=1), presence_of(absent=absent))
    rates = [rate[m] if isinstance(rate, dict) else rate for m in NAMES]
    expected = pattern_shares(rates, [m not in absent for m in NAMES])
    assert sum(expected.values()) == pytest.approx(1) and len(expected) == 8
    for pattern, share in expected.items():
        error = 5 * np.sqrt(share * (1 - share) / SAMPLES)  # five standard deviations
        assert abs((kept == pattern).all(1).mean() - share) <= error + 1e-12, pattern


def test_samples_are_independent():
    kept = drawn(PresenceDropout(0.5, seed=1), presence_of())
    codes = kept @ [1, 2, 4]
    share = np.bincount(codes, minlength=8) / SAMPLES
    expected = (share**2).sum()
    error = 5 * np.sqrt(expected * (1 - expected) / SAMPLES)
    assert abs((codes[1:] == codes[:-1]).mean() - expected) < error


def test_what_is_absent_stays_absent_and_nobody_loses_all():
    rng = np.random.default_rng(0)
    presence = {m: rng.random(5000) < 0.5 for m in NAMES}
    before = np.stack([presence[m] for m in NAMES], 1)
    kept = drawn(PresenceDropout(0.9, seed=1), presence)
    assert not (kept & ~before).any()
    np.testing.assert_array_equal(kept.any(1), before.any(1))
    assert (kept != before).mean() > 0.02


def test_unchanged_outside_training():
    presence = presence_of(absent=("image",), batch=500)
    layer = PresenceDropout(0.9, seed=1)
    for training in (None, False):
        kept = drawn(layer, presence, training)
        np.testing.assert_array_equal(kept, [[True, False, True]] * 500)


@pytest.mark.parametrize("rate", [0, dict.fromkeys(NAMES, 0.0)])
def test_unchanged_at_rate_zero(rate):
    assert drawn(PresenceDropout(rate, seed=1), presence_of(batch=500)).all()


def test_a_lone_modality_stays():
    assert drawn(PresenceDropout(0.9, seed=1), presence_of(("text",), batch=500)).all()


def test_seed():
    presence = presence_of(batch=300)
    first, again, other = (drawn(PresenceDropout(0.5, seed=s), presence) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    layer = PresenceDropout(RATES, seed=1)
    kept = drawn(layer, presence)
    assert (drawn(layer, presence) != kept).any()
    clone = PresenceDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(drawn(clone, presence), kept)


def test_the_order_of_the_dict_means_nothing():
    presence = presence_of(batch=300)
    kept = drawn(PresenceDropout(RATES, seed=1), presence)
    turned = drawn(PresenceDropout(RATES, seed=1), dict(reversed(presence.items())))
    np.testing.assert_array_equal(turned, kept)


def test_the_rates_are_the_same_in_half_precision():
    presence = presence_of(batch=2000)
    expected = drawn(PresenceDropout(RATES, seed=1), presence)
    with dtype_policy("mixed_bfloat16"):
        kept = drawn(PresenceDropout(RATES, seed=1), presence)
    np.testing.assert_array_equal(kept, expected)


def test_training_reaches_it_through_a_model():
    inputs = {m: keras.Input((), name=m, dtype="bool") for m in NAMES}
    presence = PresenceDropout(0.5, seed=1)(inputs)
    model = keras.Model(inputs, {m: keras.ops.cast(x, "int32") for m, x in presence.items()})
    ones = presence_of(batch=100)
    assert all(value.numpy().all() for value in model(ones).values())
    assert not all(value.numpy().all() for value in model(ones, training=True).values())


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), {"image": 0.5, "text": 1.0}])
def test_rate_error(rate):
    with pytest.raises(ValueError, match=r"`rate` must be in \[0, 1\). Received: rate="):
        PresenceDropout(rate)


@pytest.mark.parametrize("rates", [{"image": 0.5}, {**RATES, "video": 0.1}])
def test_modalities_error(rates):
    match = (
        r"a rate for each modality .* Received: rates of \[.*\] for \['audio', 'image', 'text'\]"
    )
    with pytest.raises(ValueError, match=match):
        PresenceDropout(rates)(presence_of(batch=2))
