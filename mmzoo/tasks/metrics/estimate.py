"""A metric's value with its 95 % interval, and the difference between two models' values."""

import math

import numpy as np

from mmzoo.evaluation.intervals import wilson_interval
from mmzoo.tasks.metrics.metric import Metric

RESAMPLES = 1_000
PAIRED = 200  # resamples of a difference, of which only the standard error is asked
SEED = 0


def measure(metric: Metric, answers: dict, targets: dict, groups=None) -> dict:
    """A metric's value, and how sure it is.

    Args:
        metric: The metric.
        answers: Dict of output name to array `(samples, ...)`.
        targets: Dict of target name to array.
        groups: Optional array `(samples,)`: samples of one group are drawn together, as where
            several are of one person.

    Returns:
        `value`, `interval` (low, high; Wilson's score of shares without groups, otherwise a
        bootstrap's percentiles) and `higher_is_better`.

    Raises:
        ValueError: If the value is not finite.
    """
    value = metric.value(answers, targets)
    if not math.isfinite(value):
        raise ValueError(
            f"The metric {metric.name!r} of {metric.answer!r} is {value} on these samples. Check "
            f"the targets {metric.target!r}, and that they hold what the metric needs."
        )
    each = metric.per_sample(answers, targets)
    count = _count(answers)
    if each is not None and each.dtype == bool and groups is None:
        low, high = wilson_interval(value, count)
    else:
        drawn = _resampled(metric, answers, targets, each, groups, RESAMPLES)
        if len(drawn) < 0.9 * RESAMPLES:  # as where a resample holds one class alone
            raise ValueError(
                f"The metric {metric.name!r} is not defined on {RESAMPLES - len(drawn)} of "
                f"{RESAMPLES} resamples of these {count} samples. Take more samples."
            )
        low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "value": value,
        "interval": [float(low), float(high)],
        "higher_is_better": metric.higher_is_better,
    }


def compare_values(metric: Metric, actual: dict, expected: dict, targets: dict) -> dict:
    """A metric of an artifact's answers beside that of the Keras model's.

    Returns:
        `name`, `output`, `keras`, `artifact`, `change` (artifact less keras), `lost` (how much
        worse the artifact is, as `Metric.lost` has it), `error` (standard error of `lost`, of
        the paired samples), `differ` (how many samples are judged differently; None where
        single samples are not judged right or wrong: then there is an `interval` of the
        artifact's value) and `samples`.
    """
    keras, artifact = (metric.value(answers, targets) for answers in (expected, actual))
    each = [metric.per_sample(answers, targets) for answers in (expected, actual)]
    found = {
        "name": metric.name, "output": metric.answer, "keras": keras, "artifact": artifact,
        "change": artifact - keras, "lost": metric.lost(keras, artifact), "differ": None,
        "samples": _count(actual),
    }  # fmt: skip
    if each[0] is not None and each[1] is not None:
        moved = each[1].astype("float64") - each[0].astype("float64")
        if each[0].dtype == bool:
            found["differ"] = int(np.count_nonzero(moved))
        error = math.sqrt(float(np.sum(moved**2))) / len(moved)
    else:
        error = float(np.std(_paired(metric, actual, expected, targets)))
    if found["differ"] is None:
        drawn = _resampled(metric, actual, targets, each[1], None, PAIRED)
        drawn = drawn if len(drawn) else np.array([artifact])
        found["interval"] = [float(end) for end in np.quantile(drawn, [0.025, 0.975])]
    scale = 1.0 if metric.share else max(abs(keras), float(np.finfo("float32").tiny))
    return found | {"error": error / scale}


def _count(answers):
    return len(next(iter(answers.values())))


def _draws(count, groups, resamples):
    """Yields the rows of each resample: of samples, or of whole groups."""
    rng = np.random.default_rng(SEED)
    if groups is None:
        for _ in range(resamples):
            yield rng.integers(0, count, count)
        return
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(place == k) for k in range(place.max() + 1)]
    for _ in range(resamples):
        yield np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])


def _resampled(metric, answers, targets, each, groups, resamples):
    values = []
    for rows in _draws(_count(answers), groups, resamples):
        if each is not None:
            values.append(float(np.mean(each[rows])))
        else:
            values.append(metric.value(_rows(answers, rows), _rows(targets, rows)))
    return np.array([value for value in values if math.isfinite(value)])


def _paired(metric, actual, expected, targets):
    changes = []
    for rows in _draws(_count(actual), None, PAIRED):
        drawn = _rows(targets, rows)
        change = metric.value(_rows(actual, rows), drawn) - metric.value(
            _rows(expected, rows), drawn
        )
        changes.append(change)
    return [change for change in changes if math.isfinite(change)] or [0.0]


def _rows(arrays, rows):
    return {name: value[rows] for name, value in arrays.items()}
