"""Checkpoints: whole or not at all, the last whole one, of the same run."""

import errno
import json
import os
import warnings

import numpy as np
import pytest

from mmzoo.training.resume import checkpoint_files
from mmzoo.training.resume.checkpoint_files import CheckpointError, CheckpointFiles

VALUES = {"finished": False, "callbacks": [{"best": 0.1, "wait": 2}]}


def save(files, *steps):
    for step in steps:
        files.save(step, {"a/0": np.full(3, step, "float32"), "b/0": np.array(step)}, VALUES)


def test_what_was_saved_is_loaded(tmp_path):
    files = CheckpointFiles(tmp_path / "run", {"seed": 1})
    assert files.load() is None
    save(files, 5, 10)
    step, arrays, values = CheckpointFiles(tmp_path / "run", {"seed": 1}).load()
    assert step == 10 and values == VALUES and set(arrays) == {"a/0", "b/0"}
    np.testing.assert_array_equal(arrays["a/0"], np.full(3, 10, "float32"))
    assert arrays["a/0"].dtype == np.float32 and arrays["b/0"] == 10


def test_the_last_two_are_kept(tmp_path):
    save(CheckpointFiles(tmp_path), 5, 10, 15, 20)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoints.json", "step-000000015.npz", "step-000000020.npz",
    }  # fmt: skip


def test_a_step_saved_again_replaces_itself(tmp_path):
    files = CheckpointFiles(tmp_path)
    save(files, 5, 10, 10)
    assert files.load()[0] == 10 and (tmp_path / "step-000000005.npz").exists()


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_one_is_passed_over_and_said(tmp_path, damage):
    files = CheckpointFiles(tmp_path)
    save(files, 5, 10)
    last = tmp_path / "step-000000010.npz"
    content = last.read_bytes()
    {"cut": lambda: last.write_bytes(content[:-40]), "gone": last.unlink,
     "other": lambda: last.write_bytes(content[:200] + b"x" + content[201:])}[damage]()  # fmt: skip
    with pytest.warns(UserWarning, match="step-000000010.npz: expected SHA-256.*the one before it"):
        assert files.load()[0] == 5


def test_where_all_are_damaged_it_is_refused(tmp_path):
    files = CheckpointFiles(tmp_path)
    save(files, 5, 10)
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(b"")
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match="2, all damaged. Delete"):
        warnings.simplefilter("ignore")
        files.load()


def test_another_runs_are_refused(tmp_path):
    save(CheckpointFiles(tmp_path, {"seed": 1}), 5)
    other = CheckpointFiles(tmp_path, {"seed": 2})
    for use in (other.load, lambda: save(other, 6)):
        with pytest.raises(CheckpointError, match="Name another folder, or delete it"):
            use()


@pytest.mark.parametrize("text", ["", "[]", '{"arguments": null}'])
def test_a_list_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "checkpoints.json").write_text(text)
    with pytest.raises(CheckpointError, match="Expected the list of checkpoints"):
        CheckpointFiles(tmp_path).load()


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, after):
    files = CheckpointFiles(tmp_path)
    save(files, 5)
    before = json.loads((tmp_path / "checkpoints.json").read_text())
    flush, calls = checkpoint_files._flush, []

    def full(file):
        calls.append(file)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    monkeypatch.setattr(checkpoint_files, "_flush", full)
    with pytest.raises(OSError, match="No space left"):
        save(files, 10)
    monkeypatch.undo()
    assert json.loads((tmp_path / "checkpoints.json").read_text()) == before
    assert not list(tmp_path.glob(".*")) and files.load()[0] == 5


def test_one_is_not_enough(tmp_path):
    with pytest.raises(ValueError, match="`keep` must be 2 or more"):
        CheckpointFiles(tmp_path, keep=1)


@pytest.mark.parametrize(
    "name", ["../mine.txt", "/mine.txt", "mine.txt", ".", "", "a/step-000000005.npz",
             "step-000000005.npz\n", "step-000000006.npz", None],
)  # fmt: skip
def test_a_listed_name_that_is_no_checkpoints_own_deletes_nothing(tmp_path, name):
    folder = tmp_path / "run"
    files = CheckpointFiles(folder)
    save(files, 5, 10)
    for place in (tmp_path, folder):
        (place / "mine.txt").write_text("mine")
    index = json.loads((folder / "checkpoints.json").read_text())
    if name == "/mine.txt":
        name = str(tmp_path / "mine.txt")
    index["checkpoints"][1]["file"] = name
    (folder / "checkpoints.json").write_text(json.dumps(index))
    for act in (lambda: save(files, 15), files.load):
        with pytest.raises(CheckpointError, match="no checkpoint's name.*Delete the folder"):
            act()
    assert (tmp_path / "mine.txt").read_text() == (folder / "mine.txt").read_text() == "mine"


def test_links_and_pipes_are_no_checkpoints(tmp_path):
    files = CheckpointFiles(tmp_path / "run")
    save(files, 5, 10)
    last = tmp_path / "run" / "step-000000010.npz"
    last.rename(tmp_path / "moved")
    last.symlink_to(tmp_path / "moved")
    with pytest.warns(UserWarning, match="no file"):
        assert files.load()[0] == 5
    last.unlink()
    os.mkfifo(last)
    with pytest.warns(UserWarning, match="no file"):
        assert files.load()[0] == 5
    index = tmp_path / "run" / "checkpoints.json"
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(CheckpointError, match="no regular file"):
        files.load()
    index.unlink()
    index.write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="something else"):
        files.load()
