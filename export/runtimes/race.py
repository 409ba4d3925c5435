"""The inside of a fresh process: times an artifact by mmzoo's way and by hand, call by call.

Run as `python -m mmzoo.export.runtimes.race JOB.json`; see `mmzoo.export.bench.runner`.
"""

import gc
import importlib
import json
import random
import sys
import time
from pathlib import Path

import numpy as np

from mmzoo.export.runtimes.bare import LOOPS
from mmzoo.export.runtimes.with_parent import end_with_parent
from mmzoo.export.runtimes.worker import RUNTIMES, peak_mib

WARM_UP = 5  # calls of a batch size and a way that are not timed
FEWEST, MOST = 20, 400  # timed calls of a batch size and a way
KEPT = 2**28  # bytes of a way's answers, all of which are checked when the time is over
ALONE = 5  # calls of a batch size in a process that holds one way, for its memory


class _Ours:
    """mmzoo's own runner, with the face of a loop by hand."""

    def __init__(self, runtime):
        self.names, self.call = list(runtime.outputs), runtime.run

    def prepare(self, part):
        pass

    def pack(self, part):
        return part


def main(job_path: str) -> None:
    job = json.loads(Path(job_path).read_text())
    if job.get("ends_with_parent"):  # not where a person starts it by hand
        end_with_parent()
    with np.load(job["inputs"]) as archive:
        inputs = {name: archive[name] for name in archive.files}
    ways, seconds = _load(job)
    report: dict = {"load_seconds": seconds, "batches": {}}
    answers = {}
    for batch in sorted(job["batches"]):
        times, made, rows = _race(ways, inputs, batch, job["seconds"], random.Random(job["seed"]))
        report["batches"][batch] = {"seconds": times, "peak_mib": peak_mib(), "warm_up": WARM_UP}
        answers[f"{batch}/rows"] = rows
        for way, loop in ways.items():
            for k, name in enumerate(loop.names):
                answers[f"{batch}/{way}/{name}"] = np.concatenate([m[k] for m in made[way]])
    np.savez(job["answers"], **answers)
    Path(job["report"]).write_text(json.dumps(report))


def _load(job):
    """The ways that this process holds, and the seconds that the first took to load."""
    path, signature, format = Path(job["artifact"]), "portable", job["format"]
    start = time.perf_counter()
    if job["ways"] == ["bare"]:
        bare = LOOPS[format](path)
        seconds = time.perf_counter() - start
        bare.find(signature)
        return {"bare": bare}, seconds
    runtime = importlib.import_module(f"mmzoo.export.runtimes.{RUNTIMES[format]}").Runtime(
        path, signature
    )
    seconds = time.perf_counter() - start
    ways = {"mmzoo": _Ours(runtime)}
    if "bare" in job["ways"]:
        # On the same session: two would fight for the cores, as the threads of each spin on for
        # milliseconds after a call.
        ways["bare"] = LOOPS[format].of(runtime)
    return ways, seconds


def _race(ways, inputs, batch, limit, draw):
    """Calls each way on the same part in an order drawn anew, until `limit` seconds are over.

    Returns:
        Seconds and answers, a list a way; and the samples that were asked.
    """
    count = len(next(iter(inputs.values())))
    firsts = range(0, count - batch + 1, batch)
    # In rows: the loop by hand copies memory as it lies.
    parts = [
        {name: np.ascontiguousarray(value[k : k + batch]) for name, value in inputs.items()}
        for k in firsts
    ]
    for loop in ways.values():
        loop.prepare(parts[0])
    packed = {way: [loop.pack(part) for part in parts] for way, loop in ways.items()}
    for k in range(WARM_UP):
        for way, loop in ways.items():
            loop.call(packed[way][k % len(parts)])
    times: dict[str, list] = {way: [] for way in ways}
    made: dict[str, list] = {way: [] for way in ways}
    order = list(ways)
    fewest, most = (FEWEST, MOST) if len(ways) > 1 else (ALONE, ALONE)
    gc.disable()  # as timeit does
    end = time.perf_counter() + limit
    k = kept = 0
    while k < fewest or (k < most and kept < KEPT and time.perf_counter() < end):
        draw.shuffle(order)
        for way in order:
            call, part = ways[way].call, packed[way][k % len(parts)]
            start = time.perf_counter()
            answer = call(part)
            times[way].append(time.perf_counter() - start)
            made[way].append(list(answer.values()) if isinstance(answer, dict) else answer)
        kept += sum(value.nbytes for value in made[order[-1]][-1])
        k += 1
    gc.enable()
    rows = np.concatenate([np.arange(batch) + firsts[j % len(parts)] for j in range(k)])
    return times, made, rows


if __name__ == "__main__":
    main(sys.argv[1])
