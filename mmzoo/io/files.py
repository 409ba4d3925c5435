"""Files, written so that nobody ever sees half of one. Needs no TensorFlow."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from mmzoo.io.working_folder import OLD, exchange, working_folder


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to, which takes the place of `path` on success.

    On any error, and on an interrupt, what stood at `path` stays as it was and nothing is
    left beside it. What a killed process left there is removed by the next that writes there,
    see `mmzoo.io.working_folder`. What was written is flushed to the disk first, so that
    a machine that stops leaves the old or the new.

    A file is replaced in one step everywhere. So is a folder on Linux, on file systems that
    exchange two names (ext4, XFS, Btrfs, tmpfs, overlay). Elsewhere a folder is moved aside
    first: for a moment nothing stands at `path`, and if the process is killed in that moment
    the next that writes there moves the old one back.
    """
    path = Path(os.path.abspath(path))
    with working_folder(path) as folder:
        new = folder / "new" / path.name
        new.parent.mkdir()
        yield new
        flush(new)
        _put(new, path, folder / OLD / path.name)
        _flush_folder(path.parent)


def _put(new, path, aside):
    if not path.is_dir() and not new.is_dir():
        os.replace(new, path)
        return
    if not os.path.lexists(path):
        os.rename(new, path)
        return
    if exchange(new, path):
        return
    aside.parent.mkdir()
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise


def flush(path: Path) -> None:
    """Has the disk keep a file, or a folder with all that is in it."""
    if not path.is_dir():
        number = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(number)
        finally:
            os.close(number)
        return
    for inner, _, names in os.walk(path):
        for name in names:
            if not os.path.islink(file_path := Path(inner, name)):
                flush(file_path)
        _flush_folder(Path(inner))


def _flush_folder(path):
    if os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # no such thing on this file system
            raise
    finally:
        os.close(number)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value) -> None:
    """Writes readable JSON in one step; NaN becomes null, which every reader takes."""
    text = json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"
    with atomic_write(path) as place:
        place.write_text(text, encoding="utf-8")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return None
    return value


def check_replaceable(path: Path, ours: set[str], needs: str) -> None:
    """Raises ValueError unless what we write may take the place of `path`.

    It may where there is nothing, an empty folder, or a folder that holds `needs` and no name
    but `ours`.
    """
    if path.is_dir():
        names = {file.name for file in path.iterdir()}
        if not names or (needs in names and names <= ours):
            return
    elif not path.exists():
        return
    raise ValueError(
        f"Expected a new folder, or an old export or module to replace. Received: {path}, which "
        "holds something else. Name another folder."
    )
