"""Whatever happens to a run, it ends with the weights of one that nothing happened to, or says why.

Each test starts processes of two workers, see `interrupted.py`; a worker's folder is its own.
"""

import random
import shutil

import pytest
import runs

from mmzoo.training.launch.cluster import ClusterError

STEPS = 52
DRAW = random.Random()  # another step each time


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return two_workers(folder, "none", 0)[0]


def two_workers(folder, fault, step, **options):
    """What the first worker prints, how they ended, and what the user was told."""
    said, ended, told = runs.run_workers(
        2, folder / "logs", "interrupted.py", "multiworker", folder / "run", fault, step, **options
    )
    assert said[0] == said[1]
    return said[0], ended, "\n".join(told)


def assert_same(found, expected, what=""):
    """The same weights, bit by bit; what was reported within rounding, as sums go on in parts."""
    assert found["digest"] == expected["digest"], what
    assert found["history"].keys() == expected["history"].keys(), what
    for name, values in expected["history"].items():
        assert found["history"][name] == pytest.approx(values, rel=1e-6), (what, name)


def test_a_worker_is_killed(undisturbed, tmp_path):
    step = DRAW.randrange(6, STEPS - 2)
    found, ended, told = two_workers(tmp_path, "SIGKILL", step)
    assert_same(found, undisturbed, f"killed at step {step}")
    assert ended.restarts == 1 and "Worker 1 was ended by SIGKILL" in told
    assert "Going on from step" in told


@pytest.mark.slow
def test_a_worker_gets_sigterm(undisturbed, tmp_path):
    step = DRAW.randrange(2, STEPS - 12)
    found, ended, told = two_workers(tmp_path, "SIGTERM", step)
    assert_same(found, undisturbed, f"SIGTERM at step {step}")
    assert ended.restarts == 1 and "saved and left after SIGTERM" in told
    logs = [(tmp_path / "logs" / f"worker-{k}.log").read_text() for k in (0, 1)]
    said = [next(line for line in log.splitlines() if "Stopped by SIGTERM" in line) for log in logs]
    steps = {line.split("after step ")[1].split(",")[0] for line in said}
    assert len(steps) == 1 and step <= int(steps.pop()) <= step + 10  # both at the same one


@pytest.mark.slow
def test_the_disk_is_full_at_a_checkpoint(undisturbed, tmp_path):
    found, ended, told = two_workers(tmp_path, "full", 20)
    assert_same(found, undisturbed)
    assert ended.restarts == 0
    assert "The checkpoint of step 20 could not be written" in told and "No space left" in told
    names = {path.name for path in (tmp_path / "run/worker-0").iterdir()}
    assert "step-000000052.npz" in names and "step-000000020.npz" not in names
    assert not any(name.startswith(".") for name in names)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder of a run that was killed and not started again."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(ClusterError, match="SIGKILL|exit codes"):
        two_workers(folder, "SIGKILL", 33, restarts=0)
    return folder


@pytest.fixture
def interrupted(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.usefixtures("interrupted")
def test_the_last_checkpoint_is_cut_off(undisturbed, tmp_path):
    last = max((tmp_path / "run/worker-0").glob("step-*.npz"))
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    found, _, told = two_workers(tmp_path, "SIGKILL", 33)
    assert_same(found, undisturbed)
    assert f"{last.name}: expected SHA-256" in told and "the one before it is taken" in told
    assert "Going on from step" in told


@pytest.mark.usefixtures("interrupted")
def test_all_checkpoints_are_damaged(tmp_path):
    for path in (tmp_path / "run/worker-0").glob("step-*.npz"):
        path.write_bytes(b"nothing")
    with pytest.raises(ClusterError, match="all damaged. Delete the folder to train from the"):
        two_workers(tmp_path, "SIGKILL", 33)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.usefixtures("interrupted")
def test_the_folder_of_a_worker_is_lost(undisturbed, tmp_path, lost):
    shutil.rmtree(tmp_path / "run" / f"worker-{lost}", ignore_errors=True)
    found, _, told = two_workers(tmp_path, "SIGKILL", 33)
    assert_same(found, undisturbed)
    assert ("Going on from step" in told) == (lost == 1)  # the first one's are all that there are


@pytest.mark.slow
def test_a_gradient_becomes_nan(tmp_path):
    with pytest.raises(ClusterError, match="training diverged") as caught:
        two_workers(tmp_path, "nan", 24)
    said = str(caught.value)
    assert "Received: NaN or infinity at step 24" in said and "weights of step 20" in said
    assert "step-000000020.npz" in {p.name for p in (tmp_path / "run/worker-0").iterdir()}
    assert "step-000000025.npz" not in {p.name for p in (tmp_path / "run/worker-0").iterdir()}


def test_one_device_goes_on_bit_by_bit(tmp_path):
    whole = runs.run("interrupted.py", "one", tmp_path / "whole", "none", 0)
    with pytest.raises(AssertionError):
        runs.run("interrupted.py", "one", tmp_path / "cut", "SIGKILL", 31)
    assert runs.run("interrupted.py", "one", tmp_path / "cut", "SIGKILL", 31) == whole
