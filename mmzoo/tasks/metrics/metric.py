"""A metric: a number that says how good answers are, and how sure that is."""

import dataclasses
from typing import ClassVar

import numpy as np

from mmzoo.tasks.described import Described


@dataclasses.dataclass(frozen=True)
class Metric(Described, family="metric"):
    """How good the answers of a model are.

    A subclass defines `per_sample`, of which the value is the mean, or `value`, for a metric of
    the whole set. Both take dicts: output name to array, target name to array.

    Attributes:
        answer: Name of the output that it judges.
        target: Name of the target that it compares with.
        higher_is_better: Whether a larger value is better.
        share: Whether values lie in [0, 1]: what a smaller artifact may lose is then a
            difference; otherwise it is a part of the Keras model's value.
    """

    answer: str
    target: str
    higher_is_better: ClassVar[bool] = True
    share: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What it is called in `metrics.json`, reports and tables."""
        return self.kind

    def per_sample(self, answers: dict, targets: dict) -> np.ndarray | None:
        """The metric of each sample, float or bool `(samples,)`; None if there is no such thing."""
        return None

    def value(self, answers: dict, targets: dict) -> float:
        """The metric of a set of samples; NaN where it is not defined."""
        each = self.per_sample(answers, targets)
        if each is None:
            raise NotImplementedError(f"{type(self).__name__} defines no metric.")
        return float(np.mean(each))

    def lost(self, keras: float, other: float) -> float:
        """How much worse `other` is than the Keras model's value; negative if it is better."""
        worse = keras - other if self.higher_is_better else other - keras
        return worse if self.share else worse / max(abs(keras), float(np.finfo("float32").tiny))
