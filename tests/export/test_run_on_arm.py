"""TFLite files on an emulated ARM processor."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from mmzoo.export.runtimes.process import Result, run_artifact

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("run_on_arm", TOOLS / "run_on_arm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arm_root(tool):
    return sys.modules["arm_root"]


@pytest.mark.slow
def test_the_answers_of_arm_are_those_of_keras(tool, arm_root, exported):
    try:
        arm = arm_root.arm_python(arm_root.default_cache())
    except arm_root.NoArm as error:
        pytest.skip(f"no ARM Python: {error}")
    probe = [*arm[0][:-1], "-c", "import platform; print(platform.machine())"]
    said = subprocess.run(probe, env=arm[1], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "aarch64"
    found = tool.run_on_arm(exported, 20, arm)
    assert [each["name"] for each in found] == ["tflite"]
    [only] = found
    assert only["breaches"] == [] and only["against"] == "Keras" and only["agreement"] == 1.0
    assert 0 <= only["scale_relative"] <= 1e-5


def here(reader, path, inputs, plan, change=lambda outputs: outputs, log="", **options):
    """This processor in ARM's place."""
    if "python" not in options:
        return run_artifact(reader, path, inputs, plan)
    done = run_artifact(reader, path, inputs, plan)
    return Result([change(done.outputs[0])], done.report, log or done.log)


def test_another_answer_and_a_missing_xnnpack_are_breaches(tool, exported, monkeypatch):
    monkeypatch.setattr(tool, "run_artifact", here)
    [good] = tool.run_on_arm(exported, 20, (("python",), {}))
    assert good["breaches"] == []
    assert good["scale_relative"] <= 1e-5

    def worse(*arguments, **options):
        return here(
            *arguments, **options, change=lambda made: {k: v + 1e-3 for k, v in made.items()}
        )

    monkeypatch.setattr(tool, "run_artifact", worse)
    [bad] = tool.run_on_arm(exported, 20, (("python",), {}))
    assert any("of the scale, above" in breach for breach in bad["breaches"])
    monkeypatch.setattr(
        tool, "run_artifact", lambda *arguments, **options: here(*arguments, **options, log="none")
    )
    [slow] = tool.run_on_arm(exported, 20, (("python",), {}))
    assert slow["breaches"] == ["XNNPACK was not created: none"]
    monkeypatch.setattr(tool, "run_artifact", lambda *arguments, **options: here(
        *arguments, **options, log=tool.XNNPACK))  # fmt: skip
    [always] = tool.run_on_arm(exported, 20, (("python",), {}))
    assert always["breaches"] == ["XNNPACK was created though it was switched off"]


def test_what_is_lacking_is_said(tool, arm_root, exported, tmp_path, monkeypatch, capsys):
    assert tool.main([str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main([str(exported.path), "--cache", str(tmp_path / "cache")]) == 2
    assert "Expected apt-get, of Debian or Ubuntu" in capsys.readouterr().err
    assert list((tmp_path / "cache").iterdir()) == []
