"""Folders that a process works in, beside its results: no later run takes them for anybody else's.

The name of such a folder says whose it is: machine, process and the time when that started. A
process that is killed can't remove its folder; the next run that writes beside it does, once the
process is provably gone.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

OLD = "old"  # in a working folder: what stood at the result's place while that was replaced
_NAME = re.compile(r"\..*\.mmzoo-([0-9a-f]{12})-(\d+)-(\d+)-\w+", re.DOTALL)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_LONGEST = 100  # bytes of a result's name that its working folder repeats; a name has 255


@contextlib.contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which goes when the block ends.

    What killed processes of this machine left beside `path` goes first. A result that such a
    process had moved aside, and not yet replaced, goes back to its place.

    Args:
        path: Where a result will be; its parent is made if it is missing.
    """
    path = Path(os.path.abspath(path))  # "." and ".." have no name of their own
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    name = path.name.encode()[:_LONGEST].decode("utf-8", "ignore")
    prefix = f".{name}.mmzoo-{_machine()}-{os.getpid()}-{_process(os.getpid())[0]}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def sweep(parent: Path) -> None:
    """Removes the working folders in `parent` whose processes are gone.

    A folder stays where that is not certain: it is another user's, or of another machine, of
    another container or from before the machine's last start.
    """
    try:
        with os.scandir(parent) as entries:
            found = [(entry, _NAME.fullmatch(entry.name)) for entry in entries]
    except PermissionError:  # a folder that may be written to, but not listed
        return
    for entry, name in found:
        if name is None or name[1] != _machine() or not _is_gone(int(name[2]), int(name[3])):
            continue
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            if entry.is_dir(follow_symlinks=False) and _is_ours(entry):
                _restore(Path(entry.path))
                # What can't go must not stop a run that has nothing to do with it.
                shutil.rmtree(entry.path, ignore_errors=True)


def exchange(new: Path, path: Path) -> bool:
    """Puts `new` in the place of `path`, and `path` in that of `new`, in one step.

    Returns:
        Whether it was done: Linux can, on most of its file systems.

    Raises:
        FileNotFoundError: If one of them is not there.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(path), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(path))


def _restore(folder):
    """Moves back what a process had moved aside when it was killed."""
    aside = folder / OLD
    for old in list(aside.iterdir()) if aside.is_dir() else ():
        if not os.path.lexists(folder.parent / old.name):
            os.rename(old, folder.parent / old.name)


def _is_ours(entry):
    return not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _is_gone(pid, start):
    if os.name != "posix":
        return False  # there is no way to ask without ending it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    now, state = _process(pid)
    return state in ("Z", "X") or (bool(now and start) and now != start)


def _process(pid):
    """When a process started, in ticks since the machine did, and its state; (0, "") if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or it has just ended
        return 0, ""
    fields = stat.rpartition(")")[2].split()  # behind the name, which may hold anything
    return int(fields[19]), fields[0]


@functools.cache
def _machine():
    """Twelve digits of this machine, since its last start, and of this container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@functools.cache
def _renameat2():
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
