"""Embedding: a vector that is close to those of samples of the same class."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers import Vector
from mmzoo.tasks.metrics import NearestNeighbour
from mmzoo.tasks.task import Task, check_classes_of


@dataclasses.dataclass(frozen=True)
class Embedding(Task, kind="embedding"):
    """A vector; the first metric is how often the nearest other sample is of the same class.

    Attributes:
        features: The named inputs.
        width: Of the vector.
        answer_name: Name of the output: float `(batch, width)`, of length 1.
        target: Name of the target: an int, equal for samples that belong together.
        temperature: Of the contrastive loss.
    """

    width: int
    answer_name: str = "embedding"
    target: str = "labels"
    temperature: float = 0.1

    @property
    def answers(self):
        return (Vector(self.answer_name),)

    @property
    def metrics(self):
        return (NearestNeighbour(self.answer_name, self.target),)

    def head(self, x):
        from keras import layers

        dense = layers.Dense(self.width, name="projection")(x)
        return {self.answer_name: layers.UnitNormalization(name=self.answer_name)(dense)}

    def losses(self):
        temperature = self.temperature

        def supervised_contrastive(targets, vectors):
            """Khosla et al., 2020 (arXiv:2004.11362), the sum outside the logarithm."""
            from keras import ops

            same = ops.equal(ops.reshape(targets, (-1, 1)), ops.reshape(targets, (1, -1)))
            count = ops.shape(vectors)[0]
            self_pair = ops.eye(count, dtype=vectors.dtype)
            near = ops.matmul(vectors, ops.transpose(vectors)) / temperature
            near = near - 1e9 * self_pair
            log_share = near - ops.logsumexp(near, axis=1, keepdims=True)
            kept = ops.cast(same, vectors.dtype) * (1 - self_pair)
            return -ops.sum(kept * log_share, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1)

        return {self.answer_name: supervised_contrastive}

    def baseline(self, training, count):
        drawn = np.random.default_rng(0).standard_normal((count, self.width))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return {self.answer_name: drawn.astype("float32")}

    def check_targets(self, targets, name="`samples`", shapes=None):
        check_classes_of(targets[self.target], None, name, self.target)
