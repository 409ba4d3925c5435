"""An answer: one named output of a model, and what a person reads in it."""

import dataclasses

import numpy as np

from mmzoo.tasks.described import Described
from mmzoo.tasks.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Answer(Described, family="answer"):
    """One named output of a model.

    Attributes:
        name: The output's name, the same in every format.
    """

    name: str

    def fits(self, tensor: Tensor) -> bool:
        """Whether an output of this dtype and shape can hold the answer."""
        raise NotImplementedError

    def decisions(self, values: np.ndarray) -> np.ndarray | None:
        """The decisions that values `(samples, ...)` stand for: `(samples, decisions)`.

        None where an answer decides nothing, as a number or a vector does.
        """
        return None

    def leads(self, values: np.ndarray) -> np.ndarray | None:
        """By how much each decision is one: `(samples, decisions)`.

        Two values that are each off by less than half a lead decide the same.
        """
        return None

    def agreement(self, actual: np.ndarray, expected: np.ndarray, margin: float) -> float | None:
        """Share of the decisions that are equal, or whose lead is at most `margin`.

        Args:
            actual: What an artifact answered: `(samples, ...)`.
            expected: The Keras model's answers.
            margin: Twice what a value may be off, since both sides of a lead may move.
        """
        decided, leads = self.decisions(expected), self.leads(expected)
        if decided is None or leads is None or not decided.size:
            return None
        return float(np.mean((self.decisions(actual) == decided) | (leads <= margin)))

    def may_flip(self, expected: np.ndarray, tolerance: float) -> int:
        """Samples of which a decision may change if values are off by the tolerance.

        Args:
            expected: The Keras model's answers.
            tolerance: Largest difference of a value, as a part of the largest absolute value.
        """
        leads = self.leads(expected.astype("float64"))
        if leads is None or not leads.size:
            return 0
        margin = 2 * tolerance * float(np.max(np.abs(expected.astype("float64")), initial=0))
        return int(np.sum((leads <= margin).any(axis=1)))

    def read(self, value: np.ndarray, top: int = 5):
        """The answer of one sample as JSON, for people and other programs.

        Args:
            value: Array of one sample, without the batch.
            top: How many classes to return.
        """
        return np.asarray(value).tolist()
