"""Where modules lie on this machine, and which of them are whole. No TensorFlow.

Three caches are read: mmzoo's own (`$MMZOO_CACHE`, else `~/.cache/mmzoo/hub`), in which paths
are legible; tensorflow_hub's (`$TFHUB_CACHE_DIR`, else `tfhub_modules` in the temporary
folder), which is keyed by the SHA-1 of the very string that was loaded; and kagglehub's
(`$KAGGLEHUB_CACHE`, else `~/.cache/kagglehub`), with a marker beside a finished download.
"""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mmzoo.hub.handles import Handle, parse
from mmzoo.hub.saved_model import SavedModelError, read_saved_model
from mmzoo.io.files import sha256

SHIPPED = Path(__file__).resolve().parent / "modules"
CHECKSUMS = "SHA256SUMS"
ABSENT, WHOLE, UNFINISHED, BROKEN = "absent", "whole", "unfinished", "broken"
UNSAFE = "unsafe"  # somebody else could have written it


@dataclass(frozen=True)
class Place:
    """A folder where a cache keeps a module.

    Attributes:
        cache: "shipped", "mmzoo", "tensorflow_hub" or "kagglehub".
        path: The folder, there or not.
        marker: A file that stands beside a finished download, where the cache has one.
        lock: A file that stands beside an unfinished one, where the cache has one.
    """

    cache: str
    path: Path
    marker: Path | None = None
    lock: Path | None = None


@dataclass(frozen=True)
class Finding:
    """A place and what was found: "absent", "whole", "unfinished", "broken" or "unsafe", and
    why."""

    place: Place
    state: str
    reason: str = ""

    def __str__(self) -> str:
        if self.state in (ABSENT, WHOLE):
            return str(self.place.path)
        return f"{self.place.path} ({self.state}: {self.reason})"


def mmzoo_cache() -> Path:
    """mmzoo's own cache."""
    return _folder("MMZOO_CACHE", Path.home() / ".cache" / "mmzoo" / "hub")


def tensorflow_hub_cache() -> Path:
    """tensorflow_hub's cache."""
    return _folder("TFHUB_CACHE_DIR", Path(tempfile.gettempdir()) / "tfhub_modules")


def kagglehub_cache() -> Path:
    """kagglehub's cache."""
    return _folder("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub")


def module_folder(handle: str | os.PathLike | Handle) -> Path:
    """The place in mmzoo's own cache for a module: where to build, copy or look it up.

    Args:
        handle: Any handle but a local folder, with its version.

    Raises:
        ValueError: If the handle is a local folder, or leaves the version open.
    """
    handle = parse(handle)
    if handle.kind in ("tfhub", "kaggle", "mmzoo"):
        if handle.version is None:
            raise ValueError(
                f"Expected a handle with a version. Received: {str(handle)!r}. Add one: "
                f"'{handle}/1' for example."
            )
        host = {"tfhub": ["tfhub.dev"], "kaggle": ["kaggle.com"], "mmzoo": []}[handle.kind]
        return mmzoo_cache().joinpath(*host, *handle.parts)
    if handle.kind == "archive":
        return mmzoo_cache() / "archives" / sha256(handle.path)[:32]
    if handle.kind == "folder":
        raise ValueError(f"Expected a handle that is no folder. Received: {str(handle)!r}.")
    digest = hashlib.sha256(str(handle).encode()).hexdigest()[:16]
    name = str(handle).split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    return mmzoo_cache() / "urls" / f"{digest}-{name}"


def places(handle: str | os.PathLike | Handle) -> list[Place]:
    """Every place where a module may lie, in the order in which they are looked at.

    A handle that leaves the version open may mean any version: the highest comes first.
    """
    handle = parse(handle)
    if handle.kind == "folder":
        return []
    own = [Place("mmzoo", path) for path in _own(handle)]
    if handle.kind == "mmzoo":
        return [Place("shipped", SHIPPED.joinpath(*handle.parts[1:])), *own]
    if handle.kind == "archive":
        return own
    found = list(own)
    for spelling in handle.spellings():
        path = tensorflow_hub_cache() / hashlib.sha1(spelling.encode()).hexdigest()
        found.append(Place("tensorflow_hub", path, lock=path.with_name(f"{path.name}.lock")))
    if handle.kind == "kaggle":
        owner, model, framework, variation = handle.parts[:4]
        cases = (framework, framework[0].upper() + framework[1:], framework.lower())
        for case in dict.fromkeys(cases):
            top = kagglehub_cache().joinpath("models", owner, model, case, variation)
            for path in _versions(top, handle.version):
                found.append(Place("kagglehub", path, path.with_name(f"{path.name}.complete")))
    return found


def inspect(place: Place, *, checksums: bool = True) -> Finding:
    """Looks whether a place holds a whole module.

    Args:
        place: A `Place`.
        checksums: Whether to compare the SHA-256 of every file, where the module lists them.
            Shipped modules and mmzoo's own cache do.
    """
    if not place.path.is_dir():
        return Finding(place, ABSENT)
    if place.lock is not None and place.lock.exists():
        return Finding(place, BROKEN, f"{place.lock.name} is left beside it")
    if place.marker is not None and not place.marker.exists():
        return Finding(place, UNFINISHED, f"there is no {place.marker.name} beside it")
    if danger := find_danger(place):
        return Finding(place, UNSAFE, danger)
    fault = find_fault(place.path, checksums=checksums)
    if not fault and place.cache in ("mmzoo", "shipped") and checksums:
        fault = find_extra(place.path)
    return Finding(place, BROKEN if fault else WHOLE, fault)


def find_fault(folder: Path, *, checksums: bool = True) -> str:
    """Why a folder is no whole module, in words; "" if it is one."""
    try:
        read_saved_model(folder)
        return _changed(folder) if checksums and (folder / CHECKSUMS).is_file() else ""
    except SavedModelError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"it can't be read: {error}"


def find_danger(place: Place) -> str:
    """Why another user may have written a module, in words; "" if none could.

    A module is a program. Each file of it, its folder, and each folder above, up to the cache's
    own, must belong to this user or to root, and must not be writable by others.
    """
    roots = {
        "mmzoo": mmzoo_cache, "tensorflow_hub": tensorflow_hub_cache, "kagglehub": kagglehub_cache,
    }  # fmt: skip
    if place.cache not in roots or not hasattr(os, "getuid"):
        return ""
    root = Path(os.path.realpath(roots[place.cache]()))
    path = Path(os.path.realpath(place.path))
    above = [path, *path.parents]
    if root in above:
        above = above[: above.index(root) + 1]
    inside = (Path(top, name) for top, dirs, files in os.walk(path) for name in (*dirs, *files))
    for each in (*above, *inside):
        if danger := _danger(each, path):
            return danger
    top = root.parent.stat()
    if top.st_mode & stat.S_IWOTH and not top.st_mode & stat.S_ISVTX:
        return f"everybody may write to {root.parent}. Name another cache, or: chmod o-w it"
    return ""


def _danger(path, module):
    found = path.lstat()
    if found.st_uid not in (os.getuid(), 0):
        return (
            f"{path} belongs to user {found.st_uid}, who may have put any program there. Remove "
            "it, or name a cache of your own"
        )
    if stat.S_ISLNK(found.st_mode):
        inside = Path(os.path.realpath(path)).is_relative_to(module)
        return "" if inside else f"{path} is a link that leads out of the module"
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and path != module
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        return f"others may write to {path}. If nobody did: chmod -R go-w {path}"
    return ""


def find_extra(folder: Path) -> str:
    """The first file of a module that its `SHA256SUMS` does not list, in words; "" if none."""
    if not (folder / CHECKSUMS).is_file():
        return ""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    listed = {line.split("  ", 1)[1] for line in lines if "  " in line}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in listed and name != CHECKSUMS):
            return f"{name} was put there since, as {CHECKSUMS} does not list it"
    return ""


def digest_of(folder: Path) -> str:
    """SHA-256 of a module's content: of a line a file, its SHA-256, two spaces and its path.

    That is the digest of its `SHA256SUMS`, where it has one that fits.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / CHECKSUMS)
    lines = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _folder(variable, default):
    return Path(os.environ.get(variable) or default).expanduser()


def _own(handle):
    if handle.version is None and handle.kind in ("tfhub", "kaggle"):
        host = {"tfhub": "tfhub.dev", "kaggle": "kaggle.com"}[handle.kind]
        return _versions(mmzoo_cache().joinpath(host, *handle.parts), None)
    return [module_folder(handle)] if handle.kind != "archive" or handle.path.is_file() else []


def _versions(top, version):
    """`top/version`; every version there, the highest first, if none is asked for."""
    if version is not None:
        return [top / str(version)]
    names = [path.name for path in top.iterdir() if path.is_dir()] if top.is_dir() else []
    return [
        top / str(each) for each in sorted((int(n) for n in names if n.isdecimal()), reverse=True)
    ]


def _changed(folder):
    """The first file that is not as `SHA256SUMS` says, in words; "" if there is none."""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines if "  " in line)
    if "saved_model.pb" not in listed:
        return f"{CHECKSUMS} does not list saved_model.pb"
    for name, expected in listed.items():
        if ".." in Path(name).parts or not (folder / name).is_file():
            return f"{name} is missing"
        if (actual := sha256(folder / name)) != expected:
            return f"{name}: expected SHA-256 {expected[:12]}…, found {actual[:12]}…"
    return ""
