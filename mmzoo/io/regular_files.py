"""Files of others, opened only if they are regular, no links, and of bounded size."""

import json
import os
import stat
from pathlib import Path

LARGEST_TEXT = 2**26  # bytes: of JSON, checksums and signatures
LARGEST_FILE = 2**35  # bytes: of any file of a bundle
LARGEST_HOLE = 2**30  # bytes that a file may claim beyond those it has on the disk
MOST_FILES = 10_000
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device", stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder",
}  # fmt: skip


def read_regular(path: Path, limit: int = LARGEST_TEXT) -> bytes:
    """Reads a file that must be regular: a pipe would block, a device would never end.

    Args:
        path: The file. A link is not followed.
        limit: Most bytes that it may have.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, or too large.
    """
    _check(path, os.lstat(path), limit)  # a socket can't even be opened
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as file:
        _check(path, os.fstat(file.fileno()), limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} has more than {limit:,} bytes")
    return content


def read_json(path: Path, limit: int = LARGEST_TEXT):
    """The JSON value of a regular file; ValueError also where it is nested too deeply."""
    try:
        return json.loads(read_regular(path, limit).decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def check_regular_files(folder: Path) -> None:
    """Raises ValueError unless a folder holds regular files and folders alone, of bounded size.

    Nothing is opened. The folder itself may be a link.
    """
    count, waiting = 0, [Path(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if count > MOST_FILES:
                    raise ValueError(f"{folder} holds more than {MOST_FILES:,} files")
                found, name = entry.stat(follow_symlinks=False), Path(entry.path)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(name)
                    continue
                text = name.suffix in (".json", ".sig", ".md") or name.name == "SHA256SUMS"
                _check(name.relative_to(folder), found, LARGEST_TEXT if text else LARGEST_FILE)


def _check(path, found, limit):
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(f"{path} is {_KINDS.get(kind, 'no file')}, not a regular file")
    if found.st_size > limit:
        raise ValueError(f"{path} has {found.st_size:,} bytes; at most {limit:,} are read")
    # A hole costs nothing to make and hours to read.
    if found.st_size - 512 * getattr(found, "st_blocks", found.st_size) > LARGEST_HOLE:
        raise ValueError(f"{path} is a sparse file of {found.st_size:,} bytes")
