"""A small `.keras` file that asks for much memory is refused before Keras reads it."""

import io
import json
import re
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from mmzoo.io.keras_archive import check_keras_archive

MIB = 1 << 20
MOST = 200  # MiB of memory, h5py's import included

CHECK = """
import json, resource, sys
from pathlib import Path
from mmzoo.io.keras_archive import check_keras_archive
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
said = []
for path in sys.argv[1:]:
    try:
        check_keras_archive(Path(path))
        said.append("fine")
    except ValueError as error:
        said.append(str(error))
status = Path("/proc/self/status").read_text()
print(json.dumps([said, int(status.split("VmHWM:")[1].split()[0]) / 1024]))
"""


def packed(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", "{}")
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def weights(fill):
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        fill(file)
    return out.getvalue()


def huge(file):
    file.create_dataset("layers/a/vars/0", (1 << 40,), "float32", chunks=(1 << 16,))


def compressed(file):
    file.create_dataset("a", data=np.zeros(80 * MIB, "float32"), compression="gzip")


def elsewhere(file):
    file.create_dataset("vars/0", (4,), "uint8", external=[("/etc/hostname", 0, 4)])


def linked(file):
    file["vars"] = h5py.ExternalLink("/tmp/other.h5", "/vars")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "uint8")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=(4,))
    file.create_virtual_dataset("a", layout)


def ring(file):
    file["a/b"] = h5py.SoftLink("/a")
    file["a/c"] = np.zeros(3)


H5 = "model.weights.h5"
FILES = {
    "config": ({"config.json": b"[" + b"[]," * (20 * MIB) + b"[]]"}, "'config.json' unpacks to 62"),
    "metadata": ({"assets/a": b"x"}, "'metadata.json' unpacks to"),
    "depth": ({"config.json": b"[" * 200_000}, "nested too deep"),
    "asset": ({"assets/vocabulary.txt": bytes(400 * MIB)}, "vocabulary.txt' unpacks to 419,430,40"),
    "all assets": ({f"assets/{k}": bytes(60 * MIB) for k in range(6)}, "it unpacks to 377,487"),
    "twice": ({"config.json": b"{}", "./config.json": b"{}"}, "config.json' is there twice"),
    "huge": ({H5: weights(huge)}, "'/layers/a/vars/0', take 4,398,046,511,104 bytes"),
    "compressed": ({H5: weights(compressed)}, "'/a', take 335,544,320 bytes"),
    "elsewhere": ({H5: weights(elsewhere)}, "'/vars/0' of its member .* lies in another file"),
    "linked": ({H5: weights(linked)}, "'/vars' of its member .* links to another file"),
    "virtual": ({H5: weights(virtual)}, "lies in another file"),
    "ring": ({H5: weights(ring)}, "^fine$"),
    "not HDF5": ({H5: b"nothing"}, "model.weights.h5' is damaged"),
}


def test_what_grows_is_refused_before_it_takes_memory(tmp_path):
    paths = [
        packed(tmp_path / f"{k}.keras", members) for k, (members, _) in enumerate(FILES.values())
    ]
    with zipfile.ZipFile(paths[1], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", b" " * (2 * MIB))
    many = packed(tmp_path / "many.keras", {f"assets/{k}": b"" for k in range(20_001)})
    nested = packed(tmp_path / "nested.keras", {"assets/inner.zip": paths[3].read_bytes()})
    bzip2 = packed(tmp_path / "bzip2.keras", {"config.json": b"{}"}, zipfile.ZIP_BZIP2)
    command = [sys.executable, "-c", CHECK, *map(str, [*paths, many, nested, bzip2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    said, peak = json.loads(done.stdout)
    wanted = [message for _, message in FILES.values()]
    wanted += ["at most 20,000 members", "^fine$", "by method 12"]  # an inner zip stays a file
    for text, message in zip(said, wanted, strict=True):
        assert re.search(message, text), (message, text)
    assert peak < MOST


def test_a_member_that_is_damaged_is_named(tmp_path):
    path = packed(tmp_path / "m.keras", {"config.json": b'{"a": 1}'}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b'"a": 1', b'"b": 1'))
    with pytest.raises(ValueError, match=r"its member 'config.json' is damaged"):
        check_keras_archive(path)
