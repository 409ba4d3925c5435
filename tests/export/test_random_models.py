"""Models drawn at random: nothing that an export lets through is wrong."""

import importlib.util
from pathlib import Path

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
    outcomes = [outcome for _, of in results.values() for outcome, _ in of.values()]
    assert len(outcomes) == 60
    # A draw that refuses nearly all would show nothing.
    assert sum(outcome in ("passed", "mended") for outcome in outcomes) >= 20
    assert {"passed", "mended", "refused"} <= set(outcomes)
    assert "| tflite |" in capsys.readouterr().out


def test_a_wrong_answer_that_passed_is_found(tool, tmp_path, monkeypatch):
    def write(model, path, samples):
        """An export that proves nothing, of another model."""
        for variable in model.trainable_variables:
            variable.assign(1.01 * variable)
        tool.write_saved_model(model, path)
        for variable in model.trainable_variables:
            variable.assign(variable / 1.01)

    monkeypatch.setattr(tool, "FORMATS", {"saved_model": write})
    found = tool.try_model(1)
    outcome, words = found[1]["saved_model"]
    assert outcome == "wrong" and "largest difference" in words
    monkeypatch.setattr(tool, "try_models", lambda first, count: [(1, found)])
    with pytest.raises(SystemExit):
        tool.main(["--count", "1", "--first", "1"])


def test_a_model_that_ends_its_process_takes_no_other_with_it(tool, tmp_path, monkeypatch, capsys):
    """Number 2 dies each time, number 4 the first time alone."""
    child = tmp_path / "child.py"
    child.write_text(f"""
import argparse, json, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--child", action="store_true")
parser.add_argument("--first", type=int)
parser.add_argument("--count", type=int)
args = parser.parse_args()
once = pathlib.Path({str(tmp_path / "once")!r})
for number in range(args.first, args.first + args.count):
    if number == 2 or (number == 4 and not once.exists()):
        once.touch() if number == 4 else None
        print("free(): invalid pointer", file=sys.stderr, flush=True)
        os.abort()
    print("something else")
    print({tool.MARK!r} + json.dumps(["kind", {{"onnx": ["passed", ""]}}]), flush=True)
""")
    monkeypatch.setattr(tool, "__file__", str(child))
    monkeypatch.setattr(tool, "FORMATS", {"onnx": None})
    found = {number: outcomes["onnx"] for number, (_, outcomes) in tool.try_models(0, 12)}
    assert list(found) == list(range(12))
    died = found.pop(2)
    assert died[0] == "crashed" and "code -6: free(): invalid pointer" in died[1]
    assert set(map(tuple, found.values())) == {("passed", "")}
