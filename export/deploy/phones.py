"""Code for phones: how an Android and an iOS app run a bundle's TFLite files, by name."""

import math
from pathlib import Path

import jinja2
import numpy as np

from mmzoo.export.bundle.formats import FIXED, STRINGS, runtime_of
from mmzoo.export.bundle.manifest import FOLDER_MOBILE
from mmzoo.export.convert.tflite_metadata import LABELS
from mmzoo.tasks import Audio, Image, Task, Tensor, named_answer
from mmzoo.tasks.features.image import NONE

KOTLIN = {"float32": "Float", "int32": "Int", "int64": "Long", "uint8": "Byte", "bool": "Boolean"}
SWIFT = {"float32": "Float32", "int32": "Int32", "int64": "Int64", "uint8": "UInt8", "bool": "Bool"}
# How the bytes of an output become an array of `size` values.
KOTLIN_READ = {
    "float32": "FloatArray({size}).also {{ {buffer}.asFloatBuffer().get(it) }}",
    "int32": "IntArray({size}).also {{ {buffer}.asIntBuffer().get(it) }}",
    "int64": "LongArray({size}).also {{ {buffer}.asLongBuffer().get(it) }}",
    "uint8": "ByteArray({size}).also {{ {buffer}.get(it) }}",
    "bool": "BooleanArray({size}) {{ k -> {buffer}.get(k) != 0.toByte() }}",
}
DTYPES = {"image": "uint8", "text": "uint8", "audio": "float32"}  # that the classes make
ROLES = {"image": "picture", "text": "text", "audio": "sound"}  # by kind of feature
FILES = {"Mmzoo.kt": "mobile.kt.jinja", "Mmzoo.swift": "mobile.swift.jinja"}


def write_mobile(place: Path, manifest: dict) -> None:
    """Writes `mobile/` of a bundle: a class in Kotlin and in Swift, and the labels.

    Nothing is written for a bundle without a TFLite file of builtin operators that takes any
    size, or whose outputs have a free axis beside the batch, with a dtype that the two
    languages' arrays here don't have, or whose images are brought to size, or whose sounds are
    sampled, in more than one way.

    Args:
        place: The bundle's folder.
        manifest: Its manifest.
    """
    files = [
        entry["path"]
        for name, entry in manifest["formats"].items()
        if runtime_of(name) == "tflite" and name not in (*STRINGS, FIXED)
    ]
    tensors = [*manifest["inputs"], *manifest["outputs"]]
    if not files or any(tensor["dtype"] not in KOTLIN for tensor in tensors):
        return
    if any(None in tensor["shape"][1:] for tensor in manifest["outputs"]):
        return
    task = Task.from_json(manifest["task"])
    fits = [each.fit for each in task.features if isinstance(each, Image)]
    rates = [each.sample_rate for each in task.features if isinstance(each, Audio)]
    if len(set(fits)) > 1 or len(set(rates)) > 1:
        return
    folder = place / FOLDER_MOBILE
    folder.mkdir()
    named = named_answer(task)
    if named:
        (folder / LABELS).write_text("\n".join(named.classes) + "\n", encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["kotlin"] = kotlin_string
    environment.filters["swift"] = swift_string
    values = {
        "model": manifest["model"], "version": manifest["mmzoo"], "files": files,
        "scores": named and named.name,
        "inputs": [_input(t, manifest, task) for t in manifest["inputs"]],
        "outputs": [_output(t, k) for k, t in enumerate(manifest["outputs"])],
    }  # fmt: skip
    values["sample_rate"] = rates[0] if rates else 0
    values["fit"] = fits[0] if fits else NONE
    values["roles"] = {each["role"] for each in values["inputs"]}
    for name, template in FILES.items():
        text = environment.get_template(template).render(values)
        (folder / name).write_text(text, encoding="utf-8")


def _input(tensor, manifest, task):
    """What the templates need of an input: its role, and how it is written in each language."""
    shape = tensor["shape"][1:]
    roles = [t["presence_of"] for t in manifest["inputs"] if t.get("presence_of")]
    role, words = "other", f"{tensor['dtype']} of shape {shape}"
    feature = None if tensor.get("presence_of") else task.feature(Tensor.from_json(tensor).feature)
    if feature is None:
        role = "presence"
    elif feature.kind in ("number", "category"):
        words = feature.words()
    elif tensor["dtype"] == DTYPES.get(feature.kind) and not tensor.get("tokens_of"):
        role = ROLES[feature.kind]
        words = feature.words() + "; its UTF-8 bytes are what the model reads" * (role == "text")
    if role == "picture":
        shape = [*(feature.size or (None, None)), 3]
        words += f"; of another size, {feature.fit_words()}" * (feature.size is not None)
    elif role in ROLES.values() and None not in shape:
        words += f"; fitted to {' x '.join(map(str, shape))}"
    optional = tensor["name"] in roles
    return {
        "name": tensor["name"], "role": role, "of": tensor.get("presence_of", ""),
        "optional": optional, "words": words + "; none where it is absent" * optional,
        # The size of what is absent: one that the certificate has seen.
        "kotlin": _kotlin(tensor, role, shape, manifest["samples"]["shapes"][tensor["name"]]),
        "swift": _swift(tensor, role, shape, manifest["samples"]["shapes"][tensor["name"]]),
    }  # fmt: skip


def _kotlin(tensor, role, shape, absent):
    """Its type, the value of one sample `it`, and that of none."""
    kind = KOTLIN[tensor["dtype"]]
    sizes = ["null" if size is None else str(size) for size in shape]
    zeros = f"{kind}Array({absent[-1]})" if absent else ""
    for size in reversed(absent[:-1]):
        zeros = f"Array({size}) {{ {zeros} }}"
    array = f"{kind}Array"
    for _ in shape[1:]:
        array = f"Array<{array}>"
    type_, value = {
        "picture": ("Bitmap", f"arrayOf(pixels(it, {', '.join(sizes[:2])}))"),
        "text": ("String", f"arrayOf(utf8(it, {sizes[0] if sizes else ''}))"),
        "sound": ("FloatArray", f"arrayOf(sound(it, {sizes[0] if sizes else ''}))"),
    }.get(role, (array, "arrayOf(it)") if shape else (kind, f"{kind.lower()}ArrayOf(it)"))
    return {"type": type_, "value": value, "absent": f"arrayOf({zeros})"}


def _swift(tensor, role, shape, absent):
    kind = SWIFT[tensor["dtype"]]
    sizes = ["nil" if size is None else str(size) for size in shape]
    type_, value = {
        "picture": ("CGImage", f"pixels($0, {', '.join(sizes[:2])})"),
        "text": ("String", f"utf8($0, {sizes[0] if sizes else ''})"),
        "sound": ("[Float32]", f"sound($0, {sizes[0] if sizes else ''})"),
    }.get(role, (f"(values: [{kind}], shape: [Int])", "bytes($0.values, $0.shape)"))
    count = "*".join(map(str, absent)) or "1"
    zero = "false" if kind == "Bool" else "0"
    none = f"bytes([{kind}](repeating: {zero}, count: {count}), {list(absent)})"
    return {"type": type_, "value": value, "absent": none}


def _output(tensor, index):
    size = math.prod(tensor["shape"][1:])
    dtype = tensor["dtype"]
    return {
        "name": tensor["name"], "shape": tensor["shape"][1:], "size": size, "index": index,
        "bytes": size * np.dtype(dtype).itemsize, "kotlin": f"{KOTLIN[dtype]}Array",
        "read": KOTLIN_READ[dtype].format(size=size, buffer=f"out{index}"),
        "swift": f"[{SWIFT[dtype]}]",
    }  # fmt: skip


def kotlin_string(text: str) -> str:
    """A literal of Kotlin."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def swift_string(text: str) -> str:
    """A literal of Swift."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
