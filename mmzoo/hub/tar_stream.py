"""A tar that may be compressed, as a stream that takes little memory whatever it says of itself."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import IO

BLOCK = 1 << 20  # bytes that are read at a time
_HEADERS = 256 << 10  # bytes in front of one member: its header, long names, PAX records
_TAIL = 16 << 20  # bytes behind the last member; tar pads to a few KiB
_MEMORY = 256 << 20  # bytes that xz may take: its largest preset takes 65 MiB


class StreamError(Exception):  # no ValueError, which `tarfile` catches in places
    """A stream that is not read on: what is wrong with it."""


class TarStream:
    """What `tarfile` reads from: forwards only, counted, and in small pieces.

    `tarfile` takes a header's word for how long a name or a PAX record is, and reads that much
    into memory. Here it gets an error instead.

    Args:
        path: A tar, plain or compressed by gzip, bzip2 or xz.
        limit: Bytes, unpacked, that it may hold in all.
    """

    def __init__(self, path: Path, limit: int):
        self._file = _open(path)
        self._place, self._limit = 0, limit
        self._headers: int | None = None  # bytes that may still be read in front of a member

    def before_member(self) -> None:
        """The header of a member comes next."""
        self._headers = _HEADERS

    def before_data(self) -> None:
        """The content of a member comes next."""
        self._headers = None

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> int:
        """Reads on to a place, which must lie ahead."""
        if place < self._place:
            raise StreamError("its members overlap.")
        while self._place < place and self._take(min(BLOCK, place - self._place)):
            pass
        return self._place

    def read(self, size: int = -1) -> bytes:
        if self._headers is not None:
            if size < 0 or size > self._headers:
                raise StreamError(
                    f"the header of a member takes more than {_HEADERS:,} bytes, which no real "
                    "name needs."
                )
            self._headers -= size
        elif size < 0 or size > BLOCK:
            size = BLOCK
        return self._take(size)

    def read_tail(self) -> None:
        """Reads to the end, where a compressed file has its checksum."""
        end = self._place + _TAIL
        while self._take(BLOCK):
            if self._place > end:
                raise StreamError(f"more than {_TAIL:,} bytes come behind its last member.")

    def close(self) -> None:
        self._file.close()

    def _take(self, size):
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._file.read(size)
            except OSError as error:
                if error.errno is not None or isinstance(error, gzip.BadGzipFile):
                    raise
                raise EOFError(str(error)) from error  # bzip2's word for damage
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self._place += len(part)
            if self._place > self._limit:
                raise StreamError(
                    f"expected at most {self._limit:,} bytes from an archive of its size. It holds "
                    "more. Unpack it by hand if you trust it, and give the folder."
                )
        return b"".join(parts)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if start.startswith(b"BZh"):
        return bz2.open(path, "rb")  # type: ignore[return-value]
    if start == b"\xfd7zXZ\x00":
        return _Xz(path)  # type: ignore[return-value]
    return path.open("rb")


class _Xz:
    """An xz file. `lzma.open` would take as much memory as the file asks for."""

    def __init__(self, path):
        self._file, self._decoder = path.open("rb"), self._new()
        self._left = b""

    def _new(self):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)

    def read(self, size):
        while True:
            if self._decoder.eof:
                self._left = self._decoder.unused_data.lstrip(b"\0")  # padding between streams
                while not self._left:
                    block = self._file.read(BLOCK)
                    if not block:
                        return b""
                    self._left = block.lstrip(b"\0")
                self._decoder = self._new()
            block = b""
            if self._left:
                block, self._left = self._left, b""
            elif self._decoder.needs_input:
                block = self._file.read(BLOCK)
                if not block:
                    raise EOFError("it ends before its end mark")
            part = self._decoder.decompress(block, size)
            if part:
                return part

    def close(self):
        self._file.close()
