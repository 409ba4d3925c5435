"""Multilabel classification: any number of several labels."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers import Labels
from mmzoo.tasks.metrics import F1, MeanAveragePrecision
from mmzoo.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Multilabel(Task, kind="multilabel"):
    """Any number of several labels; the first metric is mean average precision.

    Attributes:
        features: The named inputs.
        classes: Names of the labels; a target is int `(labels,)`, 1 where a label is right.
        answer_name: Name of the output: float `(batch, labels)`, sigmoids.
        target: Name of the target.
        threshold: A label whose score is above it is given.
    """

    classes: tuple[str, ...]
    answer_name: str = "probability"
    target: str = "labels"
    threshold: float = 0.5

    @property
    def answers(self):
        return (Labels(self.answer_name, self.classes, self.threshold),)

    @property
    def metrics(self):
        return (
            MeanAveragePrecision(self.answer_name, self.target),
            F1(self.answer_name, self.target, self.threshold),
        )

    def head(self, x):
        from keras import layers

        dense = layers.Dense(len(self.classes), activation="sigmoid", name=self.answer_name)
        return {self.answer_name: dense(x)}

    def losses(self):
        import keras

        return {self.answer_name: keras.losses.BinaryCrossentropy()}

    def baseline(self, training, count):
        share = np.asarray(training[self.target]).mean(axis=0)
        return {self.answer_name: np.tile(share.astype("float32"), (count, 1))}

    def check_targets(self, targets, name="`samples`", shapes=None):
        found = targets[self.target]
        if found.shape[1:] != (len(self.classes),) or not np.isin(found, (0, 1)).all():
            raise ValueError(
                f"{name}: `{self.target}` must be 0 or 1 for each of {len(self.classes)} labels. "
                f"Received: {found.dtype} of shape {found.shape}."
            )
