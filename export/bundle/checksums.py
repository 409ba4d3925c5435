"""Checksums of a bundle's files, and what was changed since."""

from pathlib import Path

from mmzoo.export.bundle.formats import PATHS
from mmzoo.io.files import sha256

SUMS = "SHA256SUMS"
SIGNATURE = "model.sig"  # of all other files, the sums among them: see `export.signing`


def changed_files(folder: Path, manifest: dict, name: str) -> list[str]:
    """Files of one format that are not as the manifest's checksums say, in words."""
    expected = manifest["formats"][name]["files"]
    top = folder / PATHS[name].split("/")[0]
    found = {p.relative_to(folder).as_posix() for p in top.rglob("*") if not p.is_dir()}
    breaches = [f"{file}: no part of the bundle" for file in sorted(found - set(expected))]
    breaches += _strange(folder, top, expected)
    for file, digest in expected.items():
        actual = sha256(folder / file) if file in found else "no file"
        if actual != digest:
            breaches.append(f"{file}: expected SHA-256 {digest[:12]}…, found {actual[:12]}…")
    return breaches


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` of every file of a bundle, as `sha256sum --check` reads it."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def changed_sums(folder: Path) -> list[str]:
    """What is not as `SHA256SUMS` says, in words."""
    path = folder / SUMS
    if not path.is_file():
        return [f"{SUMS}: no such file"]
    expected = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        expected[name] = digest
    found = _files(folder)
    breaches = [f"{name}: not in {SUMS}" for name in found if name not in expected]
    breaches += _strange(folder, folder, expected)
    for name, digest in expected.items():
        if name not in found:
            breaches.append(f"{name}: in {SUMS}, but not there")
        elif sha256(folder / name) != digest:
            breaches.append(f"{name}: not as {SUMS} says")
    return breaches


def _files(folder):
    """Paths of a bundle's files, but for the sums and the signature, which is made of them."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return sorted(names - {SUMS, SIGNATURE})


def _strange(folder, top, expected):
    """Links, and folders that hold nothing of the bundle: a server might follow them."""
    breaches = []
    for path in sorted(top.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            breaches.append(f"{name}: a link, no part of the bundle")
        elif name == "saved_model/1/assets":
            continue  # TensorFlow writes it empty too
        elif path.is_dir() and not any(file.startswith(f"{name}/") for file in expected):
            breaches.append(f"{name}: a folder that is no part of the bundle")
    return breaches
