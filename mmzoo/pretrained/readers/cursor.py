"""What the readers of weight files share: a bounded view of a file, and bfloat16."""

import math
import struct
from pathlib import Path

import numpy as np


class Cursor:
    """Reads a file from its front, memory-mapped, and never past its end.

    Args:
        path: File to read.
        kind: What the file should be, for errors ("a safetensors file").
    """

    def __init__(self, path, kind):
        self.path = Path(path)
        self.kind = kind
        size = self.path.stat().st_size
        # An empty file can't be mapped.
        self.data = np.asarray(np.memmap(self.path, mode="r") if size else np.zeros(0, "uint8"))
        self.position = 0

    def error(self, problem):
        """A ValueError to raise, that names the file and the kind."""
        return ValueError(f"Expected {self.kind}. {problem} File: {self.path}.")

    def take(self, count, what):
        """The next `count` bytes as uint8, a view of the file."""
        left = len(self.data) - self.position
        if count > left:
            raise self.error(f"It is cut off: {what} needs {count:,} bytes, {left:,} are left.")
        start, self.position = self.position, self.position + count
        return self.data[start : self.position]

    def number(self, code, what):
        """The next little-endian integer, by its `struct` code."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code), what).tobytes())[0]

    def array(self, name, dtype, shape, claimed) -> np.ndarray:
        """The next bytes as an array.

        Args:
            name: Name of the array, for errors.
            dtype: NumPy dtype, little-endian: a view of the file. Or "bfloat16", which
                becomes float32, or "bool".
            shape: Ints from 0 on.
            claimed: Size in bytes that the file gives beside them.
        """
        stored = {"bfloat16": "<u2", "bool": "u1"}.get(dtype, dtype)
        size = math.prod(shape) * np.dtype(stored).itemsize
        if claimed != size:
            raise self.error(
                f"{name!r} is {size:,} bytes by its dtype and shape, {claimed:,} by its size."
            )
        try:
            values = self.take(size, f"{name!r}").view(stored).reshape(shape)
        except (ValueError, OverflowError) as error:  # empty, with sizes beyond NumPy's
            raise self.error(f"{name!r} can't have shape {tuple(shape)!r:.200}: {error}") from error
        if dtype == "bool":
            values = values != 0  # a byte of 2 would be a broken bool
        elif dtype == "bfloat16":
            values = widen(values)
        values.flags.writeable = False  # as a view of the file is
        return values


def widen(bits) -> np.ndarray:
    """bfloat16, as uint16 bits, to float32: it is the upper half of one."""
    return (bits.astype("uint32") << 16).view("float32")
