"""Tasks: what a model takes (features), what it gives (answers) and how good that is (metrics).

Importing this package needs no TensorFlow.
"""

from mmzoo.tasks.answers import Answer, ArrayAnswer, Labels, Scores, Value, Vector
from mmzoo.tasks.classification import Classification
from mmzoo.tasks.embedding import Embedding
from mmzoo.tasks.features import (
    Array,
    Audio,
    Category,
    Feature,
    Image,
    Number,
    Text,
    TooLargeError,
)
from mmzoo.tasks.guess import ModelTask, guess_task
from mmzoo.tasks.metrics import (
    F1,
    R2,
    Accuracy,
    MeanAbsoluteError,
    MeanAveragePrecision,
    Metric,
    NearestNeighbour,
    compare_values,
    measure,
)
from mmzoo.tasks.multilabel import Multilabel
from mmzoo.tasks.regression import Regression
from mmzoo.tasks.source import Source
from mmzoo.tasks.task import Task, check_task, named_answer
from mmzoo.tasks.tensors import Tensor

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "Answer",
    "Array",
    "ArrayAnswer",
    "Audio",
    "Category",
    "Classification",
    "Embedding",
    "Feature",
    "Image",
    "Labels",
    "MeanAbsoluteError",
    "MeanAveragePrecision",
    "Metric",
    "ModelTask",
    "Multilabel",
    "NearestNeighbour",
    "Number",
    "Regression",
    "Scores",
    "Source",
    "Task",
    "Tensor",
    "Text",
    "TooLargeError",
    "Value",
    "Vector",
    "check_task",
    "compare_values",
    "guess_task",
    "measure",
    "named_answer",
]
