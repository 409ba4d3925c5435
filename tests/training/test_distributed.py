"""Replicas and workers train the same weights as one device: see `scenarios.py`."""

import numpy as np
import pytest
import runs
from keras import tree

FAST = (
    "module", "convolution", "masked_norm", "global_clipnorm", "info_nce", "mask", "strings",
    "accumulate_2", "convolution_3",
)  # fmt: skip
# float16 rounds what each replica adds up; all else is float32.
NEAR = {"float16": {"rtol": 5e-3, "atol": 1e-4}}


@pytest.fixture(scope="module")
def one_device():
    return runs.run("scenarios.py", "plain", 1, *FAST, "accumulate_1", "convolution_1")


@pytest.fixture(scope="module")
def everything():
    return runs.run("scenarios.py", "plain", 1)


def assert_equal(found, expected):
    """Losses, metrics, answers and weights are those of one device to 1e-6 of their scale."""
    assert found.keys() == expected.keys()
    for name, scenario in expected.items():
        near = NEAR.get(name, {"rtol": 2e-6, "atol": 2e-6})
        for part, values in scenario.items():
            tree.assert_same_structure(found[name][part], values)
            for a, b in zip(tree.flatten(found[name][part]), tree.flatten(values), strict=True):
                assert np.isfinite(a).all(), (name, part)
                np.testing.assert_allclose(a, b, **near, err_msg=f"{name}, {part}")


def only(names, found):
    return {name: found[name] for name in names}


def test_training_moves_the_weights(one_device):
    for name, found in one_device.items():
        losses = found["history"]["loss"]
        assert abs(losses[-1] - losses[0]) > 1e-3 * abs(losses[0]), name


def test_micro_batches_change_nothing(one_device):
    assert_micro_batches_change_nothing(one_device, {"accumulate": [2], "convolution": [3]})


def assert_micro_batches_change_nothing(found, counts):
    for name, several in counts.items():
        for k in several:
            assert_equal({"x": found[f"{name}_{k}"]}, {"x": found[f"{name}_1"]})


def test_two_replicas_equal_one_device(one_device):
    assert_equal(runs.run("scenarios.py", "mirrored", 2, *FAST), only(FAST, one_device))


def test_two_workers_equal_one_device(one_device, tmp_path):
    names = ("global_clipnorm", "info_nce", "strings")
    said, ended, _ = runs.run_workers(2, tmp_path, "scenarios.py", "multiworker", 2, *names)
    assert ended.restarts == 0
    for found in said:
        assert_equal(found, only(names, one_device))


@pytest.mark.exhaustive
def test_micro_batches_change_nothing_in_everything(everything):
    assert_micro_batches_change_nothing(everything, {"accumulate": [2, 3], "convolution": [2, 3]})


@pytest.mark.exhaustive
def test_one_device_trains_as_stock_keras_does(everything):
    stock = runs.run("scenarios.py", "stock", 1)
    assert len(stock) == 18 and set(stock) < set(everything)
    for name, expected in stock.items():
        found = everything[name]
        # Keras' loss of one output of several is weighted otherwise where a batch is smaller.
        for part in ("weights", "predict"):
            for a, b in zip(tree.flatten(found[part]), tree.flatten(expected[part]), strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(
            found["history"]["loss"], expected["history"]["loss"], rtol=2e-6, err_msg=name
        )


@pytest.mark.exhaustive
def test_four_replicas_equal_one_device_in_everything(everything):
    assert_equal(runs.run("scenarios.py", "mirrored", 4), everything)


@pytest.mark.exhaustive
def test_three_workers_equal_one_device_in_everything(everything, tmp_path):
    names = [name for name in everything if name != "steps_per_execution"]  # refused
    said, _, _ = runs.run_workers(3, tmp_path, "scenarios.py", "multiworker", 3, *names, restarts=0)
    for found in said:
        assert_equal(found, only(names, everything))


@pytest.mark.slow
def test_four_replicas_equal_one_device(one_device):
    assert_equal(runs.run("scenarios.py", "mirrored", 4, *FAST), only(FAST, one_device))


@pytest.mark.slow
def test_three_workers_equal_one_device(one_device, tmp_path):
    names = ("global_clipnorm", "info_nce", "strings")
    said, _, _ = runs.run_workers(3, tmp_path, "scenarios.py", "multiworker", 3, *names, restarts=0)
    for found in said:
        assert_equal(found, only(names, one_device))
