"""Files of `torch.save`, without torch and without running what they hold.

Such a file is a pickle, which is a program. Here only the few names that a state dict needs
exist, as inert stand-ins that make records; the arrays are made from the records afterwards,
once every size has been checked.
"""

import io
import math
import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np

from mmzoo.pretrained.readers.cursor import Cursor, widen

# In a pickle these are seen as `torch <name>`.
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read_torch(path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file of `torch.save`: a state dict, or dicts that hold some.

    Both formats are read: the zip archive of torch 1.6 and later, and the one before it.

    Args:
        path: File to read (`.pth`, `.pt`, `.bin`).

    Returns:
        Dict of name to array, read-only, in the order of the file. Names of nested dicts
        are joined by dots. bfloat16 becomes float32. Values that are no tensors (the number
        of an epoch, settings) are left out.

    Raises:
        ValueError: If the file needs a name that a dict of tensors does not (the name is
            told, and nothing of it is run), is cut off, compressed or big-endian, a tensor
            reaches out of its data or repeats it, or two tensors have one name.
    """
    cursor = Cursor(path, "a file of tensors by `torch.save`")
    if cursor.data[:2].tobytes() == b"PK":
        root, storages = _read_archive(cursor)
    else:
        root, storages = _read_legacy(cursor)
    records = dict(_tensors(cursor, root))
    return {name: _array(cursor, name, record, storages) for name, record in records.items()}


def _read_archive(cursor):
    """The object of the archive's `data.pkl`, and the bytes of each storage."""
    try:
        with zipfile.ZipFile(cursor.path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
                raise cursor.error("It is compressed, which torch never does.")
            if sum(entry.file_size for entry in entries.values()) > len(cursor.data):
                raise cursor.error("Its entries overlap.")
            pickles = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise cursor.error(f"It needs one data.pkl in one folder: {list(entries)[:9]}.")
            folder = pickles[0].removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in entries and archive.read(order) != b"little":
                raise cursor.error(f"Its byte order is {archive.read(order)!r:.50}, not little.")
            root = _unpickle(cursor, io.BytesIO(archive.read(pickles[0])))
            data = f"{folder}data/"
            content = {
                name.removeprefix(data): archive.read(name)
                for name in entries
                if name.startswith(data)
            }
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise cursor.error(f"It is a broken zip archive: {error}.") from error
    return root, {key: np.frombuffer(value, "u1") for key, value in content.items()}


def _read_legacy(cursor):
    """The same of the format before torch 1.6: pickles, then the storages in one row."""
    with cursor.path.open("rb") as file:
        for expected in (LEGACY_MAGIC, LEGACY_PROTOCOL):
            number = _unpickle(cursor, file)
            if number != expected:
                raise cursor.error(f"It begins with {number!r:.50}, not with {expected}.")
        system = _unpickle(cursor, file)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise cursor.error(f"It was written on a machine of another kind: {system!r:.200}.")
        loader = _Loader(cursor, file)
        root = _unpickle(cursor, file, loader)
        keys = _unpickle(cursor, file)
        cursor.position = file.tell()
    if not isinstance(keys, list) or sorted(keys, key=str) != sorted(loader.storages):
        raise cursor.error("The storages it lists are not those that its tensors use.")
    content = {}
    for key in keys:
        count = cursor.number("q", f"the size of storage {key!r}")
        if count != loader.storages[key].length:
            raise cursor.error(f"Storage {key!r} has two sizes.")
        content[key] = cursor.take(count * loader.storages[key].itemsize, f"storage {key!r}")
    return root, content


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int

    @property
    def itemsize(self):
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


class _Dict(dict):
    """An OrderedDict that keeps no attributes (torch adds `_metadata`)."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


# Stand-ins for what a pickle calls. Without a `__dict__`, so that it can't change them either.
class _MakeDict:
    __slots__ = ()

    def __call__(self, *items):
        return _Dict(*items)


class _MakeTensor:
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *gradient):
        del gradient  # whether it is wanted, and hooks
        numbers = [offset, *shape, *strides]
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor without a storage, or with too few strides")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise pickle.UnpicklingError(f"a tensor with sizes that are no counts: {numbers}")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _MakeParameter:
    __slots__ = ()

    def __call__(self, tensor, *gradient):
        return tensor


class _StorageType(NamedTuple):
    dtype: str


ALLOWED = {
    ("collections", "OrderedDict"): _MakeDict(),
    ("torch._utils", "_rebuild_tensor_v2"): _MakeTensor(),
    ("torch._utils", "_rebuild_parameter"): _MakeParameter(),
    **{("torch", name): _StorageType(dtype) for name, dtype in STORAGES.items()},
}


class _Refused(Exception):
    pass


class _Loader(pickle.Unpickler):
    def __init__(self, cursor, file):
        super().__init__(file)
        self.cursor = cursor
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _Refused(
                f"It needs {f'{module}.{name}'!r}, which a dict of tensors does not: it may be "
                "a whole model, or an attack. Nothing was run. Save the `state_dict()` alone."
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid):
        match pid:
            # The last, of the older format: a window on another storage.
            case ("storage", _StorageType(dtype), str(key), str(), int(count), *views) if (
                count >= 0 and views in ([], [None])
            ):
                storage = _Storage(dtype, key, count)
            case _:
                raise pickle.UnpicklingError(f"an unknown kind of storage, {pid!r:.200}")
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key!r} with two types or sizes")
        return storage


def _unpickle(cursor, file, loader=None):
    try:
        return (loader or _Loader(cursor, file)).load()
    except _Refused as error:
        raise cursor.error(str(error)) from None
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError,
        IndexError, OverflowError, MemoryError, RecursionError, struct.error,
    ) as error:  # fmt: skip
        raise cursor.error(f"Its pickle is broken: {error}.") from error


def _tensors(cursor, root):
    """Pairs of a joined name and a record, for every tensor in nested dicts."""
    if not isinstance(root, dict):
        raise cursor.error(f"It holds a {type(root).__name__.strip('_')}, not a dict of tensors.")
    todo, seen, names = [("", root)], set(), set()
    while todo:
        name, value = todo.pop()
        if isinstance(value, _Tensor):
            if name in names:
                raise cursor.error(f"Two tensors have the name {name!r}.")
            names.add(name)
            yield name, value
        elif isinstance(value, dict):
            if id(value) in seen:
                raise cursor.error(f"The dict {name!r} stands in it twice.")
            seen.add(id(value))
            prefix = f"{name}." if name else ""
            todo += reversed([(f"{prefix}{key}", child) for key, child in value.items()])


def _array(cursor, name, record, storages):
    storage, offset, shape, strides = record
    if storage.key not in storages:
        raise cursor.error(f"The data of {name!r} is missing.")
    data = storages[storage.key]
    if len(data) != storage.length * storage.itemsize:
        raise cursor.error(
            f"The data of {name!r} has {len(data):,} bytes, not {storage.length:,} values of "
            f"{storage.itemsize}."
        )
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and (last >= storage.length or math.prod(shape) > storage.length):
        raise cursor.error(
            f"{name!r} reaches out of its {storage.length:,} values, or repeats them: shape "
            f"{shape}, strides {strides}, offset {offset}."
        )
    dtype = {"bfloat16": "<u2", "?": "u1"}.get(storage.dtype, storage.dtype)
    size = storage.itemsize
    try:
        array = np.ndarray(shape, dtype, data, offset * size, [step * size for step in strides])
    except (ValueError, OverflowError) as error:  # empty, with sizes beyond NumPy's
        raise cursor.error(f"{name!r} can't have shape {shape!r:.200}: {error}") from error
    if storage.dtype == "bfloat16":
        array = widen(array)
    if storage.dtype == "?":
        array = array != 0  # a byte of 2 would be a broken bool
    array.flags.writeable = False
    return array
