"""Whatever a user names at the command line: a sentence, exit code 1 or 2, and no stack trace."""

import errno
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.cli import main as command
from mmzoo.cli.text_files import read_lines
from mmzoo.export.surgery.model_description import describe, load_model
from mmzoo.hub import HubLayer
from mmzoo.io.error_words import in_words

BAD = ("gone", "folder", "text.txt", "empty", "loop", "loop/x", "text.txt/x")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/manifest.json").write_text("{")
    keras.Sequential([keras.Input((4,)), layers.Dense(3)]).save(tmp_path / "model.keras")
    return tmp_path


def mmzoo(monkeypatch, capsys, *arguments):
    """Exit code and what was said, in this process; restores what `main` sets."""
    monkeypatch.setattr(sys, "argv", ["mmzoo", *map(str, arguments)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code, capsys.readouterr().err


def commands():
    """Every command with each bad file."""
    for bad in BAD:
        yield "export", bad, "--out", "o"
        yield "export", "model.keras", "--out", "o", "--samples", bad
        yield "hub", "publish", bad, "--tower", "image", "--out", "o"
        yield "hub", "info", bad
        yield "hub", "fetch", bad, "--offline"
        yield "data", "prepare", bad, "--out", "d"
        for name in ("verify", "bench", "demo"):
            yield name, bad
        yield "predict", bad, "--text", "x"
        yield "embed", bad, "--input", "x", "--output", "y"
        yield "sign", bad, "--key", "text.txt"
    for bad in (*BAD, "latin.txt"):
        if bad != "text.txt":
            yield "export", "model.keras", "--out", "o", "--classes", bad
            yield "hub", "publish", "model.keras", "--tower", "image", "--out", "o", "--card", bad
    yield from (("verify", "broken"), ("predict", "broken", "--text", "x"), ("demo", "broken"))
    yield "export", "model.keras", "--out", "text.txt"
    yield "export", "model.keras", "--out", "o", "--import", "no_such_module_of_ours"
    yield "hub", "build", "nothing"
    yield "hub", "build", "text", "--weights", "gone"
    yield "run", "nothing"
    yield "run", "concepts", "--out", "text.txt"
    yield "run", "towers", "--out", "text.txt", "--steps", "1"
    yield "train-cluster", "nothing"
    yield "bakeoff", "nothing"
    yield ("nothing",)


def test_no_command_ends_in_a_stack_trace_or_a_bare_errno(place, monkeypatch, capsys):
    tried = 0
    for arguments in commands():
        code, said = mmzoo(monkeypatch, capsys, *arguments)
        assert code in (1, 2) and said, arguments
        for word in ("Traceback", "[Errno", "not an error that mmzoo foresaw"):
            assert word not in said, (arguments, said)
        tried += 1
    assert tried >= 100
    assert not (place / "o").exists()


@pytest.mark.parametrize(
    "number, match",
    [
        (errno.EACCES, "Permission denied: 'x'. Look at its owner"),
        (errno.EISDIR, "Expected a file. Received: 'x', a folder"),
        (errno.ENOTDIR, "Expected a folder. Received: 'x'"),
        (errno.ENOSPC, "No space is left on the disk: 'x'"),
        (errno.ELOOP, "Too many levels of symbolic links: 'x'"),
        (errno.EROFS, "can only be read: 'x'"),
    ],
)
def test_an_error_of_the_system_is_a_sentence(number, match):
    words, foreseen = in_words(OSError(number, os.strerror(number), "x"))
    assert match in words and foreseen and "Errno" not in words


def test_a_file_that_may_not_be_read_is_named(place, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", "model.keras")

    monkeypatch.setattr("mmzoo.io.keras_files.load_keras", refuse)
    code, said = mmzoo(monkeypatch, capsys, "export", "model.keras", "--out", "o")
    assert code == 1 and said.startswith("error: Permission denied: 'model.keras'")


def test_debug_shows_the_trace(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmzoo", "--debug", "verify", "gone"])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setenv(command.DEBUG, "")
    with pytest.raises(FileNotFoundError, match="Expected a bundle"):
        command.main()


def test_class_names_are_read_as_people_write_them(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffcat\r\nDüne\r\n\r\n".encode())
    assert read_lines(path, "class names") == ["cat", "Düne"]
    path.write_text("cat\n\ndog\n")
    with pytest.raises(ValueError, match="class names in .*an empty line 2"):
        read_lines(path, "class names")


def test_unnamed_inputs_have_the_same_name_in_every_process_and_file(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="y")])
    model.save(tmp_path / "model.keras")
    for each in (model, tmp_path / "model.keras"):
        assert [t.name for t in describe(load_model(each))[0]] == ["input"]
    a, b, c = keras.Input((2,)), keras.Input((2,), name="b"), keras.Input((2,))
    several = keras.Model([a, b, c], layers.Concatenate()([a, b, c]))
    assert [t.name for t in describe(load_model(several))[0]] == ["input_1", "b", "input_3"]


def test_a_hub_layer_first_in_a_sequential_names_the_input():
    model = keras.Sequential([HubLayer("mmzoo/concept128-image/1", output_key="pooled")])
    match = r"Put keras.Input\(\(None, None, 3\), dtype='uint8'\) in front"
    with pytest.raises(ValueError, match=match):
        model(np.zeros((2, 64, 64, 3), "uint8"))
    with pytest.raises(ValueError, match="which has no input yet. Put keras.Input"):
        load_model(keras.Sequential([layers.Dense(2)]))


def test_export_says_nothing_on_standard_error(tmp_path):
    x = keras.Input((8, 8, 3), name="photo")
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x)))
    keras.Model(x, {"y": y}).save(tmp_path / "model.keras")
    np.savez(tmp_path / "s.npz", photo=np.random.default_rng(0).random((20, 8, 8, 3), "float32"))
    done = subprocess.run(
        [sys.executable, "-m", "mmzoo", "export", "model.keras", "--out", "b", "--samples",
         "s.npz", "--formats", "saved_model,tflite,onnx,tflite-float16",
         "--metric-limit", "0.1"],
        capture_output=True, text=True, timeout=500, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
