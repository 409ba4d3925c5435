"""Answers: the named outputs of a model, by kind."""

from mmzoo.tasks.answers.answer import Answer
from mmzoo.tasks.answers.array import ArrayAnswer
from mmzoo.tasks.answers.labels import Labels
from mmzoo.tasks.answers.scores import Scores
from mmzoo.tasks.answers.value import Value
from mmzoo.tasks.answers.vector import Vector

__all__ = ["Answer", "ArrayAnswer", "Labels", "Scores", "Value", "Vector"]
