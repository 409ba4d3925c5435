"""A bundle of a task of one's own, asked by commands in processes that never heard of it."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from mmzoo.export import Samples, export_bundle
from mmzoo.io.own_modules import import_own

OWN = """
import dataclasses
from mmzoo.tasks import Regression

@dataclasses.dataclass(frozen=True)
class Celsius(Regression, kind="test_celsius"):
    @property
    def answers(self):
        return tuple(dataclasses.replace(each, unit="degrees") for each in super().answers)
"""


def mmzoo(*arguments):
    command = [sys.executable, "-m", "mmzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from mmzoo.tasks import Number

    folder = tmp_path_factory.mktemp("own")
    (folder / "celsius.py").write_text(OWN)
    [module] = import_own([str(folder / "celsius.py")])
    task = module.Celsius((Number("height", "m"),), answer_name="heat", target="measured")
    height = keras.Input((), name="height")
    x = keras.ops.expand_dims(height, -1)
    model = keras.Model({"height": height}, task.head(x))
    values = np.linspace(0, 9, 20).astype("float32")
    samples = Samples({"height": values}, {"measured": 20 - values})
    export_bundle(model, folder / "bundle", formats=["onnx"], task=task, samples=samples)
    return folder


def test_it_is_named_what_is_missing(folder):
    done = mmzoo("verify", folder / "bundle")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "'test_celsius' is not known here" in done.stderr and "--import" in done.stderr


def test_it_verifies_and_answers_with_its_module(folder):
    own = ("--import", folder / "celsius.py")
    done = mmzoo("verify", folder / "bundle", *own)
    assert done.returncode == 0, done.stderr
    asked = ("predict", folder / "bundle", "--format", "onnx", *own, "--json")
    found = [mmzoo(*asked, "--height", "3"), mmzoo(*asked, "--row", '{"height": 3}')]
    answers = [json.loads(done.stdout)["heat"] for done in found]
    assert answers[0] == answers[1] and answers[0]["unit"] == "degrees"
    for arguments, words in [
        (("--height",), "Received: '--height' without a value"),
        (("--row", "{"), "--row is no JSON"),
        (("--row", "[1]"), "must be a JSON object"),
        (("--height", "1", "--row", '{"height": 3}'), "'height' is there twice"),
        (("--width", "1"), "Unknown: width"),
        (("--height", "tall"), "'height' as a number. Received: 'tall'"),
    ]:
        done = mmzoo(*asked, *arguments)
        assert done.returncode == 1 and words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
