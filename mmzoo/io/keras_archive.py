"""What a `.keras` file may ask of the machine, looked at before Keras reads it."""

import json
import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from mmzoo.hub.archives import Limits, open_zip

_BLOCK = 1 << 20
_MEMBERS = 20_000
_OBJECTS = 200_000  # groups and arrays of a weights file
# Bytes. A config is parsed into Python objects, some 25 bytes of memory for each of its own.
_TEXTS = {"metadata.json": 1 << 20, "config.json": 32 << 20}
_SUFFIX = ".weights.h5"


def check_keras_archive(path: Path) -> None:
    """Raises unless a `.keras` file is whole, stays in its folder, and grows within limits.

    The limits are those of `mmzoo.hub.archives.Limits`: 100 times the file's own size, but
    no less than 256 MiB. They hold for all members together, and for the arrays of the weights
    file, which HDF5 may compress once more, or not store at all.

    Args:
        path: The file.

    Raises:
        ValueError: If it passes a limit, a member is damaged, is there twice or leads out of the
            archive, or a weights file takes its arrays from other files.
        zipfile.BadZipFile: If it is no zip.
    """
    limits = Limits()
    budget = max(limits.ratio_from, limits.ratio * path.stat().st_size)
    with open_zip(path, _MEMBERS) as archive:
        seen = set()
        for info in archive.infolist():
            name = info.filename
            place = PurePosixPath(name.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts:
                raise ValueError(f"its member {name!r} leads out of the archive")
            if place in seen:
                raise ValueError(f"its member {name!r} is there twice")
            seen.add(place)
            most = _TEXTS.get(name, budget)
            if info.file_size > most:
                raise ValueError(
                    f"its member {name!r} unpacks to {info.file_size:,} bytes. Expected at most "
                    f"{int(most):,}"
                )
        total = sum(info.file_size for info in archive.infolist())
        if total > budget:
            raise ValueError(
                f"it unpacks to {total:,} bytes. Expected at most {int(budget):,} from a file of "
                "its size"
            )
        for info in archive.infolist():
            _read_whole(archive, info)
        for name in _TEXTS:
            if PurePosixPath(name) in seen:
                _check_text(name, archive.read(name))
        for info in archive.infolist():
            if info.filename.endswith(_SUFFIX):
                with archive.open(info) as file:
                    _check_weights(info.filename, file, budget)


def _read_whole(archive, info):
    """Reads a member in pieces: its checksum is compared at the end."""
    try:
        with archive.open(info) as file:
            while file.read(_BLOCK):
                pass
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"its member {info.filename!r} is damaged") from error


def _check_text(name, content):
    try:
        json.loads(content)
    except RecursionError as error:
        raise ValueError(f"its member {name!r} is nested too deep to be a model's") from error


def _check_weights(name: str, file: IO[bytes], budget: float) -> None:
    """Raises unless the arrays of an HDF5 file are in it, and fit into `budget` bytes."""
    import h5py

    total, objects = 0, 0
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"its member {name!r} is damaged: {error}") from error
    with opened as weights:
        groups = [(weights, "/")]
        visited = set()
        while groups:
            group, place = groups.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in visited:  # a link back
                continue
            visited.add(address)
            for key in group:
                objects += 1
                if objects > _OBJECTS:
                    raise ValueError(f"its member {name!r} holds more than {_OBJECTS:,} objects")
                inner = f"{place}{key}"
                if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
                    raise ValueError(f"{inner!r} of its member {name!r} links to another file")
                found = group.get(key)
                if isinstance(found, h5py.Group):
                    groups.append((found, f"{inner}/"))
                elif isinstance(found, h5py.Dataset):
                    if found.external or found.is_virtual:
                        raise ValueError(f"{inner!r} of its member {name!r} lies in another file")
                    size = _size(found)
                    total += size
                    if total > budget:
                        raise ValueError(
                            f"the arrays of its member {name!r}, to {inner!r}, take {total:,} "
                            f"bytes. Expected at most {int(budget):,} from a file of its size"
                        )


def _size(dataset):
    """Bytes of an array, or of one of its chunks where that is larger."""
    sizes = [int(dataset.size or 0)]  # None: an empty one, without a shape
    if dataset.chunks:
        sizes.append(math.prod(dataset.chunks))
    return max(sizes) * dataset.dtype.itemsize
