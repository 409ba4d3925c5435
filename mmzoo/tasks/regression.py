"""Regression: a number."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers import Value
from mmzoo.tasks.metrics import R2, MeanAbsoluteError
from mmzoo.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Regression(Task, kind="regression"):
    """A number; the first metric is the mean absolute error.

    Attributes:
        features: The named inputs.
        answer_name: Name of the output: float `(batch,)`.
        target: Name of the target.
        unit: Of both, for people.
        mean: Of the training targets: the head gives `mean + scale * x`, so that what it learns
            has values around 0 and 1.
        scale: Spread of the training targets.
    """

    answer_name: str = "value"
    target: str = "target"
    unit: str = ""
    mean: float = 0.0
    scale: float = 1.0

    @property
    def answers(self):
        return (Value(self.answer_name, self.unit),)

    @property
    def metrics(self):
        return (
            MeanAbsoluteError(self.answer_name, self.target),
            R2(self.answer_name, self.target),
        )

    def head(self, x):
        from keras import layers

        one = layers.Dense(1, name="standardized")(x)
        rescaled = layers.Rescaling(self.scale, self.mean, name="rescaled")(one)
        return {self.answer_name: layers.Reshape((), name=self.answer_name)(rescaled)}

    def losses(self):
        import keras

        # Linear beyond one spread of the targets: a few far ones don't rule the rest.
        return {self.answer_name: keras.losses.Huber(delta=self.scale)}

    def baseline(self, training, count):
        middle = np.float32(np.median(training[self.target]))
        return {self.answer_name: np.full(count, middle)}

    def check_targets(self, targets, name="`samples`", shapes=None):
        found = targets[self.target]
        if found.ndim != 1 or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
            raise ValueError(
                f"{name}: `{self.target}` must be a finite number a sample. Received: "
                f"{found.dtype} of shape {found.shape}."
            )
