"""Killed at any moment, a run leaves nothing that the next does not remove, and no worker."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmzoo.io import files, working_folder
from mmzoo.io.files import atomic_write, write_json
from mmzoo.io.working_folder import sweep

DRAW = random.Random(5)

WRITES = """
import signal, sys, time
from pathlib import Path
from mmzoo.io.files import atomic_write
from mmzoo.io.stopping import tidy_up_when_asked_to_end
tidy_up_when_asked_to_end()
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a job has no terminal
print("begun", flush=True)
while True:
    with atomic_write(Path(sys.argv[1])) as place:
        place.mkdir()
        for name in "abc":
            (place / name).write_text("whole" * 1000)
            time.sleep(0.002)
"""

READS = """
import os, sys
print("begun", flush=True)
missing = looks = 0
while not os.path.exists(sys.argv[2]):
    looks += 1
    try:
        os.stat(sys.argv[1] + "/a")
    except FileNotFoundError:
        missing += 1
print(looks, missing)
"""


def bundle(path, text):
    with atomic_write(path) as place:
        place.mkdir()
        (place / "a").write_text(text)


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_while_it_writes_it_leaves_a_whole_folder(tmp_path, number):
    for _ in range(4):
        process = start(WRITES, tmp_path / "out")
        time.sleep(DRAW.uniform(0.02, 0.12))
        process.send_signal(number)
        try:
            process.wait(30)
        finally:
            process.kill()
        process.stdout.close()
        if (tmp_path / "out").exists():
            texts = {p.name: p.read_text() for p in (tmp_path / "out").iterdir()}
            assert texts == dict.fromkeys("abc", "whole" * 1000)
    bundle(tmp_path / "other", "next")
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "other"}


def test_a_folder_of_a_living_process_or_of_nobody_stays(tmp_path):
    (tmp_path / ".out.abc").mkdir()
    with working_folder.working_folder(tmp_path / "out") as folder:
        foreign = folder.with_name(folder.name.replace(working_folder._machine(), "0" * 12))
        foreign.mkdir()
        sweep(tmp_path)
        assert folder.is_dir() and foreign.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {".out.abc", foreign.name}


def test_what_was_moved_aside_comes_back(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from mmzoo.io import files\n"
        "files.exchange = lambda new, path: False\n"  # a system that can't
        "def killed(old, new, rename=os.rename):\n"
        "    rename(old, new)\n"
        "    os.kill(os.getpid(), 9)\n"
        "files.os.rename = killed\n"
        "print('begun', flush=True)\n"
        "with files.atomic_write(Path(sys.argv[1])) as place:\n"
        "    place.mkdir()\n"
    )
    bundle(tmp_path / "out", "old")
    with start(code, tmp_path / "out") as process:
        process.wait(30)
    assert not (tmp_path / "out").exists()
    write_json(tmp_path / "something.json", {})
    assert (tmp_path / "out/a").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "something.json"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names")
def test_a_reader_never_sees_the_folder_absent(tmp_path):
    bundle(tmp_path / "out", "0")
    with start(READS, tmp_path / "out", tmp_path / "stop") as process:
        for k in range(60):
            bundle(tmp_path / "out", str(k))
        (tmp_path / "stop").touch()
        looks, missing = map(int, process.stdout.read().split())
    assert looks > 100 and missing == 0


def test_a_system_that_cannot_exchange_replaces_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda new, path: False)
    bundle(tmp_path / "out", "old")
    bundle(tmp_path / "out", "new")
    assert (tmp_path / "out/a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_is_written_in_one_step(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", [1])

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", [2])
    assert (tmp_path / "a.json").read_text() == "[\n 1\n]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


WORKER = """
import os, sys, time
from mmzoo.export.runtimes import with_parent
if sys.argv[2] == "without prctl":
    with_parent.sys.platform = "other"
with_parent.end_with_parent()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(120)
"""
PARENT = """
import sys
from mmzoo.export.runtimes.with_parent import run_with_parent
print("begun", flush=True)
run_with_parent([sys.executable, "-c", *sys.argv[1:]], time_limit=100)
"""


@pytest.mark.parametrize("how", ["with prctl", "without prctl"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_parent(tmp_path, number, how):
    told = tmp_path / "pid"
    with start(PARENT, WORKER, told, how) as process:
        end = time.monotonic() + 60
        while not (told.exists() and told.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        worker = int(told.read_text())
        process.send_signal(number)
        try:
            process.wait(30)
        finally:
            process.kill()
        while os.path.exists(f"/proc/{worker}/stat") and time.monotonic() < end:
            if Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.02)
        else:
            assert not os.path.exists(f"/proc/{worker}/stat")
