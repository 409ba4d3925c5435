"""Random models in processes of their own, for `random_models.py`: one may end its process."""

import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mmzoo.export.bundle.formats import FORMATS

BATCH = 20  # models a process: what TensorFlow keeps of each goes with it
MARK = "result: "
TOOL = Path(__file__).with_name("random_models.py")


def _run_batch(numbers, options, limit):
    """Yields what the models of one process became; raises what ended it."""
    command = [sys.executable, str(TOOL), "--child", ",".join(map(str, numbers)), *options]
    with tempfile.TemporaryFile() as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log
    ) as child:  # fmt: skip
        assert child.stdout
        said, ended = b"", ""
        start = time.monotonic()
        while True:
            left = start + limit - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                child.kill()
                ended = f"it took more than {limit:.0f} s"
                break
            part = os.read(child.stdout.fileno(), 65536)
            if not part:
                break
            said += part
            *lines, said = said.split(b"\n")
            for line in lines:
                if line.startswith(MARK.encode()):
                    start = time.monotonic()
                    yield json.loads(line.removeprefix(MARK.encode()))
        code = child.wait()
        if code and not ended:
            log.seek(0)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line]
            ended = f"the process ended with code {code}: {' '.join(lines[-1:])}"
    if ended:
        raise ChildEnded(ended)


class ChildEnded(Exception):
    """A process of models ended before its last one."""


def try_models(numbers, options=(), workers=1, limit=300.0):
    """Yields a dict a model, in the order in which they are done.

    A model that ends its process is tried once more, alone, and then has "crashed".
    """
    todo: queue.Queue = queue.Queue()
    done: queue.Queue = queue.Queue()
    numbers = list(numbers)
    for first in range(0, len(numbers), BATCH):
        todo.put((numbers[first : first + BATCH], False))

    def work():
        while True:
            try:
                batch, again = todo.get_nowait()
            except queue.Empty:
                break
            left = list(batch)
            while left:
                try:
                    for found in _run_batch(left[:1] if again else left, options, limit):
                        left.remove(found["number"])
                        done.put(found)
                    again = False
                except ChildEnded as error:
                    if again:
                        outcome = ("crashed", str(error))
                        done.put({"number": left.pop(0), "kind": "?", "drawn": [], "rows": {},
                                  "outcomes": dict.fromkeys(FORMATS, outcome),
                                  "seconds": 0.0})  # fmt: skip
                    again = not again
                except Exception as error:  # noqa: BLE001 raised again in the main thread
                    done.put(error)
                    return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for _ in numbers:
        found = done.get()
        if isinstance(found, Exception):
            raise found
        yield found
