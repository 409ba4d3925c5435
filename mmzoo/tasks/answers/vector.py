"""Vectors: embeddings that are compared with each other."""

import dataclasses

from mmzoo.tasks.answers.answer import Answer


@dataclasses.dataclass(frozen=True)
class Vector(Answer, kind="vector"):
    """An embedding: float `(width,)`. Its largest entry is no decision."""

    def fits(self, tensor):
        return tensor.dtype.startswith(("float", "bfloat")) and len(tensor.shape) == 2
