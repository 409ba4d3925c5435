"""Where the page's runtime comes from, and that it is the pinned one."""

import base64
import hashlib
import io
import shutil
import sys
import tarfile

import pytest

from mmzoo.export.demo import vendor


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm of our own: it gives an archive of these files, or fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("MMZOO_CACHE", str(tmp_path / "cache"))

    def made(files, code=0):
        archive = tmp_path / "archive.tgz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(f"package/dist/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        (folder / "npm").write_text(
            f"#!{sys.executable}\nimport shutil, sys\n"
            f"assert sys.argv[1:3] == ['pack', 'onnxruntime-web@{vendor.VERSION}']\n"
            f"shutil.copy({str(archive)!r}, 'package.tgz')\n"
            f"sys.stderr.write('npm says why')\nsys.exit({code})\n"
        )
        (folder / "npm").chmod(0o755)
        return archive

    return made


def pin(monkeypatch, archive, files):
    digest = hashlib.sha512(archive.read_bytes()).digest()
    monkeypatch.setattr(vendor, "INTEGRITY", f"sha512-{base64.b64encode(digest).decode()}")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(vendor, "FILES", digests)


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(vendor.VendorError, match="Received: no npm. Install Node.js") as caught:
        vendor.fetch_runtime(tmp_path / "cache")
    assert f"copy {tmp_path / 'cache' / 'onnxruntime-web-'}" in str(caught.value)


def test_an_archive_that_is_not_the_pinned_one_is_refused(npm, tmp_path):
    npm(dict.fromkeys(vendor.FILES, b"changed"))
    with pytest.raises(vendor.VendorError, match=r"of the integrity sha512-q0y\+.* Nothing of it"):
        vendor.fetch_runtime()
    assert not (tmp_path / "cache").exists()


def test_a_failing_npm_is_quoted(npm):
    npm({}, code=3)
    with pytest.raises(vendor.VendorError, match="ended with code 3: npm says why. Check npm's"):
        vendor.fetch_runtime()


def test_what_came_is_kept_and_checked_again(npm, tmp_path, monkeypatch):
    files = {"a.mjs": b"code", "b.wasm": b"binary"}
    pin(monkeypatch, npm(files | {"another.mjs": b"not needed"}), files)
    found = vendor.fetch_runtime()
    assert {name: path.read_bytes() for name, path in found.items()} == files
    top = tmp_path / "cache" / "npm" / f"onnxruntime-web-{vendor.VERSION}"
    assert sorted(path.name for path in top.iterdir()) == sorted(files)
    found["a.mjs"].write_bytes(b"evil")
    assert vendor.fetch_runtime()["a.mjs"].read_bytes() == b"code"
    shutil.rmtree(tmp_path / "bin")
    assert vendor.fetch_runtime() == found  # without npm
    found["a.mjs"].write_bytes(b"evil")
    with pytest.raises(vendor.VendorError, match="Received: no npm"):
        vendor.fetch_runtime()


def test_an_archive_without_the_files_is_refused(npm, tmp_path, monkeypatch):
    pin(monkeypatch, npm({"a.mjs": b"code"}), {"a.mjs": b"code", "b.wasm": b""})
    with pytest.raises(vendor.VendorError, match=r"Expected a file dist/b\.wasm"):
        vendor.fetch_runtime()
    pin(monkeypatch, npm({"a.mjs": b"code"}), {"a.mjs": b"another"})
    with pytest.raises(vendor.VendorError, match="Expected files of the pinned SHA-256"):
        vendor.fetch_runtime()
    assert list((tmp_path / "cache" / "npm").iterdir()) == []
