"""A record that is damaged is one line, which names it."""

import os
import subprocess
import sys

import pytest

from mmzoo.data import readers
from mmzoo.data.beam import jobs
from mmzoo.data.beam.jobs import JobError, run_jobs
from mmzoo.data.prepare import prepare_dataset
from mmzoo.data.records import check_shard, describe_records, read_shard

pytest.importorskip("apache_beam", reason="pip install mmzoo[beam]")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.csv").write_text("text\n" + "".join(f"word {k}\n" for k in range(20)))
    prepare_dataset(tmp_path / "m.csv", tmp_path / "data", rows_per_shard=10)
    return tmp_path / "data"


def damage(folder, how):
    path = folder / describe_records(folder)["shards"][1]["name"]
    data = path.read_bytes()
    half = len(data) // 2
    changed = {
        "changed": data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :],
        "cut": data[: half + 3],
        "length": b"\xff" + data[1:],
        "empty": b"",
    }
    path.write_bytes(changed[how])
    return path


@pytest.mark.parametrize("how", ["changed", "cut", "length"])
def test_the_file_and_the_number_are_named(folder, how):
    path, shard = damage(folder, how), describe_records(folder)["shards"][1]
    number = {"length": 1, "changed": 6, "cut": 6}[how]
    match = rf"{path.name}.*record {number} is damaged.*Copy it again, or make it again"
    with pytest.raises(ValueError, match=match):
        list(read_shard(path))
    for read in (
        lambda: check_shard(folder, shard),
        lambda: readers.read_records(folder, verify=True),
    ):
        with pytest.raises(ValueError, match=match) as found:
            read()
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("how", ["cut", "empty"])
def test_a_cut_file_is_noticed_without_reading_it(folder, how):
    damage(folder, how)
    with pytest.raises(ValueError, match=r"bytes \(10 records\) in .*Copy it again"):
        readers.read_records(folder)


def test_a_job_that_fails_says_so_in_one_line(folder, capfd):
    path = damage(folder, "changed")

    def job(number):
        list(read_shard(path))

    with pytest.raises(JobError, match="record 6 is damaged.*What is done stays") as found:
        run_jobs(job, [0, 1, 2])
    assert "\n" not in str(found.value) and "damaged" in str(found.value.__cause__)
    assert "Traceback" not in capfd.readouterr().err and not jobs._FAILED


def test_an_error_of_another_process_is_found_in_its_text(monkeypatch):
    def job(number):
        raise ValueError("the\ncause.")

    monkeypatch.setattr(os, "getpid", iter(range(10_000)).__next__)
    with pytest.raises(JobError, match="^A job failed: the cause. What is done stays"):
        run_jobs(job, [0])


COMMAND = """
import sys
import mmzoo.cli.app, mmzoo.cli.main
from mmzoo.data.beam.jobs import run_jobs
from mmzoo.data.records import read_shard

@mmzoo.cli.app.app.command()
def damaged(path: str) -> None:
    run_jobs(lambda number: list(read_shard(path)), [0])

mmzoo.cli.main.main()
"""


def test_the_command_line_prints_one_line(folder):
    command = [sys.executable, "-c", COMMAND, "damaged", str(damage(folder, "changed"))]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (line,) = [line for line in found.stderr.splitlines() if "cuda" not in line and line.strip()]
    assert found.returncode == 1 and line.startswith("error: A job failed: ")
    assert "record 6 is damaged. Copy it again" in line
