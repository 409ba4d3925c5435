"""From a handle to the folder that holds its SavedModel, with or without a network."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from mmzoo.hub import catalogue
from mmzoo.hub.archives import ArchiveError, unpack
from mmzoo.hub.cache import (
    ABSENT,
    BROKEN,
    SHIPPED,
    UNSAFE,
    WHOLE,
    Finding,
    digest_of,
    find_fault,
    inspect,
    module_folder,
    places,
)
from mmzoo.hub.download import download
from mmzoo.hub.handles import Handle, parse
from mmzoo.hub.saved_model import SavedModelError
from mmzoo.hub.store import adding, locked, replacing

__all__ = ["ResolveError", "find", "module_folder", "offline_mode", "resolve"]
_log = logging.getLogger(__name__)


class ResolveError(OSError):
    """A handle that leads to no module: what was tried, and what to do."""


def resolve(
    handle: str | os.PathLike | Handle, *, offline: bool | None = None, force: bool = False
) -> Path:
    """The folder of a module, fetched if no cache holds it.

    The caches are looked at in turn (mmzoo's own, tensorflow_hub's, kagglehub's), under every
    spelling of the handle, and under the handle that the same module has on the other host. A
    module that is not whole is named in a warning and never used; a download replaces it.

    Args:
        handle: What `mmzoo.hub.handles.parse` takes.
        offline: Whether to leave the network alone. None: as `$MMZOO_OFFLINE` says.
        force: Whether to fetch it again though a cache holds it. What is there goes only
            when the new one has come.

    Returns:
        Path of a folder with `saved_model.pb`, checked to be whole.

    Raises:
        ResolveError: If the module is not the one that `#sha256=...` pins, there is no such
            folder, or no cache holds the module and it can't be
            fetched; lists every path that was tried, and says how to seed it.
        ArchiveError: If an archive is not to be unpacked.
        ImportError: If the client that fetches it is not installed.
        TypeError, ValueError: If `handle` is none.
    """
    handle = parse(handle)
    if handle.kind == "folder":
        _check_pin(handle, _check_folder(handle.path))
        return handle.path
    if handle.kind == "archive" and not handle.path.is_file():
        if handle.path.is_dir():
            return _check_folder(handle.path)
        raise ResolveError(f"Expected an archive. Received: {handle}, which does not exist.")
    offline = offline_mode() if offline is None else offline
    findings = find(handle)
    if not force and (hit := _first_whole(findings)):
        _check_pin(handle, hit)
        return hit
    if handle.kind == "mmzoo":
        raise ResolveError(_no_such_build(handle, findings))
    if offline and handle.kind != "archive":
        raise ResolveError(
            f"Can't fetch {handle}: offline mode is on (`offline=True` or $MMZOO_OFFLINE). "
            f"{_tried(handle, findings)}"
        )
    with locked(handle):
        findings = find(handle)  # another process may have fetched it by now
        if not force and (hit := _first_whole(findings, warn=False)):
            _check_pin(handle, hit)
            return hit
        ours = {place.path for place in places(handle)}
        stale = [
            finding
            for finding in findings
            if finding.state == BROKEN
            or (finding.state == UNSAFE and finding.place.cache == "mmzoo")
            or (force and finding.state != ABSENT and finding.place.path in ours)
        ]
        with replacing(stale):
            path = _fetch(handle, findings)
            for finding in find(handle):
                if finding.place.path == path and finding.state != WHOLE:
                    raise ResolveError(f"Can't use {handle}: it was fetched to {finding}.")
            _check_pin(handle, path)
            return path


def ships(handle: str | Handle) -> bool:
    """Whether a handle is resolved to files inside this package, whose checksums hold."""
    if parse(handle).kind != "mmzoo":
        return False
    try:
        return resolve(handle, offline=True).is_relative_to(SHIPPED)
    except (OSError, ValueError):
        return False


def find(handle: str | Handle, *, checksums: bool = True) -> list[Finding]:
    """Looks at every place where a module may lie, under all its names; uses no network.

    Args:
        handle: A handle.
        checksums: Whether to compare the checksums of the modules that list theirs.

    Returns:
        A `Finding` a place, in the order in which `resolve` takes them.
    """
    handle = parse(handle)
    found: dict[Path, Finding] = {}
    for name in (handle, *catalogue.equivalents(handle)):
        for place in places(name):
            if place.path not in found:
                found[place.path] = inspect(place, checksums=checksums)
    return list(found.values())


def offline_mode() -> bool:
    """Whether `$MMZOO_OFFLINE` is on.

    Raises:
        ValueError: If it is set to what is neither on nor off.
    """
    value = os.environ.get("MMZOO_OFFLINE", "").strip().lower()
    if value not in ("", "0", "false", "no", "off", "1", "true", "yes", "on"):
        raise ValueError(f"$MMZOO_OFFLINE must be 1 or 0. Received: {value!r}.")
    return value in ("1", "true", "yes", "on")


def _first_whole(findings: Iterable[Finding], warn: bool = True) -> Path | None:
    for finding in findings:
        if finding.state == WHOLE:
            return finding.place.path
        if finding.state != ABSENT and warn:
            _log.warning("mmzoo does not use the module at %s.", finding)
    return None


def _check_pin(handle, folder):
    """Raises unless a module is the one that its handle, or the catalogue, pins."""
    entry = catalogue.find(handle)
    pin = handle.sha256 or (entry.sha256 if entry else "")
    if pin and (found := digest_of(folder)) != pin:
        raise ResolveError(
            f"Expected the module {handle} of SHA-256 {pin}. Received: {found}, in {folder}. It is "
            "another module, or another version: `mmzoo hub fetch --force` fetches it again."
        )


def _check_folder(path):
    if not path.is_dir():
        hint = ""
        short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path()
        if len(short.parts) > 2 and short.name.isdecimal():
            hint = f" If TF-Hub's module is meant: 'tfhub.dev/{short.as_posix()}'."
        kind = "is a file" if path.exists() else "does not exist"
        raise ResolveError(
            f"Expected a folder with saved_model.pb. Received: {path}, which {kind}.{hint}"
        )
    if fault := find_fault(path):
        inner = sorted(file.parent for file in path.glob("*/saved_model.pb"))
        hint = f" Is {inner[-1]} meant?" if inner else ""
        raise ResolveError(f"Expected a whole module. Received: {path}, in which {fault}.{hint}")
    return path


def _fetch(handle, findings):
    if handle.kind == "archive":
        return _unpack(handle.path)
    try:
        path = download(handle)
    except (ImportError, ArchiveError):
        raise  # they say what to do: install, unpack by hand
    except Exception as error:  # each client raises its own, down to bare OSErrors
        raise ResolveError(
            f"Can't fetch {handle}: {type(error).__name__}: {' '.join(str(error).split())}. "
            f"{_tried(handle, findings)}"
        ) from error
    if fault := find_fault(path):
        raise ResolveError(
            f"Can't use {handle}: it was fetched to {path}, and {fault}. Fetch it again: "
            f"mmzoo hub fetch --force {handle}"
        )
    return path


def _unpack(archive):
    target = module_folder(archive)
    try:
        with adding(target) as folder:
            unpack(archive, folder / "module")
    except SavedModelError as error:
        raise ResolveError(f"{archive}: {error}") from error
    return target


def _tried(handle, findings):
    """Every path that was looked at, and how to put a module there."""
    looked = f"Looked at: {_looked(findings) or 'no folder, as none has a version of it'}."
    if handle.version is None and handle.kind in ("tfhub", "kaggle"):
        return f"{looked} To seed it, name a version ('{handle}/1'), and this says where."
    return (
        f"{looked} To seed it, put the module's folder (with saved_model.pb in it) at "
        f"{module_folder(handle)}: `mmzoo hub fetch {handle}` fetches and prints one on a "
        "machine with a network."
    )


def _no_such_build(handle, findings):
    entry = catalogue.find(handle)
    if entry is None:
        known = ", ".join(e.handle for e in catalogue.entries() if e.handle.startswith("mmzoo/"))
        return f"Expected one of {known}. Received: {handle}. Looked at: {_looked(findings)}."
    remedy = "It ships with mmzoo: install mmzoo again."
    if entry.build:
        remedy = f"Build it from weights on your disk: mmzoo hub build {entry.build}"
    return f"There is no whole {handle} here. Looked at: {_looked(findings)}. {remedy}"


def _looked(findings):
    return "; ".join(str(finding) for finding in findings)
