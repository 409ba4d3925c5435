"""A value: one number."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers.answer import Answer


@dataclasses.dataclass(frozen=True)
class Value(Answer, kind="value"):
    """A number: float `()` or `(1,)`.

    Attributes:
        unit: For people: "years", "EUR".
    """

    unit: str = ""

    def fits(self, tensor):
        return tensor.dtype.startswith(("float", "bfloat")) and tuple(tensor.shape[1:]) in (
            (),
            (1,),
        )

    def read(self, value, top=5):
        return {"value": float(np.asarray(value).reshape(())), "unit": self.unit}
