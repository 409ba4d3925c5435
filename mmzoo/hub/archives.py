"""Unpacking what came over a network: no file outside the target, no bomb. No TensorFlow."""

import contextlib
import gzip
import lzma
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mmzoo.hub.tar_stream import BLOCK as _BLOCK
from mmzoo.hub.tar_stream import StreamError, TarStream
from mmzoo.io.files import flush
from mmzoo.io.working_folder import working_folder

_SLACK = 32 << 20  # bytes of a tar that are neither a member's content nor its header block
_LISTED = 400  # bytes that a zip may list a member with; 46 and its name are needed
_RECORDS = 1000
_LONGEST, _DEEPEST = 1024, 64  # characters and parts of a member's name
# Odd numbers in a header make `tarfile` raise the last four.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile,
    NotImplementedError, RecursionError, OverflowError, ValueError, struct.error,
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
        limits: `Limits`. None: 32 GiB, 20,000 members, 100 times the archive's size, but no
            less than 256 MiB. Headers, names and what follows the last member are bounded too.
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
    try:
        with working_folder(target) as work:
            (work / "new").mkdir()
            _unpack(archive, work / "new", limits)
            flush(work / "new")
            os.rename(work / "new", target)
    except (ArchiveError, StreamError) as error:
        raise ArchiveError(f"{name or archive}: {error}") from error
    except _DAMAGE as error:
        raise ArchiveError(
            f"{name or archive}: expected a whole archive. Received: {error}. It is cut or "
            "damaged: fetch it again."
        ) from error
    return target


def _unpack(archive, folder, limits):
    seen: dict[str, str] = {}  # path inside to the member's kind
    links, written = [], 0
    budget = min(limits.size, max(limits.ratio_from, limits.ratio * archive.stat().st_size))
    for number, (member, read) in enumerate(_members(archive, limits, budget), 1):
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
    if len(name) > _LONGEST or name.count("/") >= _DEEPEST:
        raise ArchiveError(
            f"expected names of at most {_LONGEST:,} characters and {_DEEPEST} parts. Member "
            f"{name[:40]!r}… has more."
        )
    normal = posixpath.normpath(name)
    bad = not name or "\\" in name or "\0" in name or re.match("/|[A-Za-z]:", name)
    if bad or normal.split("/")[0] == "..":
        role = f"link to {name!r}, of member {link_of!r}," if link_of else f"member {name!r}"
        raise ArchiveError(f"expected names inside the archive. The {role} leads out.")
    return normal


def _members(archive: Path, limits: Limits, budget: float) -> Iterator[tuple[_Member, Any]]:
    """Each member, and a function that opens it."""
    # Asked first: a tar may end with a zip.
    stream = TarStream(archive, int(budget) + 2 * tarfile.BLOCKSIZE * limits.members + _SLACK)
    try:
        stream.before_member()
        try:
            tar = tarfile.open(fileobj=stream, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
        except _DAMAGE as error:
            if isinstance(error, RecursionError):
                raise
            if not zipfile.is_zipfile(archive):
                raise ArchiveError(
                    "expected a .tar.gz, .tgz, .tar or .zip. Received a file that is "
                    "none, or is cut. If it came from a URL, look whether that gives a page."
                ) from error
        else:
            with tar:
                yield from _tar_members(tar, stream)
            return
    finally:
        stream.close()
    yield from _zip_members(archive, limits)


def _tar_members(tar, stream):
    while True:
        stream.before_member()
        info = tar.next()
        if info is None:
            break
        if len(tar.pax_headers) > _RECORDS:
            raise StreamError(f"it has more than {_RECORDS:,} PAX records for all members.")
        tar.members.clear()  # it keeps all, with their records
        stream.before_data()
        kind = "folder" if info.isdir() else "file" if info.isreg() else "a special file"
        link = ""
        if info.issym():
            kind, link = "link", posixpath.join(posixpath.dirname(info.name), info.linkname)
            link = info.linkname if info.linkname.startswith("/") else link
        elif info.islnk():
            kind, link = "link", info.linkname
        yield _Member(info.name, kind, link), lambda info=info: tar.extractfile(info)
    stream.read_tail()


def _zip_members(archive, limits):
    with open_zip(archive, limits.members) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a link" if stat.S_ISLNK(mode) else "a special file"
            yield _Member(info.filename, kind), lambda info=info: file.open(info)


@contextlib.contextmanager
def open_zip(archive: Path, members: int) -> Iterator[zipfile.ZipFile]:
    """Opens a zip whose list of members takes little memory, and whose members can be read so.

    Raises:
        ArchiveError: If it has more than `members` members, one is encrypted, or one is
            compressed by another method than deflate, the only one that is read in pieces.
    """
    with archive.open("rb") as raw, zipfile.ZipFile(_ZipSource(raw, members)) as file:  # type: ignore[call-overload]
        if len(file.infolist()) > members:
            raise ArchiveError(f"expected at most {members:,} members. It has more.")
        for info in file.infolist():
            if info.flag_bits & 1:
                raise ArchiveError(f"member {info.filename!r} is encrypted.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(
                    f"member {info.filename!r} is compressed by method {info.compress_type}. "
                    "Expected deflate, or none: pack it again."
                )
        yield file


class _ZipSource:
    """A zip's file, of which `zipfile` reads the list of members in one piece."""

    def __init__(self, file, members):
        self._file, self._largest = file, max(_LISTED * members, _BLOCK)
        self._members = members
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable
        self.close = file.close

    def read(self, size=-1):
        here = self._file.tell()
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(here)
        size = end - here if size < 0 else min(size, end - here)
        if size > self._largest:
            raise ArchiveError(f"expected at most {self._members:,} members. It lists more.")
        return self._file.read(size)
