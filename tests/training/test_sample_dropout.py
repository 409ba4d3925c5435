"""Dropout by sample: as much as dropout, and nothing outside training."""

import keras
import numpy as np
import pytest

from mmzoo.ops.sample_random import Rows, seeing
from mmzoo.training import SampleDropout

ONES = np.ones((400, 50), "float32")


def test_it_drops_the_rate_and_keeps_the_mean():
    dropped = SampleDropout(0.3, seed=1)(ONES, training=True).numpy()
    assert abs((dropped == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.7, rtol=1e-6)


def test_outside_training_nothing_happens():
    layer = SampleDropout(0.3)
    assert layer(ONES) is not None
    np.testing.assert_array_equal(layer(ONES), ONES)
    np.testing.assert_array_equal(SampleDropout(0.0)(ONES, training=True), ONES)


def test_infinity_is_dropped_too():
    dropped = SampleDropout(0.5, seed=1)(np.full((4, 9), np.inf, "float32"), training=True)
    assert np.isin(dropped, (0, np.inf)).all() and (np.asarray(dropped) == 0).any()


def test_half_of_a_batch_is_that_half():
    whole = SampleDropout(0.3, seed=1)(ONES, training=True)
    with seeing(Rows(200, 200, 400)):
        half = SampleDropout(0.3, seed=1)(ONES[200:], training=True)
    np.testing.assert_array_equal(whole[200:], half)


def test_it_drops_otherwise_at_the_next_step():
    layer = SampleDropout(0.3, seed=1)
    first, second = layer(ONES, training=True), layer(ONES, training=True)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_wrong_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"`rate` must be in \[0, 1\)"):
        SampleDropout(rate)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_it_is_saved_and_keeps_the_dtype(tmp_path, dtype):
    x = keras.Input((5,))
    model = keras.Model(x, SampleDropout(0.3, seed=2, dtype=dtype, name="drop")(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("drop").get_config() == model.get_layer("drop").get_config()
    assert model(ONES[:, :5], training=True).dtype == model.get_layer("drop").compute_dtype
