"""Metrics of vectors."""

import dataclasses

import numpy as np

from mmzoo.tasks.metrics.metric import Metric


@dataclasses.dataclass(frozen=True)
class NearestNeighbour(Metric, kind="nearest_neighbour"):
    """Share of the samples whose nearest other sample, by cosine, has the same target, an int.

    Neighbours are looked for among all samples that are given: it is a metric of a set.
    """

    def value(self, answers, targets):
        vectors = np.asarray(answers[self.answer], "float64")
        if len(vectors) < 2 or not np.isfinite(vectors).all():
            return float("nan")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.maximum(lengths, np.finfo("float64").tiny)
        near = unit @ unit.T
        # A resample holds a sample several times; its own copies are no neighbours.
        near[near > 1 - 1e-12] = -np.inf
        truth = np.asarray(targets[self.target])
        return float(np.mean(truth[near.argmax(axis=1)] == truth))
