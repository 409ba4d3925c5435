"""Arrays: inputs of which no more is known than their dtype and shape."""

import dataclasses

import numpy as np

from mmzoo.tasks.features.feature import Feature


@dataclasses.dataclass(frozen=True)
class Array(Feature, kind="array"):
    """Any tensor."""

    def fits(self, tensor):
        return True

    def read(self, cell):
        if isinstance(cell, np.ndarray):
            return cell
        raise ValueError(
            f"Expected {self.name!r} as an array: the bundle does not say what it holds. "
            f"Received: {cell!r}. Pass the task when the model is exported."
        )

    def words(self):
        return "an array"
