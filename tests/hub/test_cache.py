"""Only a whole module is a hit, in any of the caches; a broken one is named and kept out."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny import pack, write_module

from mmzoo.hub import cache, store
from mmzoo.hub.cache import find_fault, inspect, module_folder, places
from mmzoo.hub.saved_model import SavedModelError

YAMNET = "https://tfhub.dev/google/yamnet/1"
KAGGLE = "google/yamnet/tensorFlow2/yamnet"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("whole") / "module")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def states(handle):
    return {place.path: inspect(place).state for place in places(handle)}


def test_the_defaults_are_those_of_the_other_libraries(monkeypatch, tmp_path):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.mmzoo_cache() == tmp_path / ".cache/mmzoo/hub"
    assert cache.kagglehub_cache() == tmp_path / ".cache/kagglehub"
    assert cache.tensorflow_hub_cache() == Path(tempfile.gettempdir()) / "tfhub_modules"
    monkeypatch.setenv("MMZOO_CACHE", "~/mine")
    assert cache.mmzoo_cache() == tmp_path / "mine"


def test_our_own_cache_is_legible(caches, whole):
    own = caches / "MMZOO_CACHE"
    assert module_folder(YAMNET) == own / "tfhub.dev/google/yamnet/1"
    assert module_folder(f"{KAGGLE}/1") == own / "kaggle.com/google/yamnet/tensorFlow2/yamnet/1"
    assert module_folder("mmzoo/minilm-l6/1") == own / "mmzoo/minilm-l6/1"
    url = module_folder("https://example.com/a/m.tar.gz?x=1")
    assert url.parent == own / "urls" and url.name.endswith("-m.tar.gz")
    assert url != module_folder("https://example.com/a/m.tar.gz?x=2")
    archive = pack(whole, caches / "m.tgz")
    assert module_folder(archive) == module_folder(shutil.copy(archive, caches / "n.tgz"))


def test_what_has_no_place_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected a handle with a version. Received.*yamnet'"):
        module_folder("https://tfhub.dev/google/yamnet")
    with pytest.raises(ValueError, match="Expected a handle that is no folder"):
        module_folder(tmp_path)
    assert places(tmp_path) == []
    assert places(tmp_path / "gone.tgz") == []


@pytest.mark.parametrize(
    "spelling",
    [
        YAMNET,
        f"{YAMNET}/",
        "http://tfhub.dev/google/yamnet/1",
        f"{YAMNET}?tf-hub-format=compressed",
    ],
)
def test_tensorflow_hubs_cache_is_searched_under_every_spelling(caches, whole, spelling):
    assert "whole" not in states(YAMNET).values()
    folder = caches / "TFHUB_CACHE_DIR" / hashlib.sha1(spelling.encode()).hexdigest()
    shutil.copytree(whole, folder)
    assert states(YAMNET)[folder] == "whole"
    assert "whole" not in states("https://tfhub.dev/google/yamnet/2").values()


def test_tensorflow_hub_itself_would_read_the_same_folder(caches):
    from tensorflow_hub import compressed_module_resolver

    expected = Path(compressed_module_resolver._module_dir(YAMNET))
    assert expected in [place.path for place in places(YAMNET)]


def test_a_lock_of_tensorflow_hub_beside_a_folder_is_no_hit(caches, whole):
    folder = caches / "TFHUB_CACHE_DIR" / hashlib.sha1(YAMNET.encode()).hexdigest()
    shutil.copytree(whole, folder)
    folder.with_name(f"{folder.name}.lock").touch()
    place = next(place for place in places(YAMNET) if place.path == folder)
    assert str(inspect(place)) == f"{folder} (broken: {folder.name}.lock is left beside it)"


@pytest.mark.parametrize("framework", ["tensorFlow2", "TensorFlow2"])
def test_kagglehubs_cache_needs_its_marker(caches, whole, framework):
    top = caches / "KAGGLEHUB_CACHE/models/google/yamnet" / framework / "yamnet"
    shutil.copytree(whole, top / "1")
    place = next(place for place in places(f"{KAGGLE}/1") if place.path == top / "1")
    assert inspect(place).state == "unfinished"
    assert "there is no 1.complete beside it" in str(inspect(place))
    (top / "1.complete").touch()
    assert inspect(place).state == "whole"


def test_kagglehub_itself_would_read_the_same_folder():
    pytest.importorskip("kagglehub", reason="an optional client")
    from kagglehub.cache import get_cached_path
    from kagglehub.handle import parse_model_handle

    for spelling in (f"{KAGGLE}/1", f"{KAGGLE}/1".replace("tensorF", "TensorF")):
        expected = Path(get_cached_path(parse_model_handle(spelling)))
        assert expected in [place.path for place in places(spelling)]


def test_an_open_version_means_the_highest_one_there(caches, whole):
    top = caches / "KAGGLEHUB_CACHE/models/google/yamnet/tensorFlow2/yamnet"
    for version in ("2", "10", "x"):
        (top / version).mkdir(parents=True)
    own = caches / "MMZOO_CACHE/kaggle.com/google/yamnet/tensorFlow2/yamnet/3"
    own.mkdir(parents=True)
    assert [p.path for p in places(KAGGLE) if p.cache == "kagglehub"] == [top / "10", top / "2"]
    assert [p.path for p in places(KAGGLE) if p.cache == "mmzoo"] == [own]


def test_shipped_modules_come_first(caches, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "SHIPPED", tmp_path / "modules")
    found = places("mmzoo/concept128-image/1")
    assert [place.cache for place in found] == ["shipped", "mmzoo"]
    assert found[0].path == tmp_path / "modules/concept128-image/1"


def test_checksums(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "m")
    store.write_checksums(folder)
    sums = (folder / "SHA256SUMS").read_text()
    assert find_fault(folder) == ""
    assert "  variables/variables.index\n" in sums and "SHA256SUMS" not in sums
    data = folder / "variables/variables.data-00000-of-00001"
    values = bytearray(data.read_bytes())
    values[7] ^= 1  # as long as before
    data.write_bytes(values)
    assert "data-00000-of-00001: expected SHA-256" in find_fault(folder)
    assert find_fault(folder, checksums=False) == ""
    shutil.copy(whole / "variables" / data.name, data)
    (folder / "SHA256SUMS").write_text(sums + f"{'0' * 64}  README.md\n")
    assert find_fault(folder) == "README.md is missing"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../m/saved_model.pb\n" + sums)
    assert find_fault(folder) == "../m/saved_model.pb is missing"
    (folder / "SHA256SUMS").write_text("")
    assert find_fault(folder) == "SHA256SUMS does not list saved_model.pb"
    (folder / "SHA256SUMS").write_bytes(b"\xff\xff")
    assert "it can't be read" in find_fault(folder)


def test_what_is_added_is_checked_signed_and_renamed(tmp_path, whole):
    target = tmp_path / "cache" / "m" / "1"
    with store.adding(target) as folder:
        shutil.copytree(whole, folder / "in" / "here")
        assert not target.exists()
    assert find_fault(target) == "" and (target / "SHA256SUMS").is_file()
    assert os.listdir(target.parent) == ["1"]


def test_half_a_module_is_never_added(tmp_path, whole):
    target = tmp_path / "m"
    refused = pytest.raises(SavedModelError, match="Received one in which there is no saved_model")
    with refused, store.adding(target) as folder:
        (folder / "variables").mkdir()
    refused = pytest.raises(SavedModelError, match="in which assets/vocabulary.txt is missing")
    with refused, store.adding(target) as folder:
        shutil.copytree(whole, folder / "m")
        (folder / "m/assets/vocabulary.txt").unlink()
    with pytest.raises(KeyboardInterrupt), store.adding(target) as folder:
        shutil.copytree(whole, folder / "m")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_the_faster_process_wins_and_a_broken_one_is_replaced(tmp_path, whole):
    target = tmp_path / "m"
    with store.adding(target) as folder:
        shutil.copytree(whole, folder / "m")
        shutil.copytree(whole, target)  # another process
        (target / "theirs").touch()
    assert (target / "theirs").exists() and os.listdir(tmp_path) == ["m"]
    (target / "saved_model.pb").unlink()
    with store.adding(target) as folder:
        shutil.copytree(whole, folder / "m")
    assert not (target / "theirs").exists() and os.listdir(tmp_path) == ["m"]


def test_replacing_gives_back_what_was_there_unless_it_succeeds(caches, whole):
    top = caches / "KAGGLEHUB_CACHE/models/google/yamnet/tensorFlow2/yamnet"
    shutil.copytree(whole, top / "1")
    (top / "1.complete").touch()
    findings = [inspect(place) for place in places(f"{KAGGLE}/1")]
    with pytest.raises(OSError, match="no network"), store.replacing(findings):
        assert os.listdir(top) and not (top / "1").exists() and not (top / "1.complete").exists()
        (top / "1").mkdir()
        raise OSError("no network")
    assert sorted(os.listdir(top)) == ["1", "1.complete"]
    assert find_fault(top / "1") == ""
    with store.replacing(findings):
        (top / "1").mkdir()
    assert os.listdir(top) == ["1"] and os.listdir(top / "1") == []


def test_replacing_leaves_what_others_own(tmp_path, whole, monkeypatch, caplog):
    folder = shutil.copytree(whole, tmp_path / "m")

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "rename", refuse)
    with store.replacing([cache.Finding(cache.Place("mmzoo", folder), "broken")]):
        pass
    assert f"mmzoo can't move {folder} aside: read-only" in caplog.text
    assert find_fault(folder) == ""


def test_replacing_follows_no_link(tmp_path, whole):
    (tmp_path / "link").symlink_to(whole)
    with store.replacing([cache.Finding(cache.Place("mmzoo", tmp_path / "link"), "broken")]):
        pass
    assert os.listdir(tmp_path) == []
    assert find_fault(whole) == ""


ADD = """
import pathlib, shutil, sys
from mmzoo.hub import store
from mmzoo.hub.handles import parse
source, target, log = map(pathlib.Path, sys.argv[1:])
with store.locked(parse("https://tfhub.dev/google/yamnet/1")):
    with log.open("a") as file:
        file.write("in ")
    with store.adding(target) as folder:
        shutil.copytree(source, folder / "m")
    with log.open("a") as file:
        file.write("out ")
"""


def test_processes_take_turns(tmp_path, whole):
    target, log = tmp_path / "cache" / "m", tmp_path / "log"
    command = [sys.executable, "-c", ADD, whole, target, log]
    jobs = [subprocess.Popen(command) for _ in range(5)]
    assert [job.wait(timeout=120) for job in jobs] == [0] * 5
    assert log.read_text() == "in out " * 5
    assert os.listdir(tmp_path / "cache") == ["m"] and find_fault(target) == ""
