"""Metrics by kind, with intervals."""

from mmzoo.tasks.metrics.classes import F1, Accuracy, MeanAveragePrecision
from mmzoo.tasks.metrics.estimate import compare_values, measure
from mmzoo.tasks.metrics.metric import Metric
from mmzoo.tasks.metrics.numbers import R2, MeanAbsoluteError
from mmzoo.tasks.metrics.vectors import NearestNeighbour

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "MeanAbsoluteError",
    "MeanAveragePrecision",
    "Metric",
    "NearestNeighbour",
    "compare_values",
    "measure",
]
