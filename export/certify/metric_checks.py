"""Whether a certificate's metrics are those of a second run, on whatever processor."""

import math

from mmzoo.tasks import Task, compare_values

ROUNDING = 1e-9  # of a share, in float64


def paired_metric(
    actual: dict, expected: dict, line, samples, task: Task, tolerance: float
) -> dict | None:
    """The task's first metric of an artifact beside that of Keras, of one comparison.

    Args:
        actual, expected: Dict of output name to the rows that are compared.
        line: The comparison, a `check_plan.Line`.
        samples: The samples, with their targets.
        task: The model's.
        tolerance: Largest difference of a value, as a part of the largest absolute one.

    Returns:
        As `compare_values`, and `may_flip`: samples of which another processor may change a
        decision. None without targets, or where Keras' own metric is not defined on these rows.
    """
    if not task.metrics or line.origin is None:
        return None
    metric = task.metrics[0]
    if metric.target not in samples.targets or metric.answer not in actual:
        return None
    targets = {name: value[line.origin] for name, value in samples.targets.items()}
    if not math.isfinite(metric.value(expected, targets)):
        return None
    found = compare_values(metric, actual, expected, targets)
    flips = task.answer(metric.answer).may_flip(expected[metric.answer], tolerance)
    return found | {"may_flip": flips}


def different_metrics(stored: dict, found: dict, limit: float | None = None) -> list[str]:
    """What a stored part of a certificate says otherwise than the checks did, in words.

    Args:
        stored: An artifact's part of the certificate on disk.
        found: The same part, of a run on this machine.
        limit: Of a quantised artifact, the share of its metric that it may lose: each processor
            rounds its own way. None: an artifact of float32, in which no other samples may change
            their class than those counted by `may_flip`.
    """
    said, measured = ({"": each.get("metric"), **(each.get("subsets") or {})}
                      for each in (stored, found))  # fmt: skip
    if set(said) != set(measured):
        return [f"metrics of {sorted(filter(None, said))}, not {sorted(filter(None, measured))}"]
    words = []
    for name, metric in measured.items():
        try:
            same = _same(said[name], metric, limit)
        except (KeyError, TypeError, ValueError, AttributeError):  # a field is no number, or gone
            same = False
        if not same:
            words.append(f"another metric{f' of {name}' if name else ''}")
    return words


def _same(stored, found, limit):
    if stored is None or found is None:
        return stored is found
    fixed = ("name", "output", "samples", "may_flip")
    if any(stored[key] != found[key] for key in fixed):
        return False
    if not _close(stored["change"], stored["artifact"] - stored["keras"]):
        return False
    if not _close(stored["keras"], found["keras"]):  # of stored answers: nothing is rounded anew
        return False
    if found["differ"] is None:  # no single sample is right or wrong
        low, high = found["interval"]
        room = (high - low) / (2 if limit is not None else 10)
        return abs(stored["artifact"] - found["artifact"]) <= room + ROUNDING
    rows = found["samples"]
    moved = stored["artifact"] * rows
    if (
        not abs(moved - round(moved)) <= ROUNDING * rows
        or not abs(stored["change"] * rows) <= stored["differ"] + ROUNDING * rows
    ):
        return False
    if limit is None:
        room, most = found["may_flip"] / rows, found["may_flip"]
        return stored["differ"] <= most and abs(stored["change"]) <= room + ROUNDING
    # Two standard errors of the paired change, as `quantization_limits.limit_breaches` has them.
    room = limit + 2 * math.sqrt(max(found["differ"], 1)) / rows
    return abs(stored["artifact"] - found["artifact"]) <= room + ROUNDING


def _close(value, other):
    return abs(value - other) <= ROUNDING
