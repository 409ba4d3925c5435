"""Metrics of numbers."""

import dataclasses
from typing import ClassVar

import numpy as np

from mmzoo.tasks.metrics.metric import Metric


def _difference(metric, answers, targets):
    truth = np.asarray(targets[metric.target], "float64")
    return np.asarray(answers[metric.answer], "float64").reshape(truth.shape) - truth


@dataclasses.dataclass(frozen=True)
class MeanAbsoluteError(Metric, kind="mean_absolute_error"):
    """Mean absolute difference from the target, in its unit."""

    higher_is_better: ClassVar[bool] = False
    share: ClassVar[bool] = False

    def per_sample(self, answers, targets):
        return np.abs(_difference(self, answers, targets))


@dataclasses.dataclass(frozen=True)
class R2(Metric, kind="r2"):
    """Share of the target's variance that is explained; below 0 where the mean does better."""

    def value(self, answers, targets):
        truth = np.asarray(targets[self.target], "float64")
        spread = float(np.sum((truth - truth.mean()) ** 2))
        if not spread:
            return float("nan")
        return 1 - float(np.sum(_difference(self, answers, targets) ** 2)) / spread
