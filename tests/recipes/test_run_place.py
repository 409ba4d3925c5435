"""A run never writes over files that no run wrote, and says so before it trains."""

import json

import pytest
from typer.testing import CliRunner

from mmzoo.cli.app import app
from mmzoo.io.place_lock import PlaceInUseError, lock_place
from mmzoo.io.run_place import check_run_place
from mmzoo.recipes import bakeoff, concepts, towers


def written(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("main", "files"),
    [
        (concepts.main, {"model.keras": "mine", "metrics.json": '{"f1": 0.9}'}),
        (concepts.main, {"model.keras": "mine"}),
        (concepts.main, {"metrics.json": "not JSON"}),
        (concepts.main, {"report.html": "mine"}),
        (bakeoff.main, {"bakeoff.json": "[]"}),
        (bakeoff.main, {"bakeoff.html": "mine"}),
        (bakeoff.main, {"bakeoff.partial.json": "{}"}),
    ],
)
def test_a_users_own_files_are_refused_before_training(tmp_path, monkeypatch, main, files):
    for module, name in ((concepts, "train"), (bakeoff, "measure_encoders")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it trained"))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = written(tmp_path)
    with pytest.raises(ValueError, match="holds .*which no run of it has written"):
        main([*(["concepts"] if main is bakeoff.main else []), "--out", str(tmp_path)])
    assert written(tmp_path) == before


def test_a_users_own_folder_is_refused_before_towers_are_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(towers, "train", lambda *_, **__: pytest.fail("it trained"))
    folder = tmp_path / "concept128-audio" / "1"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        towers.main(["--out", str(tmp_path)])


def test_bench_refuses_a_users_own_files(tmp_path):
    (tmp_path / "bench.json").write_text('{"schema": 1}')
    ended = CliRunner().invoke(app, ["bench", str(tmp_path), "--out", str(tmp_path)])
    assert isinstance(ended.exception, ValueError) and "bench.json" in str(ended.exception)


def test_an_older_run_a_new_folder_and_other_files_are_no_obstacle(tmp_path):
    keys = {"recipe": "concepts", "trained": None}
    check = lambda path: check_run_place(path, concepts.WRITES, "metrics.json", keys)  # noqa: E731
    check(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("mine")
    check(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"recipe": "concepts", "trained": {}}))
    (tmp_path / "model.keras").write_text("ours")
    check(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        check(tmp_path / "notes.txt")


@pytest.mark.parametrize("main", [concepts.main, bakeoff.main])
def test_two_runs_into_one_folder_are_told_apart(tmp_path, main):
    first = ["concepts"] if main is bakeoff.main else []
    with lock_place(tmp_path / "run"), pytest.raises(PlaceInUseError, match="another run"):
        main([*first, "--out", str(tmp_path / "run")])
