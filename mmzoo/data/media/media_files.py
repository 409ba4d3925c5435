"""Paths of a manifest, and the content of the files that they name."""

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

MAX_FILE_BYTES = 1 << 30  # of an image or audio file: it is read whole


class MediaError(ValueError):
    """An image or audio file that can't be read, with its name and the cause."""


def inside(root: Path, path: str) -> Path:
    """The file that a manifest's cell names, which lies under `root`.

    A relative path starts from `root`; an absolute one must lead into it. Backslashes separate
    folders where there is no file of that very name. A name in the other Unicode form (composed
    or decomposed, as macOS and Linux write it) is found.

    Args:
        root: The folder.
        path: The cell.

    Returns:
        The path; whether there is such a file, its reader says.

    Raises:
        MediaError: If the path is a URL, has a `..`, holds control characters, or leads out of
            `root`, by itself or by a link.
    """
    path = path.strip()
    if re.match(r"(?i)[a-z][a-z0-9+.-]+:/", path):
        raise MediaError(
            f"Expected a path. Received {path!r}, which is a URL. "
            + (
                f"Write the path: {unquote(re.sub('(?i)^file:/+', '/', path))!r}."
                if path.lower().startswith("file:")
                else "Download the file into the root, and write its path."
            )
        )
    if re.search(r"[\0-\x1f\x7f]", path):
        raise MediaError(f"Expected a path without control characters. Received {path!r}.")
    windows = PureWindowsPath(path)  # splits at / and at \
    if ".." in windows.parts:
        raise MediaError(
            f"Expected a path inside the root, without '..'. Received {path!r}. "
            "Move the file under the root."
        )
    if windows.drive and os.name != "nt":
        raise MediaError(
            f"Expected a path inside the root. Received {path!r}, which is one of another "
            "computer (Windows). Write it relative to the root."
        )
    start = Path(os.path.abspath(root))
    parts = PurePosixPath(path).parts if "/" in path or "\\" not in path else (path,)
    found = _find(start, parts)
    if not os.path.lexists(found) and "\\" in path:
        found = _find(start, PurePosixPath(path.replace("\\", "/")).parts)
    if not found.is_relative_to(start) and not found.is_relative_to(start.resolve()):
        raise MediaError(
            f"Expected a path inside the root, {str(root)!r}. Received {path!r}, which is "
            "outside. Move the file under the root, or name another root."
        )
    try:
        real = found.resolve()
    except (OSError, RuntimeError) as error:
        raise MediaError(f"{path!r} is a link that leads to itself. Correct the link.") from error
    if not real.is_relative_to(start.resolve()):
        raise MediaError(
            f"Expected a file inside the root, {str(root)!r}. Received {path!r}, a link that "
            "leads out of it. Copy the file under the root, or name another root."
        )
    return found


def read_file(path_or_bytes, kind: str) -> tuple[str, bytes]:
    """A name for messages, and the whole content.

    Args:
        path_or_bytes: A file's path, or its content.
        kind: What is expected, as "an image".

    Raises:
        MediaError: If there is no such file, or it is empty, no regular file, or above
            `MAX_FILE_BYTES`.
    """
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        name, data, cause, failed = "<bytes>", bytes(path_or_bytes), None, None
        if len(data) > MAX_FILE_BYTES:
            cause = _too_large(len(data))
    else:
        path = Path(path_or_bytes)
        name, data, cause, failed = repr(str(path)), b"", None, None
        try:
            if path.is_dir():
                cause = "is a directory. Check the path"
            elif not path.exists():
                cause = f"does not exist. {_similar(path)}Check the path"
            elif not path.is_file():  # a pipe or a device may never end
                cause = "is not a regular file. Check the path"
            elif path.stat().st_size > MAX_FILE_BYTES:
                cause = _too_large(path.stat().st_size)
            else:
                data = path.read_bytes()
        except OSError as error:
            cause, failed = f"can't be opened ({error.strerror}). Check the path", error
    if not data and cause is None:
        cause = "is empty (0 bytes). Copy or download it again"
    if cause:
        raise MediaError(f"Expected {kind} file. Received {name}, which {cause}.") from failed
    return name, data


def _find(start, parts):
    """Joins the parts, each in the Unicode form in which it is there."""
    found = start
    for part in parts:
        forms = [part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
        there = (found / form for form in forms if os.path.lexists(found / form))
        found = next(there, found / part)
    return found


def _similar(path):
    """Names a file of the same folder that may be meant; only by cheap looks into the folder."""
    for name in (unquote(path.name), path.name.lower(), path.name.upper()):
        if name != path.name and (path.parent / name).is_file():
            return f"There is {name!r}. "
    return ""


def _too_large(size):
    return f"has {size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}. Split or shrink it"
