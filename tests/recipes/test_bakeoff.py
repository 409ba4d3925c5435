"""Intervals, paired differences, and a verdict that follows from the numbers."""

import numpy as np
import pytest
from scipy import stats

from mmzoo.recipes.comparison.results import (
    best,
    compare_late,
    interval,
    paired_difference,
    verdict,
)


def entry(kind, family, accuracy, validation=None):
    return {
        "kind": kind,
        "family": family,
        "accuracy": interval(accuracy),
        "validation": interval(accuracy if validation is None else validation),
    }


LATE = entry("LateFusion", "late", [0.90, 0.91, 0.92])
WORSE = entry("Concatenation", "early", [0.85, 0.865, 0.88])
BETTER = entry("GatedFusion", "intermediate", [0.95, 0.955, 0.97])
BASELINES = [entry("image", "unimodal", [0.99] * 3), entry("everything as text", "as text", [1, 1])]


def test_the_interval_is_students():
    values = [0.91, 0.95, 0.93, 0.96]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert found["values"] == values
    np.testing.assert_allclose([found["low"], found["high"]], [low, high], rtol=1e-12)
    assert found["mean"] == pytest.approx(0.9375)


def test_the_interval_of_a_share_is_one_of_shares():
    assert interval([0.98, 1.0])["high"] == 1.0
    assert interval([0.0, 0.02])["low"] == 0.0
    assert interval([0.0, 0.02], (-1.0, 1.0))["low"] < 0


def test_one_value_says_nothing_of_its_spread():
    assert interval([0.9]) == {"values": [0.9], "mean": 0.9, "low": 0.0, "high": 1.0}


def test_equal_values_have_an_interval_of_one_point():
    found = interval([0.7, 0.7, 0.7])
    assert [found[key] for key in ("low", "mean", "high")] == pytest.approx([0.7] * 3)


@pytest.mark.parametrize("values", [[], [0.5, 1.2], [float("nan")], [-0.1]])
def test_what_is_no_share_is_refused(values):
    with pytest.raises(ValueError, match=r"one value or more between 0.0 and 1.0. Received: \["):
        interval(values)


def test_differences_are_paired_by_seed():
    """Seeds differ much more than kinds do; each seed's difference hardly varies."""
    one, other = [0.60, 0.75, 0.91], [0.59, 0.74, 0.89]
    found = paired_difference(one, other)
    np.testing.assert_allclose(found["values"], [0.01, 0.01, 0.02])
    assert found["low"] > -0.002 and found["high"] < 0.03
    assert paired_difference(other, one)["mean"] == pytest.approx(-found["mean"])
    with pytest.raises(ValueError, match="two values a seed. Received: 3 and 2"):
        paired_difference(one, other[:2])


def test_the_best_is_chosen_on_validation_data():
    lucky = entry("WeightedFusion", "late", [0.99] * 3, [0.80] * 3)
    assert best([LATE, lucky, WORSE], ["late"])["kind"] == "LateFusion"
    assert compare_late([LATE, lucky, WORSE])["best_late"] == "LateFusion"
    with pytest.raises(ValueError, match=r"a family in \['late'\]. Received: \['early'\]"):
        best([WORSE], ["late"])


def test_baselines_are_no_fusion():
    found = compare_late([*BASELINES, LATE, WORSE])
    assert (found["best_late"], found["best_learned"]) == ("LateFusion", "Concatenation")


def test_learned_fusion_that_loses():
    found = verdict([LATE, WORSE])
    assert found["beats"] is False
    np.testing.assert_allclose(found["difference"]["values"], [-0.05, -0.045, -0.04])
    text = found["text"]
    assert "Concatenation, the best learned fusion on validation data, is beaten by" in text
    assert "LateFusion, the best late one: -4.5 points" in text and "-5.7 to -3.3" in text
    assert "over 3 seeds" in text and "product of experts is Bayes' rule" in text


def test_learned_fusion_that_wins():
    found = verdict([LATE, WORSE, BETTER])
    assert found["beats"] is True and found["best_learned"] == "GatedFusion"
    assert (
        "GatedFusion, the best learned fusion on validation data, beats LateFusion"
        in (found["text"])
    )
    assert "Bayes" not in found["text"]


def test_an_interval_around_zero_decides_nothing():
    even = entry("GatedFusion", "intermediate", [0.89, 0.93, 0.92])
    found = verdict([LATE, even])
    assert found["beats"] is False and found["difference"]["mean"] > 0
    assert "does not beat LateFusion" in found["text"]


def test_one_seed_proves_nothing():
    found = verdict([entry("LateFusion", "late", [0.5]), entry("GatedFusion", "attention", [0.9])])
    assert found["beats"] is False
    assert "all that one seed can say: +40.0 points" in found["text"]
    assert "Bayes" not in found["text"]


def test_xor_is_told_for_contrast():
    xor = [
        entry("MeanFusion logits", "late", [0.49, 0.5, 0.51]),
        entry("TensorFusion", "intermediate", [0.99, 0.98, 0.99]),
    ]
    text = verdict([LATE, WORSE], xor)["text"]
    assert "On xor, TensorFusion, the best learned fusion on validation data, beats" in text
    assert text.endswith("There the reverse holds: no modality alone says anything of the label, "
                         "and only what they say together does.")  # fmt: skip
    assert "reverse" not in verdict([LATE, BETTER], xor)["text"]
