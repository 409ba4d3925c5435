"""What can't train as on one device is refused before training, with what to do instead."""

import pytest
import runs

MESSAGES = {
    "accumulate": "`accumulate` must be a positive int",
    "gradient_accumulation_steps": "pass compile(accumulate=...)",
    "ema_overwrite_frequency": "Expected no `ema_overwrite_frequency` with 2 replicas",
    "steps_per_execution": "Expected no `steps_per_execution` with 2 replicas",
    "jit_compile": "Expected no `jit_compile` with 2 replicas",
    "contrast_accumulate": "accumulate=1 with InfoNCE",
    "add_loss": "Received: 'adding', by `add_loss`",
    "norm_accumulate": "accumulate=1 with BatchNormalization",
    "module": "whose graph moves",
    "outside": "made outside. Build the model inside",
    "optimizer_outside": "Expected the optimizer to be made inside",
    "reduction": "Expected a `reduction` of",
    "call": "Expected a loss that overrides `call`",
    "crossentropy": "Expected a loss by its full name",
    "parameter_server": "Received: ParameterServerStrategyV2",
    "scalar": "Expected a loss that returns a value a sample",
    "weighted_accumulate": "Train with accumulate=1",
    "train_on_batch": "Expected `fit` with 2 replicas",
    "test_on_batch": "Expected `evaluate` with 2 replicas",
    "predict_on_batch": "Expected `predict` with 2 replicas",
    "plain_copy": "Expected a call outside of `strategy.scope()`",
    "keras.distribution": "on TensorFlow it does nothing",
}


@pytest.fixture(scope="module")
def found():
    return runs.run("refused.py")


@pytest.mark.parametrize("what", MESSAGES)
def test_it_is_refused(found, what):
    assert MESSAGES[what] in found[what]


def test_the_rest_is_not(found):
    assert found["allowed"] == found["module_without"] == "nothing"
    assert found.keys() == {
        *MESSAGES,
        "allowed",
        "module_without",
        "synchronized",
        "saved_as",
        "copy",
    }


def test_batch_norm_is_synchronised(found):
    assert found["synchronized"] is True


def test_an_optimizer_is_saved_as_what_it_is(found):
    assert found["saved_as"] == "AdamW"


def test_a_plain_copy_lives_on_one_device(found):
    assert found["copy"] == ["Functional", "ResourceVariable", True]
