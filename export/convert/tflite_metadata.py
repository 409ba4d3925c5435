"""TFLite metadata: names, meaning, ranges and labels inside the file, for Android's tools."""

import zipfile
from pathlib import Path

import flatbuffers
import numpy as np

from mmzoo.tasks import Task, named_answer

LABELS = "labels.txt"
BUFFER = "TFLITE_METADATA"
IDENTIFIER, MODEL_IDENTIFIER = b"M001", b"TFL3"
AXIS_LABELS = 2  # an associated file's type: names of the entries of a tensor's last axis
FEATURE, IMAGE, AUDIO = 1, 2, 4  # kinds of content
RGB = 1
CHANNELS = 1  # mono
LARGEST = 2**31 - 2**24  # bytes of a flatbuffer; a larger file keeps its weights behind it
ALIGNMENT = 16  # bytes: of weights, as the converter writes them


def put_metadata(path: Path, manifest: dict) -> None:
    """Puts metadata into a TFLite file, in place; its operators and weights stay as they are.

    Args:
        path: The file. One of 2 GiB and more is left as it is.
        manifest: The bundle's: `model`, `inputs`, `outputs`, `task`.

    Reference:
        The schema `metadata_schema.fbs` of TensorFlow Lite, version 1.3.0; the labels stand
        in a zip archive behind the model, which every runtime passes over.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if len(content) > LARGEST:
        return
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for weights in model.buffers:
        if weights.offset > 1:  # behind the model, as the quantizer writes them: put back inside
            inside = content[weights.offset : weights.offset + weights.size]
            weights.data, weights.offset, weights.size = np.frombuffer(inside, "uint8"), 0, 0
    subgraph = model.subgraphs[0]
    [signature] = model.signatureDefs
    sides = []
    for side, indices in (("inputs", subgraph.inputs), ("outputs", subgraph.outputs)):
        names = {each.tensorIndex: _text(each.name) for each in getattr(signature, side)}
        tensors = {tensor["name"]: tensor for tensor in manifest[side]}
        # In the order of the file, which need not be that of the manifest.
        sides.append([tensors[names[index]] for index in indices])
    task = Task.from_json(manifest["task"])
    named = named_answer(task)
    labels = named.classes if named else None
    buffer = schema.BufferT()
    buffer.data = _metadata(manifest, task, *sides, named and named.name)
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = _Aligned(1024)
    builder.Finish(model.Pack(builder), MODEL_IDENTIFIER)
    path.write_bytes(bytes(builder.Output()))
    if labels:
        with zipfile.ZipFile(path, "a") as archive:  # its time: the same file each time
            archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(labels) + "\n")


class _Aligned(flatbuffers.Builder):
    def StartVector(self, elemSize, numElems, alignment):
        wide = ALIGNMENT if elemSize == 1 else alignment
        return super().StartVector(elemSize, numElems, wide)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _metadata(manifest, task, inputs, outputs, labelled):
    builder = flatbuffers.Builder(1024)
    taken = [_tensor(builder, tensor, task, None) for tensor in inputs]
    given = [_tensor(builder, tensor, task, labelled) for tensor in outputs]
    subgraph = _table(
        builder, 10, {0: _string(builder, "portable"), 2: _vector(builder, taken),
                      3: _vector(builder, given)},
    )  # fmt: skip
    root = _table(
        builder, 8,
        {0: _string(builder, manifest["model"]),
         1: _string(builder, f"Exported by mmzoo {manifest['mmzoo']}. Bind tensors by the names "
                             "of the signature 'portable'."),
         3: _vector(builder, [subgraph]), 7: _string(builder, "1.3.0")},
    )  # fmt: skip
    builder.Finish(root, IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder, tensor, task, labelled):
    kind, words, bounds = _meaning(tensor)
    properties = {
        IMAGE: lambda: _table(builder, 2, {}, {0: ("Int8", RGB)}),
        AUDIO: lambda: _table(
            builder, 2, {},
            {0: ("Uint32", task.feature(tensor["name"]).sample_rate), 1: ("Uint32", CHANNELS)}),
        FEATURE: lambda: _table(builder, 0, {}),
    }[kind]()  # fmt: skip
    content = _table(builder, 3, {1: properties}, {0: ("Uint8", kind)})
    fields = {
        0: _string(builder, tensor["name"]), 1: _string(builder, words), 3: content,
    }  # fmt: skip
    if bounds:
        low, high = (_floats(builder, [bound]) for bound in bounds)
        fields[5] = _table(builder, 2, {0: high, 1: low})
    if tensor["name"] == labelled:
        name = _string(builder, LABELS)
        about = _string(builder, "Class names, one a line, in the order of the scores.")
        file = _table(builder, 5, {0: name, 1: about}, {2: ("Int8", AXIS_LABELS)})
        fields[6] = _vector(builder, [file])
    return _table(builder, 7, fields)


def _meaning(tensor):
    """Kind of content, a sentence, and the range of values where there is one."""
    kind = tensor.get("kind", "")
    if tensor.get("presence_of"):
        return FEATURE, f"Whether {tensor['presence_of']} is there.", None
    if tensor.get("tokens_of"):
        return FEATURE, f"Token ids of {tensor['tokens_of']}.", None
    if kind == "image":
        return IMAGE, "A picture: RGB, 0 to 255, rows from the top.", (0, 255)
    if kind == "text" and tensor["dtype"] == "string":
        return FEATURE, "Text: a UTF-8 string.", None
    if kind == "text":
        return FEATURE, "Text: UTF-8 bytes, zero padded.", (0, 255)
    if kind == "audio":
        return AUDIO, "Sound: mono samples, -1 to 1.", (-1, 1)
    return FEATURE, f"{tensor['dtype']} of shape {tensor['shape']}.", None


def _table(builder, slots, offsets, numbers=None):
    builder.StartObject(slots)
    for slot, (kind, value) in (numbers or {}).items():
        getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _string(builder, words):
    return builder.CreateString(words)


def _vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values):
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
