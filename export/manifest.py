"""What a bundle says of itself: named tensors, files, checksums. Needs no TensorFlow."""

import dataclasses
import os
import re
from pathlib import Path

from mmzoo.export.regular_files import check_regular_files, read_json
from mmzoo.files import check_replaceable, sha256

FORMATS = ("saved_model", "tflite", "onnx")
FIXED = "tflite-batch1"  # one sample of fixed size: GPU delegates and browsers want no other
QUANTIZED = (
    "tflite-float16", "tflite-dynamic", "tflite-int8", "tflite-mixed", "onnx-dynamic", "onnx-int8",
)  # fmt: skip
VARIANTS = (FIXED, *QUANTIZED)
# Text comes in as strings; and the package whose operators read them. Never among ALL: who runs
# such a file needs that package too.
STRINGS = {"onnx-strings": "onnxruntime-extensions", "tflite-strings": "tensorflow-text"}
ALL = tuple(name for name in (*FORMATS, *VARIANTS) if name != "tflite-mixed")
FILES = {"saved_model": "1", "tflite": "model.tflite", "onnx": "model.onnx"}
PATHS = {
    name: f"{name}/{FILES[name.partition('-')[0]]}" for name in (*FORMATS, *VARIANTS, *STRINGS)
}
# Signatures that a SavedModel may have besides those of the whole model; see `export.parts`.
PARTS = re.compile(r"encode_[A-Za-z_]\w*|fuse|explain|encoded")
MANIFEST = "manifest.json"
SCHEMA = 5  # goes up with each change of what a bundle holds
FOLDER_SERVING = "serving"
FOLDER_MOBILE = "mobile"
SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"  # of all other files, the sums among them: see `export.signing`
BUNDLE_NAMES = {
    MANIFEST, "certificate.json", "reference.npz", "samples.npz", "calibration.npz",
    "MODEL_CARD.md", SUMS, SIGNATURE,
    FOLDER_SERVING, FOLDER_MOBILE, *(path.split("/")[0] for path in PATHS.values()),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A named tensor. `shape` holds ints, and None where a size is free (the batch first).

    `tokens_of` names the text that token ids are made of, by the SavedModel's signature
    `tokenize`; `presence_of` the modality of which a bool `(batch,)` says whether it is there.
    """

    name: str
    dtype: str
    shape: tuple
    tokens_of: str = ""
    presence_of: str = ""

    def to_json(self) -> dict:
        described = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        roles = {"tokens_of": self.tokens_of, "presence_of": self.presence_of}
        return described | {role: value for role, value in roles.items() if value}

    @classmethod
    def from_json(cls, data: dict) -> "Tensor":
        roles = {role: data.get(role, "") for role in ("tokens_of", "presence_of")}
        return cls(data["name"], data["dtype"], tuple(data["shape"]), **roles)

    @property
    def is_text(self) -> bool:
        """Text: token ids, or UTF-8 bytes, which every uint8 `(batch, length)` is here."""
        return bool(self.tokens_of) or (self.dtype == "uint8" and len(self.shape) == 2)


def runtime_of(name: str) -> str:
    """The format that a variant is a file of: "tflite" of "tflite-int8"."""
    return name.partition("-")[0]


def reader_of(name: str) -> str:
    """What runs an artifact: one of `runtimes.worker.RUNTIMES`."""
    if name in STRINGS:
        return {"onnx": "onnx with extensions", "tflite": "tflite with tensorflow-text"}[
            runtime_of(name)
        ]
    return runtime_of(name)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder, manifest and certificate, as read."""

    path: Path
    manifest: dict
    certificate: dict


def find_bundle(path) -> Path:
    """The folder of a bundle, given it or a run that holds one; of regular files alone.

    Nothing in it is read.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If it holds a link, a pipe, a device, or a file too large to read.
    """
    path = Path(path)
    for folder in (path, path / "bundle"):
        if os.path.lexists(folder / MANIFEST):
            break
    else:
        raise FileNotFoundError(
            f"Expected a bundle: a folder with manifest.json, or with bundle/. Received: {path}."
        )
    try:
        check_regular_files(folder)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Expected a bundle of regular files. Received: {folder}, where {error}. Nothing of "
            "it was read. Get it again from whoever made it."
        ) from error
    return folder


def load_bundle(path) -> Bundle:
    """Reads the manifest and certificate of a bundle, or of a run that holds one.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If its manifest or certificate is not what we wrote, or `find_bundle` finds
            something else than regular files.
    """
    from mmzoo.export.manifest_checks import check_manifest

    folder = find_bundle(path)
    try:
        manifest = read_json(folder / MANIFEST)
        certificate = read_json(folder / "certificate.json")
        if manifest.get("schema") != SCHEMA:
            raise ValueError(f"its manifest is of schema {manifest.get('schema')}, not {SCHEMA}")
        check_manifest(manifest)
        _ = certificate["holds"], certificate["formats"], certificate["manifest_sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected a bundle that mmzoo wrote. Received: {folder}, which can't be read: "
            f"{type(error).__name__}: {error}. Export the model again."
        ) from error
    return Bundle(folder, manifest, certificate)


def signature_names(name: str, inputs: list[dict], outputs: list[dict]) -> list[str]:
    """The signatures that a format has for these tensors.

    A SavedModel has `serving_default`, with text as strings, beside `portable`; unless text
    comes in and an output has a free axis: strings carry no length that all would share.
    """
    if name == "saved_model" and has_string_signature(inputs, outputs):
        return ["serving_default", "portable"]
    return ["portable"]


def has_string_signature(inputs: list[dict], outputs: list[dict]) -> bool:
    """Whether a model of these tensors can take its texts as strings, if it takes any."""
    text = any(Tensor.from_json(tensor).is_text for tensor in inputs)
    free = any(size is None for tensor in outputs for size in tensor["shape"][1:])
    return not (text and free)


def with_strings(inputs: list[dict]) -> list[dict]:
    """A model's inputs, as JSON, with a string `(batch,)` in place of each text."""
    found = {}
    for each in inputs:
        tensor = Tensor.from_json(each)
        source = tensor.tokens_of or tensor.name
        text = {"name": source, "dtype": "string", "shape": [None]}
        found[source] = text if tensor.is_text else each
    return list(found.values())


def changed_files(folder: Path, manifest: dict, name: str) -> list[str]:
    """Files of one format that are not as the manifest's checksums say, in words."""
    expected = manifest["formats"][name]["files"]
    top = folder / PATHS[name].split("/")[0]
    found = {p.relative_to(folder).as_posix() for p in top.rglob("*") if not p.is_dir()}
    breaches = [f"{file}: no part of the bundle" for file in sorted(found - set(expected))]
    breaches += _strange(folder, top, expected)
    for file, digest in expected.items():
        actual = sha256(folder / file) if file in found else "no file"
        if actual != digest:
            breaches.append(f"{file}: expected SHA-256 {digest[:12]}…, found {actual[:12]}…")
    return breaches


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` of every file of a bundle, as `sha256sum --check` reads it."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def changed_sums(folder: Path) -> list[str]:
    """What is not as `SHA256SUMS` says, in words."""
    path = folder / SUMS
    if not path.is_file():
        return [f"{SUMS}: no such file"]
    expected = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        expected[name] = digest
    found = _files(folder)
    breaches = [f"{name}: not in {SUMS}" for name in found if name not in expected]
    breaches += _strange(folder, folder, expected)
    for name, digest in expected.items():
        if name not in found:
            breaches.append(f"{name}: in {SUMS}, but not there")
        elif sha256(folder / name) != digest:
            breaches.append(f"{name}: not as {SUMS} says")
    return breaches


def _files(folder):
    """Paths of a bundle's files, but for the sums and the signature, which is made of them."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return sorted(names - {SUMS, SIGNATURE})


def _strange(folder, top, expected):
    """Links, and folders that hold nothing of the bundle: a server might follow them."""
    breaches = []
    for path in sorted(top.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            breaches.append(f"{name}: a link, no part of the bundle")
        elif name == "saved_model/1/assets":
            continue  # TensorFlow writes it empty too
        elif path.is_dir() and not any(file.startswith(f"{name}/") for file in expected):
            breaches.append(f"{name}: a folder that is no part of the bundle")
    return breaches


def scores_output(manifest: dict) -> str | None:
    """The output that holds a score a class, by name; None if that is not clear.

    It is the one 2D output as wide as the list of classes, else the one called
    `probability`.
    """
    tables = {t["name"]: t["shape"][1] for t in manifest["outputs"] if len(t["shape"]) == 2}
    tables = {name: width for name, width in tables.items() if width != 1}  # of one none is best
    classes = manifest["classes"]
    if classes is not None:
        tables = {name: width for name, width in tables.items() if width == len(classes)}
        if len(tables) == 1:
            return next(iter(tables))
    return "probability" if "probability" in tables else None


def check_bundle_place(path: Path) -> None:
    """Raises ValueError unless a bundle may be written at `path`."""
    check_replaceable(path, BUNDLE_NAMES, MANIFEST)


def check_file(path: Path) -> None:
    """Raises ValueError if a file is to be written where a folder stands."""
    if path.is_dir():
        raise ValueError(f"Expected the path of a file to write. Received: {path}, a folder.")
