"""Which samples a report shows: chosen by rule, never by hand."""

from collections.abc import Sequence

import numpy as np

from mmzoo.tasks import Task

RIGHT, WRONG, SPREAD = 8, 4, 12


def choose_samples(task: Task, answers: dict, targets: dict) -> Sequence[tuple[int, bool | None]]:
    """The rows that a report shows, and whether each is right.

    Where the primary metric judges single samples as right or wrong: 8 right ones, then 4 wrong
    ones, each evenly over the classes. Where it gives each an error: from the smallest to the
    largest, evenly. Else evenly over all samples.

    Returns:
        Pairs of a row and True, False, or None where nothing is right or wrong.
    """
    metric = task.metrics[0]
    each = metric.per_sample(answers, targets)
    count = len(next(iter(answers.values())))
    if each is not None and each.dtype == bool:
        target = targets[metric.target]
        classes = target if target.ndim == 1 and target.dtype.kind in "iu" else np.zeros(count, int)
        right = _spread(classes, each, RIGHT)
        wrong = _spread(classes, ~each, WRONG)
        return [(int(row), True) for row in right] + [(int(row), False) for row in wrong]
    order = np.arange(count) if each is None else np.argsort(each, kind="stable")
    rows = order[np.unique(np.linspace(0, count - 1, min(SPREAD, count)).astype(int))]
    return [(int(row), None) for row in rows]


def _spread(labels, mask, count):
    """Up to `count` rows of `mask`, from as many classes as can be, evenly over the classes."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    _, first = np.unique(labels[rows], return_index=True)
    if len(first) >= count:
        return rows[first[np.linspace(0, len(first) - 1, count).astype(int)]]
    return np.concatenate([rows[first], np.delete(rows, first)[: count - len(first)]])
