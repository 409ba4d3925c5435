"""What a bundle says of itself: named tensors, files, checksums. Needs no TensorFlow."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PATHS = {
    "saved_model": "saved_model/1",
    "tflite": "tflite/model.tflite",
    "onnx": "onnx/model.onnx",
}
FORMATS = tuple(PATHS)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A named tensor. `shape` holds ints, and None where a size is free (the batch first)."""

    name: str
    dtype: str
    shape: tuple

    def to_json(self) -> dict:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @property
    def is_text(self) -> bool:
        """UTF-8 bytes: by convention every uint8 input of shape `(batch, length)`."""
        return self.dtype == "uint8" and len(self.shape) == 2


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder, manifest and certificate, as read."""

    path: Path
    manifest: dict
    certificate: dict


def load_bundle(path) -> Bundle:
    """Reads the manifest and certificate of a bundle, or of a run that holds one.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If its manifest or certificate is not what we wrote.
    """
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / "manifest.json").is_file():
            break
    else:
        raise FileNotFoundError(
            f"Expected a bundle: a folder with manifest.json, or with bundle/. Received: {path}."
        )
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        certificate = json.loads((folder / "certificate.json").read_text())
        for entry in manifest["formats"].values():
            for name in (entry["path"], *entry["files"]):
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"the path {name!r} leads out of the bundle")
            for signature in (manifest, *entry["signatures"].values()):
                for tensor in (*signature["inputs"], *signature["outputs"]):
                    _ = tensor["name"], tensor["dtype"], tensor["shape"]
        for key in ("source", "sha256", "shapes"):
            _ = manifest["samples"][key]
        _ = manifest["reference_sha256"], manifest["classes"], certificate["holds"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected a bundle that mmzoo wrote. Received: {folder}, which can't be read: "
            f"{type(error).__name__}: {error}. Export the model again."
        ) from error
    return Bundle(folder, manifest, certificate)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value) -> None:
    """Writes readable JSON; NaN becomes null, which every reader takes."""
    path.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return None
    return value


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to, which takes the place of `path` on success.

    On any error, and on an interrupt, what stood at `path` stays as it was and nothing is
    left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = folder / path.name, folder / "old" / path.name
    try:
        yield new
        if path.is_dir():  # a folder can't be replaced in one rename, as a file can
            old.parent.mkdir()
            os.rename(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.rename(old, path)
        raise
    finally:
        shutil.rmtree(folder)


def check_replaceable(path: Path) -> None:
    """Raises ValueError unless a bundle may be written to `path`.

    It may where there is nothing, an empty folder, or an old bundle.
    """
    if path.is_dir() and ((path / "manifest.json").is_file() or not any(path.iterdir())):
        return
    if path.exists():
        raise ValueError(
            f"Expected a new folder or an old bundle to replace. Received: {path}, which holds "
            "something else. Name another folder."
        )
