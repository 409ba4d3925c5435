"""Texts: strings, carried as UTF-8 bytes, as token ids, or as they are."""

import dataclasses

import numpy as np

from mmzoo.data.text import encode_text
from mmzoo.tasks.features.feature import Feature, padded
from mmzoo.tasks.tensors import Tensor

LETTERS = np.frombuffer(b" abcdefghijklmnopqrstuvwxyz", "uint8")


@dataclasses.dataclass(frozen=True)
class Text(Feature, kind="text"):
    """A text: uint8 `(bytes,)` of UTF-8, zero padded; token ids `(tokens,)`; or a string `()`."""

    def fits(self, tensor: Tensor) -> bool:
        if tensor.dtype == "string" or tensor.tokens_of:
            return True
        return tensor.dtype == "uint8" and len(tensor.shape) == 2

    def read(self, cell):
        text = cell.decode() if isinstance(cell, bytes) else cell
        if not isinstance(text, str):
            raise ValueError(f"Expected {self.name!r} as a text. Received: {cell!r}.")
        encode_text([text])  # refuses a NUL
        return text

    def stack(self, values, tensor, shape):
        if tensor.dtype == "string":
            return np.array([(value or "").encode() for value in values], "S")
        rows = [None if value is None else encode_text([value])[0] for value in values]
        return padded(rows, tensor, shape)

    def draw(self, rng, tensor, count):
        if tensor.dtype == "string":
            raise ValueError(
                f"Expected samples: {self.name!r} takes texts. Pass `samples` (--samples FILE.npz)."
            )
        shape = self.drawn_shape(tensor, count)
        rows = LETTERS[rng.integers(0, len(LETTERS), shape)]
        lengths = rng.integers(1, shape[1] + 1, count)
        lengths[0] = shape[1]
        rows[:, 0] = np.maximum(rows[:, 0], ord("a"))
        return np.where(np.arange(shape[1]) < lengths[:, None], rows, 0).astype(tensor.dtype)

    @classmethod
    def edge_sizes(cls, tensor):
        return []  # its edge case is the empty text

    def words(self):
        return "a text"
