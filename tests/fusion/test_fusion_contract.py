"""The contract of every fusion layer; each goes through it by one call."""

import pytest
from quick import QUICK

from mmzoo import fusion
from mmzoo.export.testing.fusion_checks import check_fusion


def pair_weights(widths, units=6):
    others = len(widths) - 1
    return sum(widths.values()) * units * 2 * others + units * len(widths) * others


CASES = {
    "LateFusion": (lambda: fusion.LateFusion(name="late"), len),
    "InteractiveAttention": (
        lambda: fusion.InteractiveAttention(6, 2, return_attention=True, name="attention"),
        lambda widths: pair_weights(widths) + sum(widths.values()),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(tmp_path, name):
    make, num_weights = CASES[name]
    check_fusion(make, num_weights=num_weights, folder=tmp_path, formats=QUICK)
