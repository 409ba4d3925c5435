"""HubLayer under MirroredStrategy on two logical CPUs, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def found():
    """What `distributed.py` printed."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("distributed.py"))],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_near(actual, expected):
    np.testing.assert_allclose(actual["loss"], expected["loss"], rtol=1e-5)
    for a, b in zip(actual["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_layer_made_in_the_scope_trains_as_on_one_device(found):
    assert found["replicas"] == 2
    assert found["mirrored"] == "MirroredVariable" and found["components equal"]
    assert found["one device"]["loss"][-1] < found["one device"]["loss"][0]
    assert_near(found["two devices"], found["one device"])


def test_a_trainable_layer_made_outside_the_scope_says_so(found):
    for case in ("trainable outside", "thawed outside"):  # in the build; in `fit`
        message = found[case]
        assert message.startswith("ValueError: "), message
        assert "to be made inside `strategy.scope()`" in message
        assert "set `trainable=False`" in message


def test_a_frozen_layer_made_outside_the_scope_works(found):
    assert found["frozen outside"] == [True, True, False, False]  # the head alone trained
    assert found["frozen outside predicts"]


def test_an_archive_loaded_in_the_scope_goes_on(found):
    assert_near(found["archive"], found["more"])


def test_an_archive_whose_module_is_gone_goes_on_in_the_scope(found):
    assert found["embedded error"] == "no error"
    assert_near(found["embedded"], found["more"])
