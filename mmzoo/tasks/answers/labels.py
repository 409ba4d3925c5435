"""Labels: any number of several classes."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers.answer import Answer


@dataclasses.dataclass(frozen=True)
class Labels(Answer, kind="labels"):
    """A score for each of several labels, each of which may be right or not: float `(labels,)`.

    Attributes:
        classes: Names of the labels, in the order of the scores.
        threshold: A label whose score is above it is given.
    """

    classes: tuple[str, ...]
    threshold: float = 0.5

    def fits(self, tensor):
        whole = tuple(tensor.shape[1:]) == (len(self.classes),)
        return tensor.dtype.startswith(("float", "bfloat")) and whole

    def decisions(self, values):
        return values > self.threshold

    def leads(self, values):
        # A score moves alone here, so a lead is the distance to the threshold, twice.
        return 2 * np.abs(values - self.threshold)

    def read(self, value, top=5):
        best = [k for k in np.argsort(-value, kind="stable") if value[k] > self.threshold]
        return [{"label": self.classes[k], "score": float(value[k])} for k in best]
