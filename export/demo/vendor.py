"""onnxruntime-web of a pinned version: fetched by npm once, checked, kept in a cache."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from mmzoo.io.files import atomic_write, sha256

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = (  # as npm states it for this version
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
FILES = {  # of its folder dist/, all that the page needs: name to SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm":
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}  # fmt: skip
SECONDS = 600


class VendorError(RuntimeError):
    """onnxruntime-web could not be had."""


def runtime_cache() -> Path:
    """`$MMZOO_CACHE/npm`, else `~/.cache/mmzoo/npm`."""
    top = os.environ.get("MMZOO_CACHE") or Path.home() / ".cache" / "mmzoo"
    return Path(top).expanduser() / "npm"


def fetch_runtime(cache: Path | None = None) -> dict[str, Path]:
    """Returns the runtime's files, name to path; fetches them if the cache does not hold them.

    Args:
        cache: Folder of what npm gave. None: `runtime_cache()`.

    Raises:
        VendorError: If npm is missing or fails, or if what came is not what was pinned.
    """
    folder = (cache or runtime_cache()) / f"{PACKAGE}-{VERSION}"
    if not _is_whole(folder):
        with tempfile.TemporaryDirectory() as place:
            _unpack(_pack(Path(place), folder), folder)
    return {name: folder / name for name in FILES}


def _is_whole(folder):
    return all((folder / n).is_file() and sha256(folder / n) == d for n, d in FILES.items())


def _pack(place, folder):
    """Has npm fetch the package, as it is set up here, into an empty folder."""
    command = f"npm pack {PACKAGE}@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError(
            f"Expected npm on PATH, to fetch {PACKAGE} {VERSION} once. Received: no npm. Install "
            f"Node.js, which brings it; or copy {folder} from a machine that has it."
        )
    try:
        done = subprocess.run(
            [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"],
            cwd=place, capture_output=True, text=True, errors="replace", timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise VendorError(
            f"Expected `{command}` to finish in {SECONDS} s. It did not: is the registry reached?"
        ) from error
    found = sorted(place.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        last = " | ".join([line for line in done.stderr.splitlines() if line.strip()][-3:])
        raise VendorError(
            f"Expected `{command}` to fetch one archive. It ended with code {done.returncode}: "
            f"{last or 'no message'}. Check npm's registry and the network, and try again."
        )
    return found[0]


def _unpack(archive, folder):
    """Puts the files of an archive into the cache, all at once, if it is the pinned one."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != INTEGRITY:
        raise VendorError(
            f"Expected {PACKAGE} {VERSION} of the integrity {INTEGRITY}. Received: {found}. "
            "Nothing of it was kept: check which registry npm asks."
        )
    with tarfile.open(archive) as tar, atomic_write(folder) as new:
        new.mkdir()
        members = {member.name: member for member in tar if member.isfile()}
        for name in FILES:
            member = members.get(f"package/dist/{name}")
            if member is None:
                raise VendorError(f"Expected a file dist/{name} in {PACKAGE} {VERSION}.")
            content = tar.extractfile(member)
            (new / name).write_bytes(b"" if content is None else content.read())
        if not _is_whole(new):
            raise VendorError(f"Expected files of the pinned SHA-256 in {PACKAGE} {VERSION}.")
