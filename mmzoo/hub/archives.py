"""Unpacking what came over a network: no file outside the target, no bomb. No TensorFlow."""

import gzip
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_BLOCK = 1 << 20
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError,
    NotImplementedError,
)  # fmt: skip


class ArchiveError(ValueError):
    """An archive that is not unpacked: its path, the member, and what is wrong with it."""


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to.

    Args:
        size: Bytes of all files together.
        members: Number of files and folders.
        ratio: Bytes unpacked a byte of archive, once more than `ratio_from` are unpacked
            (weights that are all zeros shrink a thousandfold, and are small).
        ratio_from: In bytes.
    """

    size: int = 32 << 30
    members: int = 20_000
    ratio: float = 100.0
    ratio_from: int = 256 << 20


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # "folder", "file", "link" or what else it is, in words
    link: str = ""  # the member that a link stands for


def unpack(
    archive: str | Path,
    target: str | Path,
    *,
    limits: Limits | None = None,
    name: str | None = None,
) -> Path:
    """Unpacks a tar (plain, gzip, bzip2 or xz) or a zip into a new folder.

    It is unpacked beside `target` and renamed when it is whole. Modes, owners and times are not
    taken over. A link to a file of the same archive becomes a copy of it; there is no link on
    the disk at any time.

    Args:
        archive: Path of the archive; its content, not its name, says of which kind it is.
        target: Folder to make. Nothing may be there.
        limits: `Limits`. None: 32 GiB, 20,000 members, 100 times the archive's size.
        name: What an error calls the archive, where it came from for example. None: its path.

    Returns:
        `target` as a Path.

    Raises:
        ArchiveError: If it is no archive, is cut or damaged, passes a limit, or a member is
            named absolutely or outside the target, twice there, a device or another special
            file, or a link to anything but a file inside.
        FileExistsError: If there is something at `target`.
        FileNotFoundError: If there is no archive.
    """
    archive, target, limits = Path(archive), Path(target), limits or Limits()
    if not archive.is_file():
        raise FileNotFoundError(f"Expected an archive. Received: {archive}, which does not exist.")
    if os.path.lexists(target):
        raise FileExistsError(f"Expected a new folder. Received: {target}, which exists.")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (work / "new").mkdir()
        _unpack(archive, work / "new", limits)
        os.rename(work / "new", target)
    except ArchiveError as error:
        raise ArchiveError(f"{name or archive}: {error}") from error
    except _DAMAGE as error:
        raise ArchiveError(
            f"{name or archive}: expected a whole archive. Received: {error}. It is cut or "
            "damaged: fetch it again."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _unpack(archive, folder, limits):
    seen: dict[str, str] = {}  # path inside to the member's kind
    links, written = [], 0
    budget = min(limits.size, max(limits.ratio_from, limits.ratio * archive.stat().st_size))
    for number, (member, read) in enumerate(_members(archive), 1):
        if number > limits.members:
            raise ArchiveError(f"expected at most {limits.members:,} members. It has more.")
        name = _inside(member.name)
        if name == "." and member.kind == "folder":
            continue
        if name in seen and not (member.kind == seen[name] == "folder"):
            raise ArchiveError(f"member {member.name!r} is there twice.")
        seen[name] = member.kind
        try:
            if member.kind == "folder":
                (folder / name).mkdir(parents=True, exist_ok=True)
            elif member.kind == "file":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with read() as source:
                    written = _copy(source, folder / name, written, budget)
            elif member.kind == "link":
                links.append((name, member))
            else:
                raise ArchiveError(
                    f"expected files and folders. Member {member.name!r} is {member.kind}."
                )
        except (FileExistsError, NotADirectoryError) as error:
            raise ArchiveError(f"member {member.name!r} is a file and a folder at once.") from error
    for name, member in links:
        inside = _inside(member.link, member.name)
        if seen.get(inside) != "file":
            raise ArchiveError(
                f"expected a link to a file of the archive. Member {member.name!r} "
                f"is a link to {member.link!r}."
            )
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ArchiveError(f"member {member.name!r} is a file and a folder at once.") from error
        with (folder / inside).open("rb") as source:
            written = _copy(source, folder / name, written, budget)


def _copy(source: IO[bytes], path: Path, written: int, budget: float) -> int:
    """Writes a new file; returns the bytes unpacked so far, this file's included."""
    with path.open("xb") as out:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > budget:
                raise ArchiveError(
                    f"expected at most {int(budget):,} bytes from an archive of its size. It "
                    "holds more. Unpack it by hand if you trust it, and give the folder."
                )
            out.write(block)
    return written


def _inside(name, link_of=None):
    """A member's name as a normal relative path; raises unless it stays in the archive."""
    normal = posixpath.normpath(name)
    bad = not name or "\\" in name or "\0" in name or re.match("/|[A-Za-z]:", name)
    if bad or normal.split("/")[0] == "..":
        role = f"link to {name!r}, of member {link_of!r}," if link_of else f"member {name!r}"
        raise ArchiveError(f"expected names inside the archive. The {role} leads out.")
    return normal


def _members(archive: Path) -> Iterator[tuple[_Member, Any]]:
    """Each member, and a function that opens it."""
    if not tarfile.is_tarfile(archive):  # asked first: a tar may end with a zip
        if not zipfile.is_zipfile(archive):
            raise ArchiveError(
                "expected a .tar.gz, .tgz, .tar or .zip. Received a file that is "
                "none, or is cut. If it came from a URL, look whether that gives a page."
            )
        yield from _zip_members(archive)
        return
    with tarfile.open(archive, "r:*") as tar:
        for info in tar:
            kind = "folder" if info.isdir() else "file" if info.isreg() else "a special file"
            link = ""
            if info.issym():
                kind, link = "link", posixpath.join(posixpath.dirname(info.name), info.linkname)
                link = info.linkname if info.linkname.startswith("/") else link
            elif info.islnk():
                kind, link = "link", info.linkname
            yield _Member(info.name, kind, link), lambda info=info: tar.extractfile(info)
        while tar.fileobj.read(_BLOCK):  # to the end, where a compressed file has its checksum
            pass


def _zip_members(archive):
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a link" if stat.S_ISLNK(mode) else "a special file"
            if info.flag_bits & 1:
                raise ArchiveError(f"member {info.filename!r} is encrypted.")
            yield _Member(info.filename, kind), lambda info=info: file.open(info)
