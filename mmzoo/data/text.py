"""Strings to the bytes that a text encoder reads, and back."""

from collections.abc import Iterable

import numpy as np


def encode_text(texts: Iterable[str], length: int | None = None) -> np.ndarray:
    """Turns strings into UTF-8 bytes, zero padded on the right.

    Args:
        texts: Strings; may be empty, and may be of any script.
        length: Positive int. Bytes a row; longer strings are cut to it, at a character's
            border. None: the longest string's length, at least 1.

    Returns:
        uint8 array of shape `(len(texts), length)`.

    Raises:
        ValueError: If `length < 1` or a string holds a NUL, which is the padding.

    Example:

    >>> encode_text(["key", "clé"])
    array([[107, 101, 121,   0],
           [ 99, 108, 195, 169]], dtype=uint8)
    """
    if length is not None and length < 1:
        raise ValueError(f"`length` must be a positive int. Received: length={length}.")
    rows = []
    for text in texts:
        if "\0" in text:
            raise ValueError(f"A text must not hold NUL characters. Received: {text!r}.")
        data = text.encode("utf-8", "replace")
        if length is not None and len(data) > length:
            data = data[:length].decode("utf-8", "ignore").encode()
        rows.append(data)
    width = length or max([1, *map(len, rows)])
    encoded = np.zeros((len(rows), width), "uint8")
    for row, data in zip(encoded, rows, strict=True):
        row[: len(data)] = np.frombuffer(data, "uint8")
    return encoded


def decode_text(encoded: np.ndarray) -> list[str]:
    """Inverse of `encode_text`: uint8 `(batch, length)` to strings.

    Raises:
        ValueError: If it is no batch of rows.
    """
    if np.ndim(encoded) != 2:
        raise ValueError(
            f"Expected rows of bytes, (batch, length). Received: shape {np.shape(encoded)}. Of one "
            "text pass `row[None]`."
        )
    return [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in encoded]
