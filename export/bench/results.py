"""From times to figures: ratios with intervals, and the machine that they are of."""

import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from mmzoo._version import __version__

SCHEMA = 1
WAYS = ("mmzoo", "bare")
BUSY = 0.1  # of all cores, taken by other programs
FEWEST_ROUNDS = 5  # of which an interval can be had: a bootstrap's ends are among the values
_PACKAGES = ("tensorflow", "ai-edge-litert", "onnxruntime", "numpy")


def interval(values: Sequence[float]) -> dict:
    """The mean of values that were measured in independent rounds, and how sure it is.

    Args:
        values: Finite floats, one a round.

    Returns:
        Dict of `value`, `low` and `high` (the ends of the 95 % interval; None of fewer than
        5 rounds) and `rounds`, the values.

    Reference:
        Hesterberg, 2015 (arXiv:1411.5279): the bootstrap's percentile interval, expanded as
        Student's t is against the normal distribution. Of seven normal values it holds the true
        mean in 94 of 100 cases; as it is, in 87.

    Example:

    >>> found = interval([1.1, 1.2, 1.3, 1.2, 1.2])
    >>> f"{found['value']:.3f} {found['low']:.2f} {found['high']:.2f}"
    '1.200 1.12 1.28'
    """
    from scipy import stats

    array = np.array(values, "float64")
    count, low, high = len(array), None, None
    if count >= FEWEST_ROUNDS:
        tail = stats.norm.sf(np.sqrt(count / (count - 1)) * stats.t.isf(0.025, count - 1))
        found = stats.bootstrap(
            (array,), np.mean, confidence_level=1 - 2 * tail, n_resamples=9999,
            method="percentile", rng=np.random.default_rng(0),
        )  # fmt: skip
        low, high = (float(end) for end in found.confidence_interval)
    return {"value": float(array.mean()), "low": low, "high": high, "rounds": array.tolist()}


def ratio_interval(ratios: Sequence[float]) -> dict:
    """As `interval`, of positive ratios: their geometric mean.

    Example:

    >>> found = ratio_interval([0.5, 2.0])
    >>> f"{found['value']:.3f}", found["low"]
    ('1.000', None)
    """
    found = interval(np.log(ratios).tolist())
    for end in ("value", "low", "high"):
        found[end] = None if found[end] is None else float(np.exp(found[end]))
    return found | {"rounds": [float(ratio) for ratio in ratios]}


def figures(rounds: list[dict], first: list[dict], size: int, first_size: int) -> dict:
    """The figures of one artifact.

    Args:
        rounds: One dict a round: ways to the report of their process.
        first: Those of the artifact that it is compared with.
        size: Bytes, of both.
        first_size: Bytes.

    Returns:
        `bytes`, `load_seconds` and `batches`: see `bench.bench_bundle`.
    """
    batches = {}
    for batch in rounds[0][WAYS]["batches"]:
        timed = [turn[WAYS]["batches"][batch] for turn in rounds]
        same = all(batch in turn[WAYS]["batches"] for turn in first)

        def figure(read, batch=batch, same=same):
            return _figure(
                {way: [read(turn, batch, way) for turn in rounds] for way in WAYS},
                [read(turn, batch, "mmzoo") for turn in first] if same else None,
            )

        batches[batch] = {
            "calls": sum(len(each["seconds"]["mmzoo"]) for each in timed),
            "warm_up": sum(each["warm_up"] for each in timed),
            "median_ms": figure(lambda turn, b, way: 1e3 * np.median(_seconds(turn, b, way))),
            "p95_ms": figure(lambda turn, b, way: 1e3 * np.quantile(_seconds(turn, b, way), 0.95)),
            "samples_per_second": figure(
                lambda turn, b, way: int(b) / np.mean(_seconds(turn, b, way))
            ),
            "peak_mib": figure(lambda turn, b, way: turn[(way,)]["batches"][b]["peak_mib"]),
            # Of pairs of calls on the same samples, one right after the other.
            "cost_ms": interval(
                [
                    1e3 * float(np.median(np.subtract(*(_seconds(turn, batch, w) for w in WAYS))))
                    for turn in rounds
                ]
            ),
        }
    loads = {w: [turn[(w,)]["load_seconds"] for turn in rounds] for w in WAYS}
    return {
        "bytes": {"mmzoo": size, "bare": size, "to_first": size / first_size},
        "load_seconds": _figure(loads, [turn[("mmzoo",)]["load_seconds"] for turn in first]),
        "batches": batches,
    }


def _seconds(turn, batch, way):
    return turn[WAYS]["batches"][batch]["seconds"][way]


def _figure(values, first):
    ours = np.array(values["mmzoo"], "float64")
    return {
        "mmzoo": float(np.median(ours)),
        "bare": float(np.median(values["bare"])),
        "ratio": ratio_interval(ours / values["bare"]),
        "to_first": None if first is None else ratio_interval(ours / first),
    }


class Load:
    """How busy a machine is with other programs, from now until `machine` is called."""

    def __init__(self):
        self._load, self._time, self._cpu = _load(), time.perf_counter(), _cpu()
        self._own = _own()

    def machine(self) -> dict:
        """The machine, its load before and after, and the cores that other programs took."""
        others, cores, cpu = None, os.cpu_count() or 1, _cpu()
        if cpu is not None and self._cpu is not None:
            wall = time.perf_counter() - self._time
            others = max(0.0, (cpu - self._cpu - (_own() - self._own)) / wall)
        before = self._load[0] if self._load else 0.0
        return {
            "cpu": _model(),
            "cores": cores,
            "system": f"{platform.system()} {platform.machine()}",
            "versions": {
                "mmzoo": __version__,
                "python": platform.python_version(),
                **{name: _version(name) for name in _PACKAGES},
            },
            "load_before": self._load,
            "load_after": _load(),
            "others_cores": others,
            "busy": (before if others is None else others) > BUSY * cores,
        }


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _load():
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None  # not on Windows


def _own():
    """Seconds of processor time of this process and its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cpu():
    """Seconds of processor time of all programs; None where Linux doesn't tell."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, path.read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _model():
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
