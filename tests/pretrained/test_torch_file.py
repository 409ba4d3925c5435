"""Files of `torch.save`, written here from the descriptions of both formats.

A pickle whose persistent ids are storages. The pickler checks that a name leads to its object:
so stand-ins for torch's are put in `sys.modules`.
"""

import collections
import io
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
from weight_files import FLOATS, HALVES, bfloat16, same

from mmzoo.pretrained.readers import read_torch


def make(module, name):
    def stand_in(*_):
        raise AssertionError("must not be called")

    stand_in.__module__, stand_in.__qualname__, stand_in.__name__ = module, name, name
    return stand_in


class Tensor:
    """A view of a storage: `(kind, key, values)`, by offset, shape and strides in values."""

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.arguments = storage, (offset, shape, strides)


def pickled(monkeypatch, root, protocol=2, legacy=False):
    names = {
        "torch": ["FloatStorage", "BFloat16Storage", "LongStorage", "BoolStorage", "HalfStorage"],
        "torch._utils": ["_rebuild_tensor_v2", "_rebuild_parameter"],
    }
    modules = {module: type(sys)(module) for module in names}
    for module, content in modules.items():
        for name in names[module]:
            setattr(content, name, make(module, name))
        monkeypatch.setitem(sys.modules, module, content)
    torch, utils = modules["torch"], modules["torch._utils"]

    class Marker:
        def __init__(self, storage):
            self.storage = storage

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Marker):
                return None
            kind, key, values = obj.storage
            view = (None,) if legacy else ()
            return ("storage", getattr(torch, kind), key, "cuda:0", len(values), *view)

        def reducer_override(self, obj):
            if isinstance(obj, Tensor):
                hooks = collections.OrderedDict()
                marker = Marker(obj.storage)
                return utils._rebuild_tensor_v2, (marker, *obj.arguments, False, hooks)
            return NotImplemented

    file = io.BytesIO()
    Pickler(file, protocol).dump(root)
    return file.getvalue()


def archive(content, storages=(), *, order=b"little", compression=zipfile.ZIP_STORED, folder="x"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        target.writestr(f"{folder}/data.pkl", content)
        target.writestr(f"{folder}/byteorder", order)
        for _, key, values in storages:
            target.writestr(f"{folder}/data/{key}", values.tobytes())
        target.writestr(f"{folder}/version", b"3\n")
    return file.getvalue()


def legacy_file(content, storages, keys=None, little=True):
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [content, pickle.dumps([key for _, key, _ in storages] if keys is None else keys, 2)]
    for _, _, values in storages:
        parts += [struct.pack("<q", len(values)), values.tobytes()]
    return b"".join(parts)


A = ("FloatStorage", "0", FLOATS.ravel())
B = ("BFloat16Storage", "1", bfloat16(HALVES).ravel())
C = ("LongStorage", "2", np.array([7, -(2**40)]))
D = ("BoolStorage", "3", np.array([0, 1, 2], "u1"))
E = ("HalfStorage", "4", np.zeros(0, "f2"))
STORAGES = [A, B, C, D, E]


def state_dict():
    state = collections.OrderedDict(
        plain=Tensor(A, 0, (3, 4), (4, 1)),
        transposed=Tensor(A, 0, (4, 3), (1, 4)),
        part=Tensor(A, 5, (2, 2), (4, 1)),
        scalar=Tensor(C, 1, (), ()),
    )
    state._metadata = collections.OrderedDict(version=2)
    nested = {"bits": Tensor(B, 0, (3, 2), (1, 3)), "deeper": {0: Tensor(D, 0, (3,), (1,))}}
    return {"epoch": 3, "model": state, "more": nested, "none": Tensor(E, 0, (0, 5), (5, 1))}


EXPECTED = {
    "model.plain": FLOATS,
    "model.transposed": FLOATS.T,
    "model.part": FLOATS[1:, 1:3],
    "model.scalar": np.array(-(2**40)),
    "more.bits": HALVES.T,
    "more.deeper.0": np.array([False, True, True]),
    "none": np.zeros((0, 5), "f2"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch(tmp_path, monkeypatch, protocol, legacy):
    path = tmp_path / "model.pth"
    content = pickled(monkeypatch, state_dict(), protocol, legacy)
    path.write_bytes((legacy_file if legacy else archive)(content, STORAGES))
    tensors = read_torch(path)
    assert list(tensors) == list(EXPECTED)
    for name, value in EXPECTED.items():
        same(tensors[name], value)
        assert not tensors[name].flags.writeable
    assert tensors["more.deeper.0"].view("u1").tolist() == [0, 1, 1]


def test_torch_truncated(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    for make_file in (archive, legacy_file):
        legacy = make_file is legacy_file
        content = make_file(pickled(monkeypatch, state_dict(), legacy=legacy), STORAGES)
        for length in range(0, len(content), 17):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"Expected a file of tensors.*model\.pth"):
                read_torch(path)


class Attack:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["root", "value", "key", "tensor", "keys"])
def test_torch_does_not_execute(tmp_path, monkeypatch, place):
    """A file that would make a folder, were it unpickled."""
    target = tmp_path / "executed"
    attack = Attack(os.mkdir, str(target))
    path = tmp_path / "model.pth"
    if place == "keys":
        content = legacy_file(pickled(monkeypatch, {}, legacy=True), [], keys=attack)
    else:
        root = {
            "root": attack,
            "value": {"a": attack},
            "key": {(attack,): 1},
            "tensor": {"a": Tensor(A, attack, (3,), (1,))},
        }[place]
        content = archive(pickled(monkeypatch, root), [A])
    assert target.name.encode() in content  # the attack is in the file, uncompressed
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"It needs '(posix|nt)\.mkdir'.*Nothing was run"):
        read_torch(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "os system", "collections Counter", "torch load", "torch._utils rebuild",
     "numpy dtype", "functools partial", "collections OrderedDict.fromkeys", "builtins getattr"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["global", "stack", "inst"])
def test_torch_names_what_it_refuses(tmp_path, name, kind):
    module, attribute = name.split()
    content = {
        "global": f"c{module}\n{attribute}\n.".encode(),
        "stack": pickle.PROTO + b"\x04" + b"".join(
            pickle.SHORT_BINUNICODE + bytes([len(x)]) + x.encode() for x in (module, attribute)
        ) + pickle.STACK_GLOBAL + b".",
        "inst": f"(i{module}\n{attribute}\n.".encode(),
    }[kind]  # fmt: skip
    path = tmp_path / "model.pth"
    path.write_bytes(archive(content))
    with pytest.raises(ValueError, match=f"It needs '{module}.{attribute}', which a dict"):
        read_torch(path)


@pytest.mark.parametrize("name", ["collections OrderedDict", "torch._utils _rebuild_tensor_v2"])
@pytest.mark.parametrize("state", [b"}U\x08__call__Nsb", b"(N}U\x08__call__Nstb"])
def test_torch_stand_ins_cannot_be_changed(tmp_path, monkeypatch, name, state):
    """BUILD sets attributes of what it finds on the stack: here, of what later files call."""
    path = tmp_path / "model.pth"
    module, attribute = name.split()
    path.write_bytes(archive(f"c{module}\n{attribute}\n".encode() + state + b"."))
    with pytest.raises(ValueError, match="pickle is broken"):
        read_torch(path)
    path.write_bytes(archive(pickled(monkeypatch, state_dict()), STORAGES))
    assert list(read_torch(path)) == list(EXPECTED)


def loop():
    value = {}
    value["a"] = value
    return value


def laughs():
    value = {"end": 1}
    for _ in range(60):
        value = {"a": value, "b": value}
    return value


@pytest.mark.parametrize(
    ("root", "match"),
    [
        ([1], "holds a list, not a dict of tensors"),
        ({"a": Tensor(A, 1, (3, 4), (4, 1))}, r"'a' reaches out of its 12 values"),
        ({"a": Tensor(A, 0, (3, 4), (5, 1))}, "'a' reaches out of its 12 values"),
        ({"a": Tensor(A, 0, (10**15,), (0,))}, "or repeats them"),
        ({"a": Tensor(A, 0, (2,), (2**70,))}, "'a' reaches out"),
        ({"a": Tensor(A, 0, (0, 2**70), (1, 1))}, "'a' can't have shape"),
        ({"a": Tensor(A, -1, (3,), (1,))}, "sizes that are no counts"),
        ({"a": Tensor(A, 0, (3,), (-1,))}, "sizes that are no counts"),
        ({"a": Tensor(A, 0, (True,), (1,))}, "sizes that are no counts"),
        ({"a": Tensor(A, 0, (3.0,), (1,))}, "sizes that are no counts"),
        ({"a": Tensor(A, 0, (3, 1), (1,))}, "too few strides"),
        ({"a": Tensor(A, 0, 3, (1,))}, "pickle is broken"),
        ({"a": Tensor(("FloatStorage", "9", FLOATS), 0, (3,), (1,))}, "data of 'a' is missing"),
        ({"a": Tensor(("FloatStorage", "0", range(9)), 0, (3,), (1,))}, "has 48 bytes, not 9"),
        (
            {"a": Tensor(A, 0, (3,), (1,)), "b": Tensor(("LongStorage", "0", FLOATS), 0, (), ())},
            "storage '0' with two types or sizes",
        ),
        ({"a.b": Tensor(A, 0, (), ()), "a": {"b": Tensor(A, 0, (), ())}}, "have the name 'a.b'"),
        (loop(), "The dict 'a' stands in it twice"),
        (laughs(), "stands in it twice"),
    ],
)
def test_torch_refused(tmp_path, monkeypatch, root, match):
    path = tmp_path / "model.pth"
    path.write_bytes(archive(pickled(monkeypatch, root), [A]))
    with pytest.raises(ValueError, match=f"Expected a file of tensors.*{match}"):
        read_torch(path)


def test_torch_archive_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    content = pickled(monkeypatch, {"a": Tensor(A, 0, (3,), (1,))})
    one = archive(content, [A])
    broken = bytearray(one)
    broken[one.index(FLOATS.tobytes()) + 3] ^= 1
    for data, match in [
        (archive(content, [A], order=b"big"), "byte order is b'big', not little"),
        (archive(content, [A], compression=zipfile.ZIP_DEFLATED), "compressed"),
        (archive(content, [A], folder="x/y"), "needs one data.pkl in one folder"),
        (bytes(broken), "broken zip archive: Bad CRC"),
        (b"PK\x03\x04" + bytes(99), "broken zip archive"),
        (pickle.dumps({"a": 1}), "begins with"),
        (legacy_file(pickle.dumps({}), [], little=False), "machine of another kind"),
        (legacy_file(pickle.dumps({}), [], keys=["0"]), "not those that its tensors use"),
    ]:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"Expected a file of tensors.*{match}"):
            read_torch(path)
    assert len(read_torch_bytes(path, one)) == 1


def read_torch_bytes(path, content):
    path.write_bytes(content)
    return read_torch(path)
