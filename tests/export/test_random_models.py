"""Models drawn at random: nothing that an export lets through is wrong."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / "tools" / "random_models.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("random_models", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_no_wrong_answer_passes(tool, capsys):
    results = tool.main(["--count", "20"])  # exits with 1 on a wrong answer or a crash
    outcomes = [outcome for each in results.values() for outcome, _ in each["outcomes"].values()]
    assert len(outcomes) == 60
    # A draw that refuses nearly all would show nothing.
    assert outcomes.count("passed") >= 20
    assert "| tflite |" in capsys.readouterr().out


def test_every_row_of_the_table_can_be_drawn(tool):
    import keras
    from random_layers import TABLE

    shapes = [
        ((4,), "float32"), ((5, 6), "float32"), ((8, 8, 4), "float32"), ((8, 8, 3), "float32"),
        ((3, 1), "float32"), ((4,), "int32"), ((5,), "bool"), ((5, 4), "int32"),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    for row, (takes, apply) in TABLE.items():
        taken = [x for x in (keras.Input(s, dtype=d) for s, d in shapes) if takes(x)]
        assert taken, row
        made = apply(rng, taken[0])
        assert made.shape[0] is None and None not in made.shape[1:], row


def _dense(tool):
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="vector")
    return keras.Model({"vector": x}, {"out0": keras.layers.Dense(3)(x)})


def test_a_wrong_answer_that_passed_is_found(tool, tmp_path, monkeypatch):
    def export(model, path):
        """An export that verifies nothing, of another model."""
        from mmzoo.export.convert.saved_model_writer import write_saved_model

        for variable in model.trainable_variables:
            variable.assign(1.01 * variable)
        write_saved_model(model, path / tool.PATHS["saved_model"])
        for variable in model.trainable_variables:
            variable.assign(variable / 1.01)
        return {"saved_model": None}

    monkeypatch.setattr(tool, "try_export", export)
    monkeypatch.setattr(tool, "draw_model", lambda *_: (_dense(tool), "operators", []))
    found = tool.try_model(1)
    outcome, words = found["outcomes"]["saved_model"]
    assert outcome == "wrong" and "largest difference" in words
    found |= {"seconds": 0.0, "outcomes": dict.fromkeys(tool.FORMATS, ("wrong", words))}
    monkeypatch.setattr(tool, "try_models", lambda *_: [found])
    with pytest.raises(SystemExit):
        tool.main(["--count", "1", "--first", "1"])


def test_rows_of_which_keras_is_not_sure_are_left_out(tool):
    import keras
    import random_answers

    x = keras.Input((4,), name="vector")
    outputs = {
        "root": keras.ops.sqrt(x),  # NaN below zero
        "last": keras.ops.floor(keras.ops.exp(keras.ops.log(keras.ops.abs(x) + 0.0) * 1.0)),
    }
    model = keras.Model({"vector": x}, outputs)
    rows = np.array([[2.5] * 4, [-1.0] * 4, [1.0] * 4], "float32")
    (known,) = random_answers.ask_keras(model, [{"vector": rows}])
    assert known.left_out == 1 and len(known.expected["root"]) == 2
    assert known.unsteady["last"].tolist() == [False, True]  # 1 less its last digit is 0
    assert not known.unsteady["root"].any()
    wrong = {"root": known.expected["root"] * 1.001, "last": known.expected["last"]}
    assert "'root', 2 of 2 rows" in random_answers.find_wrong(wrong, known)
    assert not random_answers.find_wrong(known.expected, known)


def _child(tmp_path, tool, body):
    """A tool whose models are found by `body`, once a number."""
    child = tmp_path / "child.py"
    child.write_text(f"""
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--child")
once = pathlib.Path({str(tmp_path / "once")!r})
for number in map(int, parser.parse_args().child.split(",")):
{body}
    print("something else")
    print({tool.MARK!r} + json.dumps({{"number": number, "kind": "operators", "drawn": [],
        "rows": {{}}, "seconds": 1.0, "outcomes":
        dict.fromkeys({list(tool.FORMATS)!r}, ["passed", ""])}}), flush=True)
""")
    return str(child)


def test_a_model_that_ends_its_process_takes_no_other_with_it(tool, tmp_path, monkeypatch):
    """Number 2 dies each time, number 4 the first time alone; number 7 never ends."""
    body = """
    if number == 2 or (number == 4 and not once.exists()):
        once.touch() if number == 4 else None
        print("free(): invalid pointer", file=sys.stderr, flush=True)
        os.abort()
    if number == 7:
        time.sleep(60)
"""
    processes = sys.modules[tool.try_models.__module__]
    monkeypatch.setattr(processes, "TOOL", _child(tmp_path, tool, body))
    done = list(tool.try_models(range(12), workers=2, limit=2.0))
    found = {each["number"]: each["outcomes"]["onnx"] for each in done}
    assert sorted(found) == list(range(12)) and len(done) == 12
    died, slow = found.pop(2), found.pop(7)
    assert died[0] == "crashed" and "code -6: free(): invalid pointer" in died[1]
    assert slow == ("crashed", "it took more than 2 s")
    assert set(map(tuple, found.values())) == {("passed", "")}


def test_an_interrupted_run_goes_on(tool, tmp_path, monkeypatch, capsys):
    asked = []

    def try_models(numbers, *_):
        for number in numbers:
            asked.append(number)
            if asked == [0, 1, 2]:
                raise KeyboardInterrupt
            passed = dict.fromkeys(tool.FORMATS, ("passed", ""))
            yield {"number": number, "kind": "operators", "drawn": ["Dense"], "rows": {},
                   "seconds": 1.0, "outcomes": passed}  # fmt: skip

    monkeypatch.setattr(tool, "try_models", try_models)
    file = tmp_path / "models.jsonl"
    with pytest.raises(KeyboardInterrupt):
        tool.main(["--count", "4", "--resume", str(file)])
    with file.open("a") as half:
        half.write('{"number": 2, "ki')
    tool.main(["--count", "4", "--resume", str(file)])
    assert asked == [0, 1, 2, 2, 3]
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
    assert "| onnx | 4 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
