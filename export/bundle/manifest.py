"""What a bundle says of itself: named tensors, files, checksums. Needs no TensorFlow."""

import dataclasses
import os
from pathlib import Path

from mmzoo.export.bundle.checksums import SIGNATURE, SUMS
from mmzoo.export.bundle.formats import PATHS
from mmzoo.io.files import check_replaceable
from mmzoo.io.regular_files import check_regular_files, read_json

MANIFEST = "manifest.json"
SCHEMA = 6  # goes up with each change of what a bundle holds
FOLDER_SERVING = "serving"
FOLDER_MOBILE = "mobile"
BUNDLE_NAMES = {
    MANIFEST, "certificate.json", "reference.npz", "samples.npz", "calibration.npz",
    "MODEL_CARD.md", SUMS, SIGNATURE,
    FOLDER_SERVING, FOLDER_MOBILE, *(path.split("/")[0] for path in PATHS.values()),
}  # fmt: skip


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
    from mmzoo.export.bundle.manifest_checks import check_manifest

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


def check_bundle_place(path: Path) -> None:
    """Raises ValueError unless a bundle may be written at `path`."""
    check_replaceable(path, BUNDLE_NAMES, MANIFEST)


def check_file(path: Path) -> None:
    """Raises ValueError if a file is to be written where a folder stands."""
    if path.is_dir():
        raise ValueError(f"Expected the path of a file to write. Received: {path}, a folder.")
