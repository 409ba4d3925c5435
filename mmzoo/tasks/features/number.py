"""Numbers: one value a sample."""

import dataclasses
import math

import numpy as np

from mmzoo.tasks.features.feature import Feature
from mmzoo.tasks.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Number(Feature, kind="number"):
    """A number: float32 `()`; NaN where it is missing.

    Attributes:
        unit: For people: "years", "EUR".
    """

    unit: str = ""

    def fits(self, tensor: Tensor) -> bool:
        return tensor.dtype.startswith("float") and tuple(tensor.shape[1:]) in ((), (1,))

    def read(self, cell):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            value = float(cell)
        except (TypeError, ValueError):
            raise ValueError(f"Expected {self.name!r} as a number. Received: {cell!r}.") from None
        if math.isinf(value):
            raise ValueError(f"Expected {self.name!r} as a finite number. Received: {cell!r}.")
        return value

    def stack(self, values, tensor, shape):
        filled = [math.nan if value is None else value for value in values]
        return np.array(filled, tensor.dtype).reshape(len(filled), *tensor.shape[1:])

    def words(self):
        return f"a number, in {self.unit}" if self.unit else "a number"
