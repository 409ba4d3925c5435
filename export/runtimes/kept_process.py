"""A runtime's process that is kept for the next run, and ends with the block that keeps it."""

import contextlib
import contextvars
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

from mmzoo.export.runtimes.with_parent import END, run_with_parent

WORKER = ("-m", "mmzoo.export.runtimes.worker")
SERVE = "--serve"
DONE = "mmzoo worker: done"

_kept: contextvars.ContextVar[dict | None] = contextvars.ContextVar("kept", default=None)


@contextlib.contextmanager
def keep_processes() -> Iterator[None]:
    """Within the block, runs of one runtime share a process.

    To start one takes longer than to run a small model. A run that fails ends the process, and
    the next gets a new one. Within another such block it is that one's processes that are kept.
    """
    if _kept.get() is not None:
        yield
        return
    processes: dict[tuple, _Process] = {}
    token = _kept.set(processes)
    try:
        yield
    finally:
        _kept.reset(token)
        for process in processes.values():
            process.end()


def run_worker(
    format: str, python: tuple[str, ...], job: str, time_limit: float, environment
) -> subprocess.CompletedProcess:
    """Runs a job of `worker` in a process of its own, or in one that is kept.

    Args:
        format: The runtime, of `worker.RUNTIMES`.
        python, time_limit, environment: See `run_artifact`.
        job: Path of the job.

    Returns:
        Its exit code, and what it wrote to its standard error.

    Raises:
        subprocess.TimeoutExpired: If it took longer.
    """
    processes = _kept.get()
    if processes is None:
        command = [*python, *WORKER, job]
        return run_with_parent(command, time_limit=time_limit, environment=environment)
    key = (format, python, tuple(sorted((environment or {}).items())))
    if key not in processes:
        processes[key] = _Process([*python, *WORKER, SERVE], environment)
    try:
        done = processes[key].run(job, time_limit)
    except BaseException:
        processes.pop(key).end()
        raise
    if done.returncode:
        processes.pop(key).end()
    return done


class _Process:
    """A worker that reads paths of jobs from its standard input, until that ends."""

    def __init__(self, command, environment):
        self._command = command
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed in `end`
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=environment,
        )  # fmt: skip
        assert self._child.stdin and self._child.stdout
        self._asked, self._answers = self._child.stdin, self._child.stdout
        self._said: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self._answers:
            if line.decode(errors="replace").strip() == DONE:
                self._said.put(True)
        self._said.put(False)  # it has ended

    def run(self, job, time_limit):
        start = os.fstat(self._log.fileno()).st_size
        end = time.monotonic() + time_limit
        with contextlib.suppress(OSError):  # it has ended, as is found below
            self._asked.write(f"{job}\n".encode())
            self._asked.flush()
        try:
            done = self._said.get(timeout=time_limit)
        except queue.Empty:
            raise subprocess.TimeoutExpired(self._command, time_limit) from None
        code = 0 if done else self._child.wait(max(end - time.monotonic(), 1))
        self._log.seek(start)
        words = self._log.read().decode(errors="replace")
        return subprocess.CompletedProcess(self._command, code or int(not done), "", words)

    def end(self):
        self._child.kill()
        self._child.wait()
        with contextlib.suppress(OSError):
            self._asked.close()
        self._log.close()


def serve(run) -> None:
    """In the child: runs each job that is asked for; ends with the one who asks.

    Args:
        run: Function of a job's path. What it raises ends the process.
    """
    asked: queue.SimpleQueue = queue.SimpleQueue()

    def listen():
        said = b""
        while part := os.read(0, 65536):  # Python aborts where sys.stdin is read as it ends
            *lines, said = (said + part).split(b"\n")
            for line in lines:
                asked.put(line.decode())
        os._exit(END)  # also while a job runs: whoever asked is gone

    threading.Thread(target=listen, daemon=True).start()
    while True:
        run(asked.get())
        print(f"\n{DONE}", flush=True)
