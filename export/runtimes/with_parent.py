"""Fresh processes that end when the one that started them does, however that ends.

The parent holds one end of a pipe, the child's standard input is the other. Where the parent is
gone the system closes its end, and a thread of the child, which waits for that, ends it. On
Linux the system also kills the child itself, which a thread can't while native code holds Python.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
END = 70  # how a child ends whose parent is gone; nobody is left to read it


def run_with_parent(
    command: Sequence[str], *, time_limit: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Runs a command whose program calls `end_with_parent`, and waits for it.

    Args:
        command: Program and arguments.
        time_limit: Seconds until the process is killed.
        environment: Its environment variables; None: those of this process.

    Returns:
        What `subprocess.run` does, with what it wrote as text.

    Raises:
        subprocess.TimeoutExpired: If it took longer.
    """
    ours, its = _pipe()
    try:
        return subprocess.run(
            command, stdin=its, capture_output=True, text=True, errors="replace",
            timeout=time_limit, env=environment,
        )  # fmt: skip
    finally:
        os.close(its)
        os.close(ours)


def _pipe():
    """The end that is held here, and the one that a child reads; no other child gets either."""
    reading, writing = os.pipe()
    return writing, reading


def end_with_parent() -> None:
    """In the child, first of all: from now on this process ends with its parent."""
    # Before the thread: where the parent ended before this line, the thread finds that.
    kill_with_parent()
    threading.Thread(target=_wait_for_end, name="parent", daemon=True).start()


def kill_with_parent() -> None:
    """In the child: where the system can, it kills this process when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end():
    while os.read(0, 1):
        pass
    os._exit(END)
