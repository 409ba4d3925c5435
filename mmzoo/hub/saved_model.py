"""What a SavedModel folder holds, and whether it is whole, read without TensorFlow.

The graph is never built and no function runs. The few messages that are read are declared
here with TensorFlow's field numbers, so that a listing of the caches costs milliseconds.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

from mmzoo.io.dtypes import TENSORFLOW

_VARIABLE_OPS = {"Variable", "VariableV2", "VarHandleOp"}
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends every LevelDB table
# Field: name, number, type; "*" marks a repeated one. A map is a repeated (key, value).
_MESSAGES = {
    "SavedModel": "schema 1 int64, meta_graphs 2 *MetaGraph",
    "MetaGraph": "info 1 Info, graph 2 Graph, signatures 5 *NamedSignature, "
    "assets 6 *Asset, objects 7 Objects",
    "Info": "tags 4 *string, tensorflow_version 5 string",
    "Graph": "node 1 *Named",
    "Named": "name 1 string, op 2 string",
    "NamedSignature": "key 1 string, value 2 Signature",
    "Signature": "inputs 1 *NamedTensor, outputs 2 *NamedTensor",
    "NamedTensor": "key 1 string, value 2 Tensor",
    "Tensor": "dtype 2 int32, shape 3 Shape",
    "Shape": "dim 2 *Dim, unknown_rank 3 bool",
    "Dim": "size 1 int64",
    "Asset": "filename 2 string",
    "Objects": "nodes 1 *Object",
    "Object": "children 1 *Child, variable 7 Variable",
    "Child": "name 2 string",
    "Variable": "dtype 1 int32, shape 2 Shape, trainable 3 bool, name 6 string",
    "BundleHeader": "num_shards 1 int32",
    "BundleEntry": "dtype 1 int32, shape 2 Shape, shard_id 3 int32, offset 4 int64, size 5 int64",
}


class SavedModelError(ValueError):
    """A folder that holds no whole SavedModel; says which file and what is wrong with it."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's dtype and shape: a tuple with None where a size is free, or None."""

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class VariableSpec(TensorSpec):
    """A variable's dtype, shape and name, and whether it may be trained."""

    name: str
    trainable: bool


@dataclass(frozen=True)
class SavedModel:
    """What `read_saved_model` found.

    Attributes:
        tags: Sorted tags of the graph, `("serve",)` as a rule.
        signatures: Signature name to its dicts "inputs" and "outputs", of `TensorSpec`.
        variables: `VariableSpec` of each variable; names may repeat.
        reusable: Whether the root is callable, so that it may be fine-tuned.
        tf1: Whether it is of TensorFlow 1's format: a graph and no objects.
        assets: Names of the files under `assets/`.
        tensorflow_version: Of the writer.
    """

    tags: tuple[str, ...] = ()
    signatures: dict = field(default_factory=dict)
    variables: tuple[VariableSpec, ...] = ()
    reusable: bool = False
    tf1: bool = False
    assets: tuple[str, ...] = ()
    tensorflow_version: str = ""


def read_saved_model(folder: str | Path) -> SavedModel:
    """Reads a SavedModel's description, and checks that no file of it is missing or cut.

    Every file that the description names must be there, and every data shard as long as the
    index of the variables says. Values are not read.

    Raises:
        SavedModelError: If the folder holds no whole SavedModel.
    """
    folder = Path(folder)
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise SavedModelError("there is no saved_model.pb")
    model = _parse("SavedModel", path.read_bytes(), "saved_model.pb")
    if not model.meta_graphs:
        raise SavedModelError("saved_model.pb is empty")
    graph = model.meta_graphs[0]
    for leftover in folder.rglob("*"):
        if leftover.name.endswith((".tmp", ".lock", ".part", ".partial", ".incomplete")):
            raise SavedModelError(f"{leftover.relative_to(folder)} is left of a broken-off copy")
    for asset in graph.assets:
        if ".." in Path(asset.filename).parts or not (folder / "assets" / asset.filename).is_file():
            raise SavedModelError(f"assets/{asset.filename} is missing")
    objects = [node.variable for node in graph.objects.nodes if node.HasField("variable")]
    stored: tuple = ()
    if objects or any(node.op in _VARIABLE_OPS for node in graph.graph.node):
        stored = _read_index(folder / "variables")
    tf1 = not graph.HasField("objects")
    return SavedModel(
        tags=tuple(sorted(graph.info.tags)),
        signatures={
            entry.key: {
                "inputs": _specs(entry.value.inputs),
                "outputs": _specs(entry.value.outputs),
            }
            for entry in graph.signatures
            if not entry.key.startswith("__saved_model_")
        },
        variables=stored if tf1 else tuple(_variable(v, v.name, v.trainable) for v in objects),
        reusable=not tf1
        and any(child.name == "__call__" for child in graph.objects.nodes[0].children),
        tf1=tf1,
        assets=tuple(sorted(asset.filename for asset in graph.assets)),
        tensorflow_version=graph.info.tensorflow_version,
    )


def with_one_signature(content: bytes, name: str) -> bytes:
    """A `saved_model.pb` again, with one of its signatures alone, as `serving_default`.

    For readers that know that one name only. All else is kept as it is.

    Args:
        content: Of the file.
        name: Of the signature.

    Raises:
        SavedModelError: If the file is damaged, or has no such signature.
    """
    model = _parse("SavedModel", content, "saved_model.pb")
    found = {entry.key: entry for graph in model.meta_graphs for entry in graph.signatures}
    if name not in found:
        raise SavedModelError(f"expected the signature {name!r}. Found: {sorted(found)}")
    chosen = found[name].value.SerializeToString()
    for graph in model.meta_graphs:
        del graph.signatures[:]
        graph.signatures.add(key="serving_default").value.ParseFromString(chosen)
    return model.SerializeToString()


def _specs(tensors):
    return {entry.key: _spec(entry.value) for entry in sorted(tensors, key=lambda e: e.key)}


def _spec(message):
    dims = tuple(None if dim.size < 0 else dim.size for dim in message.shape.dim)
    known = message.HasField("shape") and not message.shape.unknown_rank
    return TensorSpec(TENSORFLOW.get(message.dtype, str(message.dtype)), dims if known else None)


def _variable(message, name, trainable):
    spec = _spec(message)
    return VariableSpec(spec.dtype, spec.shape, name, trainable)


def _read_index(folder):
    """`VariableSpec` of a checkpoint's tensors; raises if a data shard is too short."""
    path = folder / "variables.index"
    if not path.is_file():
        raise SavedModelError("variables/variables.index is missing")
    try:
        entries = dict(_table_entries(path.read_bytes()))
    except (IndexError, ValueError) as error:
        raise SavedModelError(f"variables/variables.index is no index: {error}") from error
    shards = _parse("BundleHeader", entries.pop(b"", b""), "variables.index").num_shards
    ends, found = dict.fromkeys(range(shards), 0), []
    for name, value in entries.items():
        entry = _parse("BundleEntry", value, "variables.index")
        if entry.shard_id not in ends:
            raise SavedModelError("variables/variables.index names a shard that it does not have")
        ends[entry.shard_id] = max(ends[entry.shard_id], entry.offset + entry.size)
        text = name.decode("utf-8", "replace")
        if (
            not text.startswith("_CHECKPOINTABLE") and "\0" not in text
        ):  # not a slice, not the graph
            found.append(_variable(entry, text, False))
    for shard, end in ends.items():
        name = f"variables.data-{shard:05d}-of-{shards:05d}"
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size is None:
            raise SavedModelError(f"variables/{name} is missing")
        if size < end:
            raise SavedModelError(f"variables/{name} has {size:,} of its {end:,} bytes")
    return tuple(found)


def _table_entries(data):
    """The (key, value) pairs of an uncompressed LevelDB table."""
    if len(data) < 48 or data[-8:] != _TABLE_MAGIC:
        raise ValueError("it does not end as a table does")
    footer, at = data[-48:], 0
    for _ in range(2):  # the place of the meta index, which holds nothing here
        _, at = _varint(footer, at)
    start, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    for _, place in _block_entries(data, start, size):
        start, at = _varint(place, 0)
        yield from _block_entries(data, start, _varint(place, at)[0])


def _block_entries(data, start, size):
    end = start + size
    if end + 5 > len(data) or size < 4:
        raise ValueError("a block lies outside the file")
    if data[end]:
        raise ValueError("a block is compressed")
    restarts = int.from_bytes(data[end - 4 : end], "little")
    at, stop, key = start, end - 4 - 4 * restarts, b""
    while at < stop:
        shared, at = _varint(data, at)
        own, at = _varint(data, at)
        length, at = _varint(data, at)
        key = key[:shared] + data[at : at + own]
        yield key, data[at + own : at + own + length]
        at += own + length


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _parse(name, data, file):
    from google.protobuf.message import DecodeError

    try:
        return _message_classes()[name].FromString(data)
    except DecodeError as error:
        raise SavedModelError(f"{file} does not parse as a {name}: it is cut or damaged") from error


@functools.cache
def _message_classes():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    scalars = {"int32": 5, "int64": 3, "bool": 8, "string": 9}
    file = descriptor_pb2.FileDescriptorProto(name="mmzoo.proto", package="m", syntax="proto3")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for text in fields.split(", "):
            name, number, of = text.split()
            entry = declared.field.add(name=name, number=int(number), label=3 if "*" in of else 1)
            entry.type = scalars.get(of.lstrip("*"), 11)  # 11 is a message
            if entry.type == 11:
                entry.type_name = f".m.{of.lstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"m.{name}"))
        for name in _MESSAGES
    }
