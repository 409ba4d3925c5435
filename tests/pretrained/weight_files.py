"""What the tests of the file readers share."""

import numpy as np

RNG = np.random.default_rng(0)
FLOATS = RNG.standard_normal((3, 4)).astype("float32")
# Exact in bfloat16, which has 8 bits of mantissa.
HALVES = np.array([[1.5, -2.0, 0.0078125], [2.0**127, -0.0, np.inf]], "float32")


def bfloat16(values):
    bits = values.view("uint32")
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype("<u2")


def same(actual, expected):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)
