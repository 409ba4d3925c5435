"""Categories: one of a list of values, and what was never seen."""

import dataclasses

import numpy as np

from mmzoo.tasks.features.feature import Feature
from mmzoo.tasks.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Category(Feature, kind="category"):
    """One of a list of values: int32 `()`, its place in the list from 1; 0 where it is none.

    Attributes:
        values: The values that were seen in training, as strings.
    """

    values: tuple[str, ...]

    def fits(self, tensor: Tensor) -> bool:
        return tensor.dtype in ("int32", "int64") and tuple(tensor.shape[1:]) in ((), (1,))

    def read(self, cell):
        """Returns the place of a value; 0 of a missing or unknown one."""
        if cell is None:
            return 0
        value = str(cell)
        return self.values.index(value) + 1 if value in self.values else 0

    def stack(self, values, tensor, shape):
        filled = [0 if value is None else value for value in values]
        return np.array(filled, tensor.dtype).reshape(len(filled), *tensor.shape[1:])

    def draw(self, rng, tensor, count):
        shape = self.drawn_shape(tensor, count)
        return rng.integers(0, len(self.values) + 1, shape).astype(tensor.dtype)

    def words(self):
        shown = ", ".join(self.values[:8]) + ", …" * (len(self.values) > 8)
        return f"one of {shown}"
