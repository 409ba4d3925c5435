"""Metrics of classes: one of several, or several of several."""

import dataclasses

import numpy as np

from mmzoo.tasks.metrics.metric import Metric


def right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which samples' largest score is that of the label: bool `(samples,)`."""
    chosen = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
    return chosen == labels


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of the samples whose largest score is that of the label.

    Args:
        scores: Float `(samples, classes)`; a row with NaN counts as wrong.
        labels: Int `(samples,)`.
    """
    return float(np.mean(right(scores, labels)))


@dataclasses.dataclass(frozen=True)
class Accuracy(Metric, kind="accuracy"):
    """Share of the samples whose largest score is that of the target class, an int.

    A sample with a score that is not finite counts as wrong.
    """

    def per_sample(self, answers, targets):
        return right(answers[self.answer], targets[self.target])


@dataclasses.dataclass(frozen=True)
class MeanAveragePrecision(Metric, kind="mean_average_precision"):
    """Average precision of each label, averaged over the labels that occur: int `(labels,)`."""

    def value(self, answers, targets):
        from sklearn.metrics import average_precision_score

        scores, truth = answers[self.answer], targets[self.target]
        if not np.isfinite(scores).all():
            return float("nan")
        found = [
            average_precision_score(truth[:, k], scores[:, k])
            for k in np.flatnonzero(truth.any(axis=0))
        ]
        return float(np.mean(found)) if found else float("nan")


@dataclasses.dataclass(frozen=True)
class F1(Metric, kind="f1"):
    """F1 of all decisions about labels together (micro average).

    Attributes:
        threshold: A label whose score is above it is given.
    """

    threshold: float = 0.5

    def value(self, answers, targets):
        from sklearn.metrics import f1_score

        given = answers[self.answer] > self.threshold
        return float(f1_score(targets[self.target] > 0, given, average="micro", zero_division=0))
