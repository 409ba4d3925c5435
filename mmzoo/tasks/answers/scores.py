"""Scores: one of several classes."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers.answer import Answer


@dataclasses.dataclass(frozen=True)
class Scores(Answer, kind="scores"):
    """A score for each of several classes, of which one is right: float `(classes,)`.

    Attributes:
        classes: Names of the classes, in the order of the scores; None where they have none.
    """

    classes: tuple[str, ...] | None = None

    def fits(self, tensor):
        width = tensor.shape[1] if len(tensor.shape) == 2 else None
        known = self.classes is None or width == len(self.classes)
        return tensor.dtype.startswith(("float", "bfloat")) and width != 1 and known and (
            len(tensor.shape) == 2
        )  # fmt: skip

    def decisions(self, values):
        if values.ndim != 2 or values.shape[1] < 2:
            return None
        return values.argmax(axis=1)[:, None]

    def leads(self, values):
        if values.ndim != 2 or values.shape[1] < 2:
            return None
        top = np.partition(values, -2, axis=1)
        return (top[:, -1] - top[:, -2])[:, None]

    def read(self, value, top=5):
        names = self.classes or [str(k) for k in range(len(value))]
        best = np.argsort(-value, kind="stable")[:top]
        return [{"class": names[k], "score": float(value[k])} for k in best]
