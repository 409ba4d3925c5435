"""Classification: one of several classes."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers import Scores
from mmzoo.tasks.metrics import Accuracy
from mmzoo.tasks.task import Task, check_classes_of


@dataclasses.dataclass(frozen=True)
class Classification(Task, kind="classification"):
    """One of several classes; the first metric is accuracy.

    Attributes:
        features: The named inputs.
        classes: Names of the classes; a target is the place of its class, an int from 0.
        answer_name: Name of the output: float `(batch, classes)`, a softmax.
        target: Name of the target.
    """

    classes: tuple[str, ...]
    answer_name: str = "probability"
    target: str = "labels"

    @property
    def answers(self):
        return (Scores(self.answer_name, self.classes),)

    @property
    def metrics(self):
        return (Accuracy(self.answer_name, self.target),)

    def head(self, x):
        from keras import layers

        logits = layers.Dense(len(self.classes), name="logits")(x)
        return {self.answer_name: layers.Softmax(name=self.answer_name)(logits)}

    def losses(self):
        import keras

        return {self.answer_name: keras.losses.SparseCategoricalCrossentropy()}

    def baseline(self, training, count):
        known = training[self.target]
        share = np.bincount(known, minlength=len(self.classes)) / len(known)
        return {self.answer_name: np.tile(share.astype("float32"), (count, 1))}

    def check_targets(self, targets, name="`samples`", shapes=None):
        check_classes_of(targets[self.target], len(self.classes), name, self.target)
