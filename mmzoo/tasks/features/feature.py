"""A feature: one named input of a model, which a column of the user's data fills."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmzoo.tasks.described import Described
from mmzoo.tasks.tensors import Tensor


class TooLargeError(ValueError):
    """A value that does not fit into a model, or a file, of fixed size."""


@dataclasses.dataclass(frozen=True)
class Feature(Described, family="feature"):
    """One named input of a model.

    Attributes:
        name: The user's column name, which is the input's name in every format.
    """

    name: str
    padded: ClassVar[bool] = True  # whether zeros behind a value change nothing

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor of this dtype and shape can carry the feature."""
        raise NotImplementedError

    def read(self, cell):
        """Reads a cell of a table, or a value from the command line.

        Args:
            cell: What the user has: a path, a string, a number, bytes.

        Returns:
            The value as `stack` takes it.

        Raises:
            ValueError: If it can't be read; the message names what is wrong with it.
        """
        raise NotImplementedError

    def stack(self, values: Sequence, tensor: Tensor, shape: Sequence[int]) -> np.ndarray:
        """Puts values into one array `(len(values), ...)`, zero padded.

        Args:
            values: What `read` returned; None where a sample lacks the feature.
            tensor: What carries it.
            shape: Of one sample where no value has any: such zeros are not read.

        Raises:
            TooLargeError: If a value is larger than the tensor.
        """
        return padded(values, tensor, shape)

    @property
    def drawn_size(self) -> int:
        """Size of each free axis where random values are drawn."""
        return 16

    def draw(self, rng: np.random.Generator, tensor: Tensor, count: int) -> np.ndarray:
        """Draws random values that the feature can take: `(count, ...)`.

        Args:
            rng: Random generator.
            tensor: What carries it. Free axes get `drawn_size`.
            count: How many.
        """
        return draw_any(rng, tensor, self.drawn_shape(tensor, count))

    def drawn_shape(self, tensor: Tensor, count: int) -> list[int]:
        """Shape of what `draw` returns."""
        return [count, *(self.drawn_size if n is None else n for n in tensor.shape[1:])]

    @classmethod
    def edge_sizes(cls, tensor: Tensor) -> list[tuple[int, ...]]:
        """Sizes of the free axes at which an artifact is checked besides the samples' own."""
        return [(1,) * len(tensor.free_axes)]

    def completed(self, shape: Sequence[int]) -> "Feature":
        """The feature, what it leaves open taken from the samples.

        Args:
            shape: Of one sample.
        """
        return self

    def words(self) -> str:
        """What a value of it is, for people: "a picture", "mono samples at 16,000 Hz"."""
        raise NotImplementedError


def draw_any(rng: np.random.Generator, tensor: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Random values of a dtype: standard normal floats, any byte, zeros and ones otherwise."""
    if tensor.dtype == "string":
        raise ValueError(
            f"Expected samples: {tensor.feature!r} takes texts. Pass `samples` (--samples "
            "FILE.npz)."
        )
    if tensor.dtype.startswith(("float", "bfloat")):
        return rng.standard_normal(shape).astype(tensor.dtype)
    high = 256 if tensor.dtype == "uint8" else 2
    return rng.integers(0, high, shape).astype(tensor.dtype)


def padded(rows: Sequence, tensor: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Arrays in one: of the length that the model fixes, else of the sizes of the largest.

    Raises:
        TooLargeError: If a row is longer than the model takes.
    """
    found = [row.shape for row in rows if row is not None]
    sizes = tuple(map(int, np.max(found, axis=0) if found else shape))
    if len(sizes) == 1 and tensor.shape[1] is not None:
        if sizes[0] > tensor.shape[1]:
            raise TooLargeError(
                f"Expected {tensor.name!r} of at most the length {tensor.shape[1]:,}, which the "
                f"model takes. Received: {sizes[0]:,}. Cut it."
            )
        sizes = (tensor.shape[1],)
    stacked = np.zeros((len(rows), *sizes), tensor.dtype)
    for place, row in zip(stacked, rows, strict=True):
        if row is not None:
            place[tuple(slice(size) for size in row.shape)] = row
    return stacked
