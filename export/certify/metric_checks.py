"""Whether a certificate's metrics are those of a second run, on whatever processor."""

import math

import numpy as np

from mmzoo.export.certify.comparison import accuracy

ROUNDING = 1e-9  # of a share, in float64


def may_flip(expected: np.ndarray, tolerance: float) -> int:
    """Samples whose first class another processor may change.

    Two entries may each be off by the tolerance, so a lead of up to twice that decides nothing.

    Args:
        expected: The Keras model's scores: `(samples, classes)`.
        tolerance: Largest difference of an entry, as a part of the largest absolute score.
    """
    top = np.partition(expected.astype("float64"), -2, axis=1)
    lead = top[:, -1] - top[:, -2]
    return int(np.sum(lead <= 2 * tolerance * float(np.max(np.abs(expected)))))


def paired_metric(actual, expected, line, labels, output, tolerance):
    """The accuracy of an artifact beside that of Keras, of one check; None without labels."""
    if labels is None or line.origin is None:
        return None
    labels = labels[line.origin]
    keras, artifact = (accuracy(scores, labels) for scores in (expected, actual))
    right = [scores.argmax(1) == labels for scores in (expected, actual)]
    return {
        "name": "accuracy", "output": output, "keras": keras, "artifact": artifact,
        "change": artifact - keras, "differ": int(np.sum(right[0] != right[1])),
        "samples": len(labels), "may_flip": may_flip(expected, tolerance),
    }  # fmt: skip


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
    if "interval" in found:  # continuous: no sample is right or wrong
        low, high = found["interval"]
        return low <= stored["artifact"] <= high
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
