"""A module in a cache that another user could have written is not used; a pin names the one."""

import os
import shutil
import sys
import urllib.request

import pytest
from tiny import pack, write_module

from mmzoo.hub import cache, download
from mmzoo.hub.handles import parse
from mmzoo.hub.resolution import ResolveError, resolve

YAMNET = "https://tfhub.dev/google/yamnet/1"
MODULE = sys.modules["mmzoo.hub.resolution"]  # the package has a function of that name


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def found(tmp_path):
    """A module in tensorflow_hub's cache."""
    place = next(p for p in cache.places(YAMNET) if p.cache == "tensorflow_hub").path
    shutil.copytree(write_module(tmp_path / "made"), place)
    assert resolve(YAMNET, offline=True) == place
    return place


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("which", ["", "variables", "..", "saved_model.pb"])
def test_what_others_may_write_to_is_not_used(found, which, mode):
    os.chmod(found / which, mode)
    with pytest.raises(ResolveError, match=r"unsafe: others may write to .*chmod -R go-w"):
        resolve(YAMNET, offline=True)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives away")
@pytest.mark.parametrize("which", ["", "..", "saved_model.pb", "variables/variables.index"])
def test_what_belongs_to_somebody_else_is_not_used(found, which):
    os.chown(found / which, 12345, -1)
    with pytest.raises(ResolveError, match="unsafe: .* belongs to user 12345"):
        resolve(YAMNET, offline=True)


def test_a_sticky_folder_may_hold_a_cache(found):
    os.chmod(found.parent, 0o1777)
    assert resolve(YAMNET, offline=True) == found
    os.chmod(found.parent.parent, 0o1777)
    assert resolve(YAMNET, offline=True) == found
    os.chmod(found.parent.parent, 0o777)
    with pytest.raises(ResolveError, match="unsafe: everybody may write to"):
        resolve(YAMNET, offline=True)


def test_a_link_that_leads_out_is_not_used(found, tmp_path):
    (tmp_path / "else").write_bytes((found / "saved_model.pb").read_bytes())
    (found / "saved_model.pb").unlink()
    (found / "saved_model.pb").symlink_to(tmp_path / "else")
    with pytest.raises(ResolveError, match="unsafe: .* is a link that leads out"):
        resolve(YAMNET, offline=True)


def test_what_a_client_fetches_into_a_folder_of_others_is_not_used(found, monkeypatch):
    os.chmod(found.parent, 0o777)
    monkeypatch.setattr(MODULE, "download", lambda handle: found)
    with pytest.raises(ResolveError, match="it was fetched to .*unsafe: others may write"):
        resolve(YAMNET, offline=False)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "assets/more.txt", ".hidden", "variables/x"])
def test_a_file_that_was_put_into_a_module_is_noticed(tmp_path, name):
    archive = pack(write_module(tmp_path / "made"), tmp_path / "m.tgz")
    module = resolve(archive, offline=True)
    (module / name).parent.mkdir(exist_ok=True)
    (module / name).write_text("put there")
    place = cache.Place("mmzoo", module)
    assert f"{name} was put there since" in cache.inspect(place).reason
    assert resolve(archive, offline=True) == module  # made again
    assert not (module / name).exists()


def test_a_wide_umask_makes_no_module_that_others_may_write_to(tmp_path):
    before = os.umask(0)
    try:
        module = resolve(pack(write_module(tmp_path / "made"), tmp_path / "m.tgz"), offline=True)
    finally:
        os.umask(before)
    paths = [module, *module.rglob("*"), *module.parents[: len(module.parents) - 1]]
    inside = [p for p in paths if p.is_relative_to(tmp_path / "MMZOO_CACHE")]
    assert len(inside) > 4 and not [p for p in inside if p.stat().st_mode & 0o022]


def test_a_pin_is_held_to(found, tmp_path, monkeypatch):
    digest = cache.digest_of(found)
    assert resolve(f"{YAMNET}#sha256={digest}", offline=True) == found
    assert resolve(f"{found}#sha256={digest.upper()}") == found
    for handle in (YAMNET, found):
        with pytest.raises(ResolveError, match=f"of SHA-256 {'0' * 64}. Received: {digest}"):
            resolve(f"{handle}#sha256={'0' * 64}", offline=True)
    assert str(parse(f"{YAMNET}#sha256={digest}")) == YAMNET
    with pytest.raises(ValueError, match="#sha256= and 64 hexadecimal digits"):
        parse(f"{YAMNET}#sha256=abc")
    archive = pack(found, tmp_path / "m.tgz")
    pinned = resolve(f"{archive}#sha256={digest}", offline=True)
    assert cache.digest_of(pinned) == digest


@pytest.mark.parametrize(
    "url", ["http://example.com/m.tgz", "HTTP://10.0.0.1/m", "ftp://example.com/m.tgz"]
)
def test_only_https_leads_over_a_network(url):
    with pytest.raises(ValueError, match="Expected https://|Expected a handle that starts with"):
        parse(url)


@pytest.mark.parametrize(
    ("start", "to"),
    [
        ("https://a.example/m.tgz", "http://a.example/m.tgz"),
        ("https://a.example/m.tgz", "http://127.0.0.1/m.tgz"),
        ("http://127.0.0.1/m.tgz", "http://b.example/m.tgz"),
        ("https://a.example/m.tgz", "ftp://a.example/m.tgz"),
        ("https://a.example/m.tgz", "file:///etc/passwd"),
    ],
)
def test_a_redirect_stays_private(start, to):
    handler, request = download._StaysPrivate(), urllib.request.Request(start)
    with pytest.raises(OSError, match="sends on"):
        handler.redirect_request(request, None, 302, "Found", {}, to)
    other = handler.redirect_request(request, None, 302, "Found", {}, "https://c.example/m.tgz")
    assert other.full_url == "https://c.example/m.tgz"
