"""Two runs into one place: one of them says so, and a killed run leaves no lock behind."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from mmzoo.io.place_lock import PlaceInUseError, lock_place

HOLD = """
import sys, time
from mmzoo.io.place_lock import lock_place
with lock_place(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_named(tmp_path, holder):
    with (
        pytest.raises(PlaceInUseError, match=rf"out is being written .*process {holder.pid}"),
        lock_place(tmp_path / "out"),
    ):
        pass
    with lock_place(tmp_path / "other"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".out.lock").exists()
    with lock_place(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_threads_of_one_process_exclude_each_other(tmp_path):
    inside, most, refused = [], [], []

    def run():
        for _ in range(200):
            try:
                with lock_place(tmp_path / "out"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except PlaceInUseError:
                refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 1600
    assert not list(tmp_path.iterdir())


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), lock_place(tmp_path / "new" / "out"):
        raise KeyError
    with lock_place(tmp_path / "new" / "out"):
        pass


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / ".out.lock").symlink_to(target)
    with pytest.raises(OSError), lock_place(tmp_path / "out"):
        pass
    assert target.read_text() == "kept"
