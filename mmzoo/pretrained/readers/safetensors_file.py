"""safetensors files."""

import json

import numpy as np

from mmzoo.pretrained.readers.cursor import Cursor

HEADER_LIMIT = 100_000_000  # bytes, as in the format's own reader
DTYPES = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4",
    "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "BF16": "bfloat16",
}  # fmt: skip


def read_safetensors(path) -> dict[str, np.ndarray]:
    """Reads a safetensors file.

    Args:
        path: File to read.

    Returns:
        Dict of tensor name to array, read-only, in the order of the data. BF16 becomes
        float32; all but it and BOOL are views of the memory-mapped file. Metadata is left
        out.

    Raises:
        ValueError: If the file is cut off, its header is larger than 100 MB or is no valid
            one, a dtype has no NumPy counterpart, or the tensors leave gaps in the data or
            overlap.
    """
    cursor = Cursor(path, "a safetensors file")
    length = cursor.number("Q", "the length of its header")
    if length > HEADER_LIMIT:
        raise cursor.error(f"Its header claims {length:,} bytes, more than {HEADER_LIMIT:,}.")
    text = cursor.take(length, "its header").tobytes()
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise cursor.error(f"Its header is no JSON: {error}.") from error
    if not isinstance(header, dict):
        raise cursor.error(f"Its header is a {type(header).__name__}, not a dict.")
    header.pop("__metadata__", None)
    entries = sorted((*_span(cursor, name, entry), name) for name, entry in header.items())
    start, tensors = cursor.position, {}
    for begin, end, name in entries:
        if start + begin != cursor.position:
            raise cursor.error(f"{name!r} leaves a gap in the data, or overlaps another tensor.")
        dtype, shape = DTYPES[header[name]["dtype"]], header[name]["shape"]
        tensors[name] = cursor.array(name, dtype, shape, end - begin)
    left = len(cursor.data) - cursor.position
    if left:
        raise cursor.error(f"{left:,} bytes behind the last tensor belong to none.")
    return tensors


def _unique(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _span(cursor, name, entry):
    """Where a tensor's data begin and end, from its entry in the header."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
        case _:
            raise cursor.error(f"{name!r} needs a dtype, a shape and two offsets: {entry!r:.200}.")
    if kind not in DTYPES:
        raise cursor.error(f"{name!r} has dtype {kind!r:.50}; known are {', '.join(DTYPES)}.")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise cursor.error(f"{name!r} needs sizes and offsets from 0 on: {entry!r:.200}.")
    return begin, end
