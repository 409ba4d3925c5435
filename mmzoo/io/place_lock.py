"""One writer a place: two runs at once into one folder or file are told apart before they start."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class PlaceInUseError(RuntimeError):
    """Another run writes to the same place at this moment."""


@contextlib.contextmanager
def lock_place(path) -> Iterator[None]:
    """Holds a place for this run, until the block ends.

    The lock is a file `.NAME.lock` beside the place, locked by the operating system. It ends with
    the process, however that ends: a file that a killed run left is taken over. On a network file
    system it holds as far as that system's own locks do.

    Args:
        path: The folder or file that will be written. It need not exist; its parent is made.

    Raises:
        PlaceInUseError: If another run, or another thread of this one, holds the place.
    """
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.lock"
    number = _open_locked(name, path)
    try:
        os.ftruncate(number, 0)
        os.write(number, str(os.getpid()).encode())
        yield
    finally:
        # While it is still locked: whoever waits to open it then makes a new one.
        with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows keeps open files
            os.unlink(name)
        os.close(number)


def _open_locked(name, path):
    """The number of the lock's open file, which is locked and stands at its name."""
    while True:
        number = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if not _lock(number):
                owner = os.read(number, 20).decode("ascii", "replace").strip()
                raise PlaceInUseError(
                    f"{path} is being written by another run"
                    f"{f' (process {owner})' if owner else ''}. Wait until it ends, or name "
                    "another place."
                )
            if _stands_at(number, name):
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its holder removed it between our opening and our locking


def _lock(number):
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    import msvcrt

    os.lseek(number, 1 << 20, os.SEEK_SET)  # beyond the text, which others may then read
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    finally:
        os.lseek(number, 0, os.SEEK_SET)
    return True


def _stands_at(number, name):
    try:
        return os.path.samestat(os.fstat(number), os.stat(name, follow_symlinks=False))
    except FileNotFoundError:
        return False
