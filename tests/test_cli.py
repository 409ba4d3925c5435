"""The command line as a person calls it: exit codes, messages, no stack trace."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import soundfile
from PIL import Image
from small_concepts import small_concepts_model

from mmzoo.data import concept128
from mmzoo.export import export_bundle
from mmzoo.export.samples.samples import Samples


def mmzoo(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mmzoo", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its bundle, and a picture, a recording and faults of our own."""
    folder = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(1)
    model = small_concepts_model()
    model.save(folder / "model.keras")
    inputs, labels = concept128.draw_samples("test", 1)
    samples = Samples({name: value[::6] for name, value in inputs.items()}, labels[::6])
    export_bundle(
        model, folder / "run" / "bundle", samples=samples, classes=concept128.class_names()
    )
    present = {f"{name}_present": np.ones(len(samples), bool) for name in inputs}
    Samples(inputs=samples.inputs | present, targets=samples.targets).save(folder / "samples.npz")
    picture = np.zeros((90, 160, 3), "uint8")
    picture[20:70, 40:120] = (200, 30, 40)
    Image.fromarray(picture).save(folder / "apple.png")
    time = np.arange(22_050) / 44_100
    wave = 0.3 * np.sin(2 * np.pi * 300 * time * (1 + time))
    soundfile.write(folder / "speech.wav", np.stack([wave, wave], 1), 44_100)
    soundfile.write(folder / "long.wav", np.tile(wave, 4), 44_100)
    (folder / "cut.png").write_bytes((folder / "apple.png").read_bytes()[:60])
    return folder


def sample(folder, **changes):
    values = {"image": folder / "apple.png", "text": "roter Apfel", "audio": folder / "speech.wav"}
    values.update(changes)
    return [x for name, value in values.items() if value is not None for x in (f"--{name}", value)]


def test_help_version_and_recipes():
    assert mmzoo("--help").returncode == 0
    assert mmzoo("--version").stdout.strip() == "0.1.0"
    listed = mmzoo("recipes")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names == ["bakeoff", "concepts", "towers"]
    assert "concepts     Names a concept from a picture" in listed.stdout
    assert "--fusion" in mmzoo("run", "concepts", "--help").stdout
    assert "--seeds" in mmzoo("bakeoff", "--help").stdout


def test_a_recipe_can_be_copied_and_run_from_its_copy(tmp_path):
    script = tmp_path / "mine.py"
    assert mmzoo("recipes", "copy", "concepts", script).returncode == 0
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--fusion" in done.stdout
    again = mmzoo("recipes", "copy", "concepts", script)
    assert again.returncode == 2 and "exists" in again.stderr
    assert mmzoo("recipes", "copy", "nothing", tmp_path / "b.py").returncode == 2


def test_unknown_recipes_and_options_are_wrong_usage():
    done = mmzoo("run", "nothing")
    assert done.returncode == 2
    assert "Known: bakeoff, concepts" in done.stderr
    done = mmzoo("run", "concepts", "--fusion", "nuclear")
    assert done.returncode == 2
    assert "invalid choice: 'nuclear'" in done.stderr
    done = mmzoo("run", "concepts", "--modalities", "image,smell")
    assert done.returncode == 2
    assert "expected some of image,text,audio" in done.stderr


def test_the_three_formats_name_the_same_top_five(folder):
    answers = {}
    for name in ("saved_model", "tflite", "onnx"):
        done = mmzoo("predict", folder / "run", "--format", name, "--json", *sample(folder))
        assert done.returncode == 0, done.stderr
        answers[name] = json.loads(done.stdout)["probability"]
        assert len(answers[name]) == 5
    names = {name: [row["class"] for row in rows] for name, rows in answers.items()}
    assert names["saved_model"] == names["tflite"] == names["onnx"]
    scores = np.array([[row["score"] for row in rows] for rows in answers.values()])
    np.testing.assert_allclose(scores, scores[:1].repeat(3, 0), rtol=1e-4)
    assert (np.diff(scores) <= 0).all()


def test_predict_prints_a_table(folder):
    done = mmzoo("predict", folder / "run", "--top", 2, *sample(folder))
    assert done.returncode == 0
    assert "probability" in done.stdout and "without" not in done.stdout


@pytest.mark.parametrize(
    "absent", [["image"], ["text", "audio"], ["image", "audio"], ["image", "text"]]
)
def test_predict_does_without_what_is_not_given(folder, absent):
    given = sample(folder, **dict.fromkeys(absent))
    done = mmzoo("predict", folder / "run", *given)
    assert done.returncode == 0, done.stderr
    assert f"without {' and '.join(absent)}" in " ".join(done.stdout.split())
    done = mmzoo("predict", folder / "run", "--json", "--top", 128, *given)
    scores = {row["class"]: row["score"] for row in json.loads(done.stdout)["probability"]}
    assert sum(scores.values()) == pytest.approx(1, rel=1e-5)
    done = mmzoo("predict", folder / "run", "--json", "--top", 128, *sample(folder))
    whole = {row["class"]: row["score"] for row in json.loads(done.stdout)["probability"]}
    assert max(abs(whole[name] - score) for name, score in scores.items()) > 1e-4


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict.fromkeys(("image", "text", "audio")), "at least one of image, text, audio"),
        ({"image": "gone.png"}, "gone.png"),
        ({"image": "{folder}/cut.png"}, "cut.png"),
        ({"image": "{folder}/speech.wav"}, "speech.wav"),
        ({"audio": "{folder}/apple.png"}, "apple.png"),
        ({"audio": "{folder}/long.wav"}, "'audio' of at most the length 12,800"),
    ],
)
def test_bad_samples_are_one_line(folder, changes, message):
    changes = {k: v and v.format(folder=folder) for k, v in changes.items()}
    done = mmzoo("predict", folder / "run", *sample(folder, **changes))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_verify_exits_0_and_then_1_on_a_breach(folder):
    done = mmzoo("verify", folder / "run")
    assert done.returncode == 0, done.stderr
    assert "Every check holds" in done.stdout
    path = folder / "run" / "bundle" / "tflite" / "model.tflite"
    data = path.read_bytes()
    try:
        path.write_bytes(
            data[: len(data) // 2] + b"\xff\xff\xff\x7f" * 64 + data[len(data) // 2 + 256 :]
        )
        done = mmzoo("verify", folder / "run")
    finally:
        path.write_bytes(data)
    assert done.returncode == 1
    assert "NO" in done.stdout
    assert "output 'probability'" in done.stderr
    assert "values are not finite" in done.stderr


def test_export_writes_a_bundle_that_verifies(folder, tmp_path):
    done = mmzoo(
        "export", folder / "model.keras", "--out", tmp_path / "b", "--formats", "tflite",
        "--samples", folder / "samples.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"Bundle: {tmp_path / 'b'}" in done.stdout
    assert mmzoo("verify", tmp_path / "b").returncode == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["verify", "nowhere"], "Expected a bundle"),
        (["predict", "nowhere", "--text", "x"], "Expected a bundle"),
        (["export", "gone.keras", "--out", "x"], "no such file"),
        (["export", "{folder}/apple.png", "--out", "x"], "which Keras can't load"),
        (["export", "{folder}/model.keras", "--out", "x", "--formats", "gguf"], "`formats` must"),
        (["export", "{folder}/model.keras", "--out", "{folder}"], "holds something else"),
        (
            ["export", "{folder}/model.keras", "--out", "x", "--samples", "{folder}/apple.png"],
            "Expected an .npz file of samples",
        ),
    ],
)
def test_errors_are_one_line_and_leave_nothing(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = mmzoo(*(argument.format(folder=folder) for argument in arguments))
    assert done.returncode == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_tensorflow_is_imported_quietly_and_its_failure_is_shown(tmp_path):
    """TensorFlow 2.21 logs while it is imported, whatever the settings."""
    done = mmzoo("run", "concepts", "--help")
    assert done.returncode == 0 and done.stderr == ""
    broken = tmp_path / "tensorflow.py"
    broken.write_text("import os\nos.write(2, b'what it says\\n')\nraise ImportError('no wheel')\n")
    done = subprocess.run(
        [sys.executable, "-m", "mmzoo", "run", "concepts", "--help"], capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "what it says" in done.stderr and "error: no wheel" in done.stderr
