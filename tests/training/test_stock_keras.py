"""What stock Keras gets wrong with replicas, so that an upgrade that mends it is noticed.

Each of these is why something in `mmzoo.training` is there. Where one fails, look whether ours is
still needed.
"""

import pytest
import runs


@pytest.fixture(scope="module")
def stock():
    return runs.run("stock.py")


def test_without_any_of_it_two_replicas_equal_one_device(stock):
    assert stock["plain"] < 1e-6
    assert stock["synchronized"] < 1e-6
    assert stock["steps_per_execution"] < 1e-6


@pytest.mark.parametrize(
    "what", ["clipnorm", "global_clipnorm", "clipvalue", "batch_norm", "last_batch",
             "masked", "mean_with_sample_weight", "contrastive"],
)  # fmt: skip
def test_silently_another_model(stock, what):
    assert stock[what] > 5e-3


def test_variance_of_numbers_far_from_zero_is_lost(stock):
    assert stock["far_from_zero"] > 1e-4


def test_a_convolution_of_no_rows_has_the_wrong_shape(stock):
    assert stock["no_rows"] != [0, 4, 4, 8]


def test_a_scalar_loss_is_twice_too_large(stock):
    one, two = stock["scalar_loss"]
    assert two == pytest.approx(2 * one, rel=1e-4)


def test_every_replica_drops_the_same(stock):
    assert stock["same_dropout"]


def test_loss_scaling_looks_at_the_first_replica_alone(stock):
    assert not stock["infinite_on_the_second"]


@pytest.mark.parametrize(
    "what, message",
    [("first_batch", "must have the same size and shape"), ("strings", "attr 'T' of string"),
     ("accumulation", "merge_call"), ("ema_overwrite_frequency", "merge_call"),
     ("jit_compile", "Error")],
)  # fmt: skip
def test_it_fails(stock, what, message):
    assert message in stock[what]


def test_fit_fails_with_workers(tmp_path):
    said, _, _ = runs.run_workers(2, tmp_path, "stock.py", "worker")
    assert all("PerReplica" in each and "unsupported type" in each for each in said)
