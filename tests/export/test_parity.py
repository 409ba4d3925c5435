"""The comparison itself: what passes, and what never does."""

import numpy as np
import pytest

from mmzoo.export.parity import accuracy, compare

RNG = np.random.default_rng(0)
EXPECTED = RNG.random((6, 4), "float32")


def test_equal_arrays_hold():
    difference = compare(EXPECTED.copy(), EXPECTED)
    assert difference.holds
    assert difference.max_abs == difference.mean_abs == difference.scale_relative == 0
    assert difference.top1_agreement == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (5, 3)])
def test_nan_and_infinity_never_pass(value, place):
    actual = EXPECTED.copy()
    actual[place] = value
    difference = compare(actual, EXPECTED, tolerance=1e30)
    assert not difference.holds
    assert not difference.finite
    assert "1 of 24 values are not finite" in difference.breaches[0]


def test_nan_on_both_sides_does_not_pass():
    both = np.full((2, 3), np.nan, "float32")
    assert not compare(both, both).holds


def test_the_difference_is_measured_against_the_scale():
    actual = EXPECTED.copy()
    actual[2, 1] += 0.01
    difference = compare(1000 * actual, 1000 * EXPECTED, tolerance=0.02)
    assert difference.holds
    np.testing.assert_allclose(difference.max_abs, 10, rtol=1e-3)
    np.testing.assert_allclose(difference.mean_abs, 10 / 24, rtol=1e-3)
    np.testing.assert_allclose(difference.scale_relative, 0.01 / EXPECTED.max(), rtol=1e-3)
    assert not compare(actual, EXPECTED, tolerance=0.005).holds


def test_shape_and_dtype_must_agree():
    assert "shape (6, 3)" in compare(EXPECTED[:, :3], EXPECTED).breaches[0]
    assert "float64" in compare(EXPECTED.astype("float64"), EXPECTED).breaches[0]


def test_another_winner_is_a_breach_unless_the_lead_is_within_tolerance():
    expected = np.array([[0.5, 0.3], [0.5, 0.5 - 1e-7]], "float32")
    swapped = expected[:, ::-1].copy()
    assert compare(swapped[1:], expected[1:]).holds
    difference = compare(swapped, expected, tolerance=0.5)
    assert difference.top1_agreement == 1  # a lead of 0.2, a scale of 0.5
    difference = compare(swapped, expected, tolerance=0.1)
    assert difference.top1_agreement == 0.5
    assert "top-1 agrees on 50.00%" in difference.breaches[-1]


def test_ids_and_counts_must_be_equal():
    expected = np.array([[1_000_000], [5]])
    assert compare(expected.copy(), expected).holds
    assert not compare(expected + [[1], [0]], expected).holds


def test_accuracy_counts_nan_rows_as_wrong():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [np.nan, 1.0]])
    assert accuracy(scores, np.array([1, 1, 1])) == 1 / 3
    assert accuracy(scores, np.array([1, 0, -1])) == 1  # -1 is what "no answer" is called
