"""Putting a module into a cache so that no process ever sees half of one. No TensorFlow."""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmzoo.hub.cache import CHECKSUMS, WHOLE, Finding, Place, find_fault, inspect
from mmzoo.hub.handles import Handle
from mmzoo.hub.saved_model import SavedModelError
from mmzoo.io.files import flush, sha256
from mmzoo.io.working_folder import working_folder

_log = logging.getLogger(__name__)


def write_checksums(folder: Path) -> None:
    """Lists the SHA-256 of every file of a module in its `SHA256SUMS`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / CHECKSUMS)
    lines = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


@contextlib.contextmanager
def adding(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside `target`, which becomes `target` if it holds a module.

    The module may lie in a folder of its own inside. It is checked, its checksums are written,
    and it is renamed in one step, so that no other process sees half a module. Where another
    process was faster, its module stays.

    Raises:
        ValueError: If what was written is no whole module.
    """
    _make_private(target.parent)
    with working_folder(target) as work:
        (work / "new").mkdir()
        yield work / "new"
        found = sorted((work / "new").rglob("saved_model.pb"), key=lambda p: len(p.parts))
        module = found[0].parent if found else work / "new"
        if fault := find_fault(module):
            raise SavedModelError(f"Expected a SavedModel. Received one in which {fault}.")
        write_checksums(module)
        for path in (module, *module.rglob("*")):  # a wide umask would let others write
            if not path.is_symlink():
                os.chmod(path, path.stat().st_mode & ~0o022)
        flush(module)
        if target.exists() and inspect(Place("mmzoo", target)).state != WHOLE:
            os.rename(target, work / "old")
        try:
            os.rename(module, target)
        except OSError:  # another process was faster
            if find_fault(target):
                raise


@contextlib.contextmanager
def replacing(findings: Iterable[Finding]) -> Iterator[None]:
    """Moves what was found aside; deletes it if the block succeeds, moves it back if not."""
    moved = []
    try:
        for place in (finding.place for finding in findings):
            for path in (place.path, place.marker, place.lock):
                if path is None or not os.path.lexists(path):
                    continue
                aside = path.with_name(f"{path.name}.aside-{uuid.uuid4().hex[:8]}")
                try:
                    os.rename(path, aside)
                except PermissionError as error:  # a cache that others own: stays, unused
                    _log.warning("mmzoo can't move %s aside: %s.", path, error)
                else:
                    moved.append((path, aside))
        yield
    except BaseException:
        for path, aside in moved:
            _remove(path)
            os.rename(aside, path)
        raise
    for _, aside in moved:
        _remove(aside)


@contextlib.contextmanager
def locked(handle: Handle) -> Iterator[None]:
    """Waits until no other process of this user fetches the same module.

    Where the system has no such lock (Windows), two may fetch at once; the rename decides.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    name = f"mmzoo-{os.getuid()}-{hashlib.sha1(str(handle).encode()).hexdigest()}.lock"
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    file = os.open(Path(tempfile.gettempdir()) / name, flags, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _make_private(folder):
    """Makes a folder, and those above it, to which nobody else may write, whatever the umask."""
    if not folder.exists():
        _make_private(folder.parent)
        with contextlib.suppress(FileExistsError):  # another process was faster
            folder.mkdir(mode=0o755)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
