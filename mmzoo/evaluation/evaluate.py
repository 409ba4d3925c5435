"""How good a model is: the metrics of a task with intervals, by what is present."""

from collections.abc import Callable, Sequence

import numpy as np

from mmzoo.tasks import Task, measure


def evaluate(
    predict: Callable[[dict, tuple[str, ...] | None], dict],
    task: Task,
    inputs: dict,
    targets: dict,
    *,
    subsets: Sequence[tuple[str, ...]] = (),
    training: dict | None = None,
    groups: np.ndarray | None = None,
) -> tuple[dict, dict]:
    """Measures a model on the samples of one split.

    Args:
        predict: Function of `inputs` and the features that are present, None for all of them, to a
            dict of output name to array `(samples, ...)`.
        task: What is measured.
        inputs: Dict of input name to array `(samples, ...)`.
        targets: Dict of target name to array.
        subsets: Tuples of feature names: each is measured with just these present.
        training: Targets of the training samples, for a baseline that looks at no input. None:
            there is none.
        groups: Optional array `(samples,)`: intervals draw samples of one group together.

    Returns:
        What `metrics.json` holds of a split: `samples`, `metrics` (name to `value`, `interval` and
        `higher_is_better`), `subsets` (the same under "image+text", …) and `baseline` (name to
        value; None without `training`). And the answers with everything present.

    Raises:
        ValueError: If a metric is not defined on the samples.
    """
    task.check_targets(targets)
    whole, count = predict(inputs, None), len(next(iter(targets.values())))
    measured, every = measure_all(task, whole, targets, groups), {f.name for f in task.features}
    found: dict = {
        "samples": count,
        "metrics": measured,
        "subsets": {
            "+".join(present): measured
            if set(present) == every
            else measure_all(task, predict(inputs, present), targets, groups)
            for present in subsets
        },
        "baseline": None,
    }
    if training is not None:
        known = task.baseline(training, count)
        values = {metric.name: metric.value(known, targets) for metric in task.metrics}
        # A metric that a constant answer has none of is no baseline.
        found["baseline"] = {name: value for name, value in values.items() if np.isfinite(value)}
    return found, whole


def measure_all(task: Task, answers: dict, targets: dict, groups=None) -> dict:
    """Every metric of a task with its interval, by name."""
    return {m.name: measure(m, answers, targets, groups) for m in task.metrics}
