"""The supervisor, with workers that are small Python programs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmzoo.training.launch.cluster import ClusterError, run_cluster, worker_command

PROLOGUE = """
import json, os, signal, sys, time
from pathlib import Path
place = json.loads(os.environ["TF_CONFIG"])
index, count = place["task"]["index"], len(place["cluster"]["worker"])
folder = Path(sys.argv[1])
starts = len(list(folder.glob(f"start-{index}-*")))
(folder / f"start-{index}-{starts}").write_text(json.dumps(place["cluster"]))
print("worker", index, "start", starts, flush=True)
"""


@pytest.fixture
def cluster(tmp_path):
    """Runs two workers of a program; what the user is told is `cluster.told`."""

    def start(program, workers=2, **options):
        command = [sys.executable, "-c", PROLOGUE + program, str(tmp_path)]
        options = {"backoff": 0.01, "grace": 5.0, **options}
        return run_cluster(
            command, workers=workers, logs=tmp_path / "logs", tell=start.told.append, **options
        )

    start.told = []
    start.starts = lambda index: len(list(tmp_path.glob(f"start-{index}-*")))
    return start


def test_all_end_well(cluster, tmp_path):
    assert cluster("", workers=3).restarts == 0
    assert [cluster.starts(k) for k in range(4)] == [1, 1, 1, 0]
    assert cluster.told == ["worker 0 start 0"]
    places = {(tmp_path / f"start-{k}-0").read_text() for k in range(3)}
    assert len(places) == 1 and len(set(json.loads(places.pop())["worker"])) == 3


def test_all_start_again_when_one_is_killed(cluster):
    ended = cluster(
        "if index == 1 and starts < 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if starts < 2: time.sleep(60)"
    )
    assert ended.restarts == 2 and ended.seconds < 20
    assert [cluster.starts(k) for k in (0, 1)] == [3, 3]
    said = [line for line in cluster.told if "again" in line]
    assert said[0].startswith("Worker 1 was ended by SIGKILL. Starting all 2 again in 0 s (1)")


def test_it_gives_up_and_shows_the_log(cluster):
    with pytest.raises(ClusterError) as caught:
        cluster("print('number', starts, flush=True)\nsys.exit(1)", restarts=2)
    assert "within 2 restarts" in str(caught.value) and "number 2" in str(caught.value)
    assert cluster.starts(0) == 3


def test_the_same_fault_twice_is_enough(cluster):
    with pytest.raises(ClusterError, match="failed twice in the same way.\nno such file"):
        cluster("print('no such file', flush=True)\nsys.exit(1)")
    assert cluster.starts(0) == 2


@pytest.mark.parametrize("code, why", [(3, "training diverged"), (2, "the command is wrong")])
def test_what_would_repeat_itself_is_not_started_again(cluster, code, why):
    with pytest.raises(ClusterError, match=f"Not started again: {why}"):
        cluster(f"sys.exit({code} if index else 0)")
    assert cluster.starts(0) == 1


def test_a_preempted_worker_lets_the_others_save(cluster, tmp_path):
    ended = cluster(
        "if starts: sys.exit(0)\n"
        "time.sleep(0.5 * index)\n"
        "(folder / f'saved-{index}').touch()\n"
        "sys.exit(75)",
        restarts=0,  # it does not count as a failure
    )
    assert ended.restarts == 1 and (tmp_path / "saved-1").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_the_workers_and_no_one_is_left(tmp_path, number):
    program = PROLOGUE + (
        "def end(*_):\n    (folder / f'got-{index}').touch()\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    supervisor = (
        "import sys\nfrom pathlib import Path\n"
        "from mmzoo.training.launch.cluster import run_cluster\n"
        f"run_cluster([sys.executable, '-c', {program!r}, {str(tmp_path)!r}], workers=2,"
        f" logs=Path({str(tmp_path)!r}) / 'logs')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", supervisor], stdout=subprocess.PIPE, text=True
    )
    logs = [tmp_path / "logs" / f"worker-{k}.log" for k in (0, 1)]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if all(log.exists() and len(log.read_text().splitlines()) > 1 for log in logs):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert "Stopped. Run the same command to go on." in said
    for k, log in enumerate(logs):
        pid, end = int(log.read_text().splitlines()[1]), time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{pid}").exists() or "Z" in _state(pid)
        assert (tmp_path / f"got-{k}").exists()


def _state(pid):
    """Letter of the state; Z where it has ended and its new parent has not looked."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`workers` must be a positive int"):
        run_cluster(["true"], workers=0, logs=tmp_path)


def test_a_worker_runs_the_recipe():
    assert worker_command("concepts", ["--epochs", "1"])[1:] == [
        "-P", "-m", "mmzoo", "run", "concepts", "--epochs", "1",
    ]  # fmt: skip
