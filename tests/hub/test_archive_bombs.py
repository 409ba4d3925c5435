"""Small archives that ask for much memory are refused before they get it.

Each is unpacked in a process of its own memory, whose peak is read from /proc.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib

import pytest

MIB = 1 << 20
ZEROS = bytes(8 * MIB)
MOST = 160  # MiB of memory, Python and all it imports; the bombs ask for 1 to 6 GiB

UNPACK = """
import json, resource, sys
from pathlib import Path
from mmzoo.hub.archives import ArchiveError, unpack
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
try:
    unpack(sys.argv[1], sys.argv[2])
    said = "unpacked"
except ArchiveError as error:
    said = str(error)
status = Path("/proc/self/status").read_text()
print(json.dumps([said, int(status.split("VmHWM:")[1].split()[0]) / 1024]))
"""


def header(name, kind, size):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def first_member():
    return header("a", tarfile.REGTYPE, 3) + b"abc".ljust(512, b"\0")


def of_zeros(start, mib, compress=gzip.compress):
    """A compressed stream of `start` and then zeros: one part, many times."""
    return compress(start) + compress(ZEROS) * (mib // 8)


def sparse_map():
    """A PAX sparse file whose map has no end."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s",
               "GNU.sparse.realsize": "9"}  # fmt: skip
    info = tarfile.TarInfo("s")
    info.size, info.pax_headers = 1 << 40, records
    body = info.tobuf(tarfile.PAX_FORMAT)
    digits = b"1\n" * (4 * MIB)
    return gzip.compress(body + b"999999999999\n".ljust(512, b"1")) + gzip.compress(digits) * 40


def global_records():
    """PAX records that hold for all members, one set in front of each member."""
    out = b""
    for k in range(300):
        record = b""
        for j in range(200):
            text = f" k{k}.{j}=v\n"
            size = len(text) + 2
            record += (f"{size}{text}").encode()
        out += header("g", tarfile.XGLTYPE, len(record)) + record.ljust(
            -(-len(record) // 512) * 512, b"\0"
        )
        out += header(f"m{k}", tarfile.REGTYPE, 0)
    return gzip.compress(out)


def zip_of(data, method, name="a"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(name, data)
    return out.getvalue()


def long_list():
    """A zip that lists 400,000 members, none of which is there."""
    one = zip_of(b"", zipfile.ZIP_STORED)
    end = one.index(b"PK\5\6")
    entry = one[one.index(b"PK\1\2") : end]
    listed = entry * 400_000
    tail = bytearray(one[end:])
    tail[8:12] = b"\xff\xff\xff\xff"
    tail[12:16] = len(listed).to_bytes(4, "little")
    return one[: one.index(b"PK\1\2")] + listed + bytes(tail)


def big_dictionary():
    """An xz that asks for a dictionary of 3 GiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    made = bytearray(lzma.compress(first_member() + bytes(1024), filters=filters))
    at = made.index(b"\x21\x01", 12) + 2  # the filter's properties: one byte, the size
    made[at] = 39
    size = (made[12] + 1) * 4
    made[12 + size - 4 : 12 + size] = zlib.crc32(bytes(made[12 : 12 + size - 4])).to_bytes(
        4, "little"
    )
    return bytes(made)


LONG, PAX, GLOBAL = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE
BOMBS = {
    "a long name": (lambda: of_zeros(header("l", LONG, 1 << 30), 1024), "header of a member"),
    "a long link": (
        lambda: of_zeros(first_member() + header("l", tarfile.GNUTYPE_LONGLINK, 1 << 30), 1024),
        "header of a member",
    ),
    "PAX": (lambda: of_zeros(header("x", PAX, 1 << 30), 1024), "header of a member"),
    "PAX for all": (lambda: of_zeros(header("g", GLOBAL, 1 << 30), 1024), "header of a member"),
    "bzip2": (
        lambda: of_zeros(header("l", LONG, 1 << 30), 1024, bz2.compress),
        "header of a member",
    ),
    "xz": (
        lambda: of_zeros(header("x", PAX, 1 << 30), 1024, lzma.compress),
        "header of a member",
    ),
    "a chain of headers": (
        lambda: gzip.compress((header("l", LONG, 1) + b"n".ljust(512, b"\0")) * 300_000),
        "header of a member|cut or damaged",
    ),
    "a map without an end": (sparse_map, "header of a member"),
    "records that add up": (global_records, "PAX records for all members"),
    "a tail": (lambda: of_zeros(first_member() + bytes(1024), 4096), "behind its last member"),
    "a member": (
        lambda: of_zeros(header("a", tarfile.REGTYPE, 4 << 30), 4096),
        "expected at most [0-9,]{11} bytes",
    ),
    "a sparse member": (
        lambda: gzip.compress(_sparse(1 << 36)),
        "expected at most [0-9,]{11} bytes",
    ),
    "a dictionary": (big_dictionary, "cut or damaged|none, or is cut"),
    "a zip of bzip2": (lambda: zip_of(bytes(1 << 29), zipfile.ZIP_BZIP2), "by method 12"),
    "a zip of lzma": (lambda: zip_of(bytes(1 << 26), zipfile.ZIP_LZMA), "by method 14"),
    "a zip's list": (long_list, "expected at most 20,000 members. It lists more"),
    "a zip's member": (
        lambda: zip_of(bytes(300 * MIB), zipfile.ZIP_DEFLATED),
        "expected at most [0-9,]{11} bytes",
    ),
    "deep folders": (
        lambda: zip_of(b"x", zipfile.ZIP_STORED, "a/" * 400 + "b"),
        "1,024 characters and 64 parts",
    ),
    "a name": (lambda: zip_of(b"x", zipfile.ZIP_STORED, "a" * 60_000), "1,024 characters and 64"),
}  # fmt: skip


def _sparse(size):
    """An old GNU sparse file of one hole."""
    info = tarfile.TarInfo("s")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    block[386:410] = b"%011o\0" % 0 + b"%011o\0" % 0
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(tmp_path, name):
    make, message = BOMBS[name]
    path = tmp_path / "m.tgz"
    path.write_bytes(make())
    assert path.stat().st_size < 40 * MIB
    command = [sys.executable, "-c", UNPACK, str(path), str(tmp_path / "new" / "m")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said, peak = json.loads(done.stdout)
    assert peak < MOST, said
    assert re.search(message, said), said
    assert list((tmp_path / "new").iterdir()) == []
