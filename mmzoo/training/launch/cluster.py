"""Workers of one training run on this machine, started together and restarted together."""

import ctypes
import dataclasses
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PREEMPTED, _DIVERGED, _USAGE = 75, 3, 2  # exit codes: start again; never again; never again


class ClusterError(RuntimeError):
    """Workers that did not come to an end; says which, and shows the last lines of their logs."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended: `restarts` it took, and the `seconds` of all of it."""

    restarts: int
    seconds: float


def run_cluster(
    command: Sequence[str],
    *,
    workers: int,
    logs: Path,
    restarts: int = 5,
    backoff: float = 1.0,
    grace: float = 30.0,
    tell: Callable[[str], None] = print,
) -> Ended:
    """Runs a command as the workers of one cluster until all of them end well.

    A worker that dies takes the others' collectives with it, and a new one can't join them: so when
    one ends with a fault all are stopped, and all are started again, on new ports, after a pause
    that doubles. The command itself must go on from a checkpoint. SIGTERM and Ctrl-C are passed on
    to the workers, which get `grace` seconds to save; where this process is killed itself, Linux
    sends them SIGTERM.

    Args:
        command: Program and arguments, the same for every worker; each finds its place in the
            environment variable TF_CONFIG.
        workers: Positive int.
        logs: Folder for `worker-0.log` and so on; each start is appended.
        restarts: How often to start again before giving up. A start after SIGTERM to one worker
            (exit code 75) does not count.
        backoff: Seconds before the first restart.
        grace: Seconds between SIGTERM and SIGKILL.
        tell: Takes a line for the user.

    Raises:
        ClusterError: If the workers failed too often, or in a way that would repeat itself.
        KeyboardInterrupt, SystemExit: After Ctrl-C or SIGTERM, when the workers have ended.
    """
    if workers < 1:
        raise ValueError(f"`workers` must be a positive int. Received: workers={workers}.")
    logs.mkdir(parents=True, exist_ok=True)
    begin, failed, again = time.perf_counter(), 0, 0
    faults: list[str | None] = []
    asked: list[int] = []
    before = {
        n: signal.signal(n, lambda n, _: asked.append(n)) for n in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        while True:
            codes = _run_once(command, workers, logs, grace, asked, tell)
            if asked:
                tell("Stopped. Run the same command to go on.")
                if asked[0] == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(128 + asked[0])
            if not any(codes):
                return Ended(again, time.perf_counter() - begin)
            again += 1
            failed += _PREEMPTED not in codes
            faults.append(_fault(codes, logs))
            _refuse(codes, failed, restarts, logs, faults)
            pause = 0.0 if _PREEMPTED in codes else backoff * 2 ** (failed - 1)
            tell(f"{_what(codes)}. Starting all {workers} again in {pause:.0f} s ({again}).")
            end = time.monotonic() + pause
            while time.monotonic() < end and not asked:
                time.sleep(0.05)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_once(command, workers, logs, grace, asked, tell):
    """Exit codes of one start; negative: killed by that signal; None: stopped by us."""
    first = logs / "worker-0.log"
    first.touch()
    with first.open("rb") as shown:
        shown.seek(0, os.SEEK_END)
        running = _start(command, workers, logs)
        try:
            return _watch(running, grace, asked, lambda: _show(shown, tell))
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            _show(shown, tell)


def _start(command, workers, logs):
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    running: list[subprocess.Popen] = []
    end_with_us = None
    if sys.platform == "linux":  # loaded here: between fork and exec a library may not be
        end_with_us = functools.partial(_end_with, os.getpid(), ctypes.CDLL(None))
    for index in range(workers):
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        with (logs / f"worker-{index}.log").open("ab") as log:
            running.append(
                subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                    env={**os.environ, "TF_CONFIG": json.dumps(place)},
                    start_new_session=True,  # Ctrl-C reaches them through us, once
                    preexec_fn=end_with_us,
                )
            )  # fmt: skip
    return running


def _end_with(parent, libc):
    """In a worker, before its command: it gets SIGTERM where we are killed, and saves."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # killed before this line, of which the system tells nobody
        os._exit(_PREEMPTED)


def _watch(running, grace, asked, show):
    while True:
        codes = [process.poll() for process in running]
        show()
        if asked:
            return _stop(running, grace)
        if all(code is not None for code in codes):
            return codes
        if _PREEMPTED in codes:  # the others save at the same step: let them
            return _wait(running, grace) or _stop(running, grace)
        if any(codes):
            time.sleep(0.5)  # one more that fails by itself says so
            codes = [process.poll() for process in running]
            _stop(running, 0.0)
            return codes
        time.sleep(0.05)


def _show(log, tell):
    """Tells the whole lines that came since."""
    text = log.read()
    whole = text[: text.rfind(b"\n") + 1]
    log.seek(len(whole) - len(text), 1)
    for line in whole.decode("utf-8", "replace").splitlines():
        tell(line)


def _stop(running, grace):
    """Ends all; their exit codes."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    _wait(running, grace)
    for process in running:
        if process.poll() is None:
            process.kill()
    return [process.wait() for process in running]


def _wait(running, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        codes = [process.poll() for process in running]
        if all(code is not None for code in codes):
            return codes
        time.sleep(0.05)
    return None


def _fault(codes, logs):
    """The last line of the first worker that failed by itself; None where one was killed."""
    if any(code is not None and (code < 0 or code == _PREEMPTED) for code in codes):
        return None
    return _last_lines(logs, next(k for k, code in enumerate(codes) if code), 1)


def _refuse(codes, failed, restarts, logs, faults):
    for code, why in ((_DIVERGED, "training diverged"), (_USAGE, "the command is wrong")):
        if code in codes:
            raise ClusterError(f"Not started again: {why}.\n{_last_lines(logs, codes.index(code))}")
    if len(faults) > 1 and faults[-1] is not None and faults[-1] == faults[-2]:
        raise ClusterError(f"Not started again: it failed twice in the same way.\n{faults[-1]}")
    if failed > restarts:
        first = next(k for k, code in enumerate(codes) if code)
        raise ClusterError(
            f"Expected the workers to end within {restarts} restarts. Received: "
            f"exit codes {codes}. {logs / f'worker-{first}.log'} ends with:\n"
            f"{_last_lines(logs, first)}"
        )


def _what(codes):
    said = []
    for k, code in enumerate(codes):
        if code is not None and code < 0:
            said.append(f"worker {k} was ended by {signal.Signals(-code).name}")
        elif code == _PREEMPTED:
            said.append(f"worker {k} saved and left after SIGTERM")
        elif code:
            said.append(f"worker {k} failed with exit code {code}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _last_lines(logs, index, count=5):
    text = (logs / f"worker-{index}.log").read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def _free_ports(count):
    with_sockets = [socket.socket() for _ in range(count)]
    try:
        for each in with_sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in with_sockets]
    finally:
        for each in with_sockets:
            each.close()


def worker_command(recipe: str, arguments: Sequence[str]) -> list[str]:
    """What each worker runs: the recipe, as `mmzoo run` does."""
    return [sys.executable, "-P", "-m", "mmzoo", "run", recipe, *arguments]
