"""The files are written here, byte by byte, from the descriptions of the formats."""

import json
import struct

import numpy as np
import pytest
from weight_files import FLOATS, HALVES, RNG, bfloat16, same

from mmzoo.pretrained.readers import read_ctranslate2, read_safetensors


def check_truncation(read, path, content, step=1):
    """Every shorter file, and a longer one, is refused, and by a ValueError alone."""
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"Expected .*{path.name}"):
            read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="Expected"):
        read(path)


# safetensors: length of the header, header, data.


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    values = {
        "F32": FLOATS, "F64": FLOATS.astype("f8"), "F16": FLOATS.astype("f2"),
        "I64": np.array([-5, 2**40]), "I32": np.array([[-7]], "i4"), "U8": np.arange(3, dtype="u1"),
        "I16": np.array(9, "i2"), "BOOL": np.array([True, False]), "F32 empty": FLOATS[:0],
    }  # fmt: skip
    stored = {name: value.tobytes() for name, value in values.items()}
    values["BF16"], stored["BF16"] = HALVES, bfloat16(HALVES).tobytes()
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in values.items():
        begin, data = len(data), data + stored[name]
        header[name] = entry(name.split()[0], list(value.shape), begin, len(data))
    content = safetensors(dict(reversed(header.items())), data)
    path.write_bytes(content)
    tensors = read_safetensors(path)
    assert list(tensors) == list(values)
    for name, value in values.items():
        same(tensors[name], value)
    assert not tensors["F32"].flags.writeable and not tensors["F32"].flags.owndata
    check_truncation(read_safetensors, path, content, step=7)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "header claims 9,223,372,036,854,775,808 bytes"),
        (safetensors(b"[" * 100_000), "header is no JSON"),
        (safetensors(b"\xff\xfe"), "header is no JSON"),
        (safetensors(b"[]"), "header is a list, not a dict"),
        (safetensors(b'{"a": {}, "a": {}}'), "a key occurs twice"),
        (safetensors({"a": {"dtype": "F32"}}), "'a' needs a dtype, a shape and two offsets"),
        (safetensors({"a": 3}), "'a' needs a dtype, a shape and two offsets"),
        (safetensors({"a": entry("F8_E4M3", [1], 0, 1)}, b"1"), "'a' has dtype 'F8_E4M3'; known"),
        (safetensors({"a": entry("U8", [-1], 0, 1)}, b"1"), "sizes and offsets from 0 on"),
        (safetensors({"a": entry("U8", [True], 0, 1)}, b"1"), "sizes and offsets from 0 on"),
        (safetensors({"a": entry("U8", [1.0], 0, 1)}, b"1"), "sizes and offsets from 0 on"),
        (safetensors({"a": entry("U8", [2], 0, 1)}, b"1"), "'a' is 2 bytes by .*, 1 by its size"),
        (safetensors({"a": entry("U8", [2**70], 0, 2**70)}, b"1"), "cut off: 'a' needs"),
        (safetensors({"a": entry("U8", [0, 2**70], 0, 0)}), "'a' can't have shape"),
        (safetensors({"a": entry("U8", [1], 1, 2)}, b"12"), "'a' leaves a gap"),
        (
            safetensors({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123"),
            "'b' leaves a gap in the data, or overlaps",
        ),
        (safetensors({"a": entry("U8", [1], 0, 1)}, b"12"), "1 bytes behind the last tensor"),
    ],
)
def test_safetensors_refused(tmp_path, content, match):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected a safetensors file.*{match}"):
        read_safetensors(path)


def test_safetensors_bool_of_another_byte(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"a": entry("BOOL", [3], 0, 3)}, b"\0\1\2"))
    assert read_safetensors(path)["a"].view("u1").tolist() == [0, 1, 1]


# CTranslate2: version, name and revision of the specification, variables, aliases.


def string(text):
    data = text if isinstance(text, bytes) else text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def variable(name, code, shape, data, size=None):
    size = len(data) if size is None else size
    header = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, code, size)
    return string(name) + header + data


def model(variables, aliases=(), version=6, spec="TestSpec"):
    parts = [struct.pack("<I", version), string(spec), struct.pack("<I", 3)]
    parts += [struct.pack("<I", len(variables)), *variables, struct.pack("<I", len(aliases))]
    return b"".join([*parts, *(string(name) for pair in aliases for name in pair)])


def floats(name, values):
    return variable(name, 0, values.shape, values.astype("<f4").tobytes())


def test_ctranslate2(tmp_path):
    path = tmp_path / "model.bin"
    # As its converter: rows are scaled to 127, or all to 1,024.
    rows = RNG.standard_normal((5, 2, 3)).astype("float32")
    scale8 = (127 / np.abs(rows).max((1, 2))).astype("float32")
    int8 = np.rint(rows * scale8[:, None, None]).astype("i1")
    scale16 = np.float32(1024 / np.abs(FLOATS).max())
    int16 = np.rint(FLOATS * scale16).astype("<i2")
    count = np.array(6, "i2")
    content = model(
        [
            floats("plain", FLOATS),
            variable("half", 4, (3, 4), FLOATS.astype("<f2").tobytes()),
            variable("bits", 5, (2, 3), bfloat16(HALVES).tobytes()),
            variable("rows", 1, rows.shape, int8.tobytes()),
            floats("rows_scale", scale8),
            variable("all", 2, (3, 4), int16.tobytes()),
            floats("all_scale", scale16),
            variable("count", 2, (), count.tobytes()),
            variable("ids", 3, (2,), np.array([1, -(2**30)], "<i4").tobytes()),
            floats("wave_scale", FLOATS[0]),
            floats("wave", FLOATS),
            variable("lone", 1, (3, 4), int8.tobytes()[:12]),
        ],
        [("tied", "plain"), ("twin", "rows"), ("twin_scale", "rows_scale"),
         ("lone_scale", "all_scale"), ("other", "all")],
    )  # fmt: skip
    path.write_bytes(content)
    variables = read_ctranslate2(path, spec="TestSpec")
    expected = {
        "plain": FLOATS, "half": FLOATS.astype("f2"), "bits": HALVES,
        "rows": int8 / scale8[:, None, None], "all": int16 / scale16, "count": count,
        "ids": np.array([1, -(2**30)], "i4"), "wave_scale": FLOATS[0], "wave": FLOATS,
        "lone": int8.ravel()[:12].reshape(3, 4) / scale16, "tied": FLOATS,
        "twin": int8 / scale8[:, None, None],
    }  # fmt: skip
    assert sorted(variables) == sorted([*expected, "other"])
    for name, value in expected.items():
        same(variables[name], value)
        assert not variables[name].flags.writeable
    assert np.abs(variables["rows"] - rows).max() <= np.abs(rows).max() / 254 * 1.001
    assert variables["twin"] is variables["rows"] and variables["tied"] is variables["plain"]
    assert variables["other"].dtype == "int16"  # its own scale is not beside it
    same(read_ctranslate2(tmp_path)["plain"], FLOATS)
    check_truncation(read_ctranslate2, path, content, step=11)


ONE = floats("a", FLOATS)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (model([ONE], version=3), "says version 3; readable are 4 to 6"),
        (model([ONE], version=7), "says version 7"),
        (model([ONE], spec="OtherSpec"), "It is a 'OtherSpec', not a 'TestSpec'"),
        (model([ONE, ONE]), "'a' occurs twice"),
        (model([ONE], [("a", "a")]), "'a' occurs twice"),
        (model([ONE], [("b", "c")]), "Alias 'b' stands for 'c', which is not there"),
        (model([variable("a", 9, (1,), b"1")]), "'a' has dtype 9; known are"),
        (model([variable("a", 0, (2,), b"1234")]), "'a' is 8 bytes by .*, 4 by its size"),
        (model([variable("a", 1, (2**31,) * 8, b"", 0)]), "bytes by its dtype and shape, 0 by"),
        (model([variable("a", 1, (1,) * 9, b"1")]), "'a' has 9 dimensions, more than 8"),
        (model([variable("a", 1, (2**32 - 1,), b"", 2**32 - 1)]), "cut off: 'a' needs"),
        (model([variable("a", 1, (0,) + (2**32 - 1,) * 7, b"")]), "'a' can't have shape"),
        (model([variable(b"a", 1, (1,), b"1")]), "does not end in one zero byte: b'a'"),
        (model([variable(b"a\0b\0", 1, (1,), b"1")]), "does not end in one zero byte"),
        (model([variable(b"\xff\0", 1, (1,), b"1")]), "A name is no UTF-8"),
        (
            model([variable("a", 1, (3, 4), bytes(12)), floats("a_scale", FLOATS[0])]),
            "'a' needs one scale, or one for each of its 3 rows",
        ),
    ],
)
def test_ctranslate2_refused(tmp_path, content, match):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected a CTranslate2 model.*{match}"):
        read_ctranslate2(path, spec="TestSpec")
