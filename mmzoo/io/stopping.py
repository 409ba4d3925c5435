"""A process that is asked to end tidies up first."""

import os
import signal
import threading

_GRACE = 10.0  # seconds to tidy up in; supervisors give 10 to 30 before they kill


def tidy_up_when_asked_to_end() -> None:
    """Makes SIGTERM, and SIGHUP where there is one, leave Python the way Ctrl-C does.

    Blocks that remove a working folder or end a worker then run, and the exit code is 128 and
    the signal's number, as a shell has it. A signal that is ignored, as under `nohup`, stays so.
    Call it from the main thread.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number, frame):
    del frame
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second must not break the tidying
    end = threading.Timer(_GRACE, os._exit, [128 + number])
    end.daemon = True
    end.start()
    raise SystemExit(128 + number)
