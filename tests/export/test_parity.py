"""The comparison itself: what passes, and what never does."""

import numpy as np
import pytest

from mmzoo.export.certify.comparison import compare
from mmzoo.tasks import Scores
from mmzoo.tasks.metrics.classes import accuracy

SCORES = Scores("y")
RNG = np.random.default_rng(0)
EXPECTED = RNG.random((6, 4), "float32")


def test_equal_arrays_hold():
    difference = compare(EXPECTED.copy(), EXPECTED, answer=SCORES)
    assert difference.holds
    assert difference.max_abs == difference.mean_abs == difference.scale_relative == 0
    assert difference.agreement == 1


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


def test_another_winner_is_a_breach_unless_both_entries_may_have_moved_that_far():
    expected = np.array([[0.5, 0.3], [0.5, 0.5 - 1e-7]], "float32")
    swapped = expected[:, ::-1].copy()
    assert compare(swapped[1:], expected[1:], answer=SCORES).holds
    difference = compare(swapped, expected, tolerance=0.25, answer=SCORES)
    assert difference.agreement == 1  # a lead of 0.2, a scale of 0.5: each may move by 0.125
    difference = compare(swapped, expected, tolerance=0.19, answer=SCORES)
    assert difference.agreement == 0.5
    assert "50.00% of the decisions agree only" in difference.breaches[-1]


def test_two_entries_that_each_move_by_less_than_the_tolerance_may_change_places():
    """Of 200 random outputs 7 were refused where the lead was compared with one tolerance."""
    rng, refused = np.random.default_rng(1), 0
    for _ in range(200):
        expected = rng.standard_normal((200, 10)).astype("float32")
        room = 0.99e-3 * np.abs(expected).max()
        actual = (expected + rng.uniform(-room, room, expected.shape)).astype("float32")
        refused += not compare(actual, expected, 1e-3, answer=SCORES).holds
    assert refused == 0


def test_only_a_decision_is_asked_for_its_largest_entry():
    expected = np.array([[0.5, 0.3]], "float32")
    assert compare(expected[:, ::-1], expected, tolerance=None).agreement is None
    assert compare(expected[:, ::-1], expected, None, answer=SCORES).agreement == 0


@pytest.mark.parametrize(
    "scale, off, holds",
    [
        (0.0, 1e-30, True),  # an output that is zero throughout
        (0.0, 9e-8, True),
        (0.0, 1e-6, False),
        (1e-6, 1e-12, True),  # one that is small keeps its own scale
        (1e-6, 1e-7, False),
        (1e-6, 1e-10, False),
        (1e-12, 1e-13, False),
        (5e-42, 5e-42, True),  # a runtime may round to zero what is below float32
        (1.0, 9e-6, True),
        (1.0, 1.1e-5, False),
    ],
)
def test_zero_has_a_floor_and_a_small_output_has_its_own_scale(scale, off, holds):
    expected = np.full((4, 3), scale, "float32")
    actual = expected.copy()
    actual[1, 1] = np.float32(scale - off)
    assert compare(actual, expected).holds is holds
    assert compare(actual, expected, usual=scale).holds is holds
    assert compare(actual, expected, usual=0.0).holds is holds


def test_a_row_of_huge_values_hides_no_error_in_another():
    expected = np.array([[1.0, 2.0], [1e9, 0.0], [1e-3, 0.0]], "float32")
    for row, off, holds in [(0, 1e-3, False), (0, 1e-5, True), (1, 1e3, True), (2, 1e-5, True)]:
        actual = expected.copy()
        actual[row, 0] += off
        assert compare(actual, expected).holds
        assert compare(actual, expected, usual=2.0).holds is holds
    assert not compare(actual, expected, usual=0.5).holds  # 1e-5 of a row and a scale of 0.5


def test_ids_and_counts_must_be_equal():
    expected = np.array([[1_000_000], [5]])
    assert compare(expected.copy(), expected).holds
    assert not compare(expected + [[1], [0]], expected).holds


def test_accuracy_counts_nan_rows_as_wrong():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [np.nan, 1.0]])
    assert accuracy(scores, np.array([1, 1, 1])) == 1 / 3
    assert accuracy(scores[:2], np.array([1, 0])) == 1
