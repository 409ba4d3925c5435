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
    # The first few: TensorFlow 2.21 itself corrupts its memory on number 6 (a bidirectional GRU
    # beside the audio encoder, both short), in half of the runs, before anything is exported.
    results = tool.main(["--count", "6"])  # exits with 1 on a wrong answer or a crash
    outcomes = [outcome for _, of in results.values() for outcome, _ in of.values()]
    assert len(outcomes) == 18
    # A draw that refuses nearly all would show nothing.
    assert sum(outcome in ("passed", "mended") for outcome in outcomes) >= 6
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
    model, _ = tool.draw_model(1)
    outcome, words = tool.try_format(model, "saved_model", tmp_path)
    assert outcome == "wrong" and "largest difference" in words
    with pytest.raises(SystemExit):
        tool.main(["--count", "1", "--first", "1"])
