"""CTranslate2 models."""

from pathlib import Path

import numpy as np

from mmzoo.pretrained.readers.cursor import Cursor

VERSIONS = range(4, 7)  # since 4 a variable has a dtype; 6 is the newest
DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "bfloat16"}
MOST_DIMENSIONS = 8


def read_ctranslate2(path, spec=None) -> dict[str, np.ndarray]:
    """Reads a `model.bin` of CTranslate2.

    Args:
        path: File to read, or the folder that holds `model.bin`.
        spec: Optional name that the model's specification must have ("WhisperSpec").

    Returns:
        Dict of variable name to array, read-only. Aliases are the array they stand for.
        Integers with a scale beside them (`weight` and `weight_scale`, a scale a row, or
        one) are float32, divided by it, and the scales are left out. bfloat16 becomes
        float32; everything else keeps its dtype and is a view of the memory-mapped file.

    Raises:
        ValueError: If the file is cut off or goes on behind its end, is of a version that is
            not 4 to 6 or of another specification, a name occurs twice, an alias leads
            nowhere, or sizes disagree.
    """
    path = Path(path)
    cursor = Cursor(path / "model.bin" if path.is_dir() else path, "a CTranslate2 model")
    version = cursor.number("I", "its version")
    if version not in VERSIONS:
        raise cursor.error(
            f"It says version {version}; readable are {VERSIONS[0]} to {VERSIONS[-1]}."
        )
    found = _string(cursor)
    cursor.number("I", "the revision of its specification")
    if spec not in (None, found):
        raise cursor.error(f"It is a {found!r}, not a {spec!r}.")
    variables: dict[str, np.ndarray] = {}
    for _ in range(cursor.number("I", "the number of variables")):
        name = _string(cursor)
        _add(cursor, variables, name, _array(cursor, name))
    for _ in range(cursor.number("I", "the number of aliases")):
        alias, name = _string(cursor), _string(cursor)
        if name not in variables:
            raise cursor.error(f"Alias {alias!r} stands for {name!r}, which is not there.")
        _add(cursor, variables, alias, variables[name])
    left = len(cursor.data) - cursor.position
    if left:
        raise cursor.error(f"{left:,} bytes behind the aliases belong to nothing.")
    return _dequantised(cursor, variables)


def _add(cursor, variables, name, array):
    if name in variables:
        raise cursor.error(f"{name!r} occurs twice.")
    variables[name] = array


def _string(cursor) -> str:
    """A string: its length with the zero byte that ends it, then both."""
    data = cursor.take(cursor.number("H", "the length of a name"), "a name").tobytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise cursor.error(f"A name is no UTF-8: {data!r:.100}.") from error
    if not text.endswith("\0") or "\0" in text[:-1]:
        raise cursor.error(f"A name does not end in one zero byte: {data!r:.100}.")
    return text[:-1]


def _array(cursor, name):
    rank = cursor.number("B", f"the rank of {name!r}")
    if rank > MOST_DIMENSIONS:
        raise cursor.error(f"{name!r} has {rank} dimensions, more than {MOST_DIMENSIONS}.")
    shape = tuple(cursor.number("I", f"the shape of {name!r}") for _ in range(rank))
    code = cursor.number("B", f"the dtype of {name!r}")
    if code not in DTYPES:
        raise cursor.error(f"{name!r} has dtype {code}; known are {sorted(DTYPES)}.")
    return cursor.array(name, DTYPES[code], shape, cursor.number("I", f"the size of {name!r}"))


def _dequantised(cursor, variables):
    """`value / scale` for integers that have a scale; without the scales."""
    result, done = dict(variables), {}
    for name, values in variables.items():
        scale = variables.get(f"{name}_scale")
        if scale is None or values.dtype not in ("int8", "int16"):
            continue
        key = id(values), id(scale)  # an alias is not computed again
        if key not in done:
            done[key] = _divide(cursor, name, values, scale)
        result[name] = done[key]
        del result[f"{name}_scale"]
    return result


def _divide(cursor, name, values, scale):
    rows = len(values) if values.ndim else 1
    if scale.dtype.kind != "f" or scale.size not in (1, rows):
        raise cursor.error(
            f"{name!r} needs one scale, or one for each of its {rows} rows: "
            f"{scale.dtype} {scale.shape}."
        )
    shape = (scale.size, *[1] * (values.ndim - 1)) if values.ndim else ()
    result = values / scale.astype("float32").reshape(shape)
    result.flags.writeable = False
    return result
