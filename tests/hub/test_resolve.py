"""From any handle to a whole module: from a cache, from a server, or an error that helps."""

import functools
import hashlib
import http.server
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from tiny import pack, write_module

import mmzoo.hub.resolution
from mmzoo.hub import cache, catalogue, download
from mmzoo.hub.archives import ArchiveError
from mmzoo.hub.cache import find_fault, module_folder
from mmzoo.hub.resolution import ResolveError, find, offline_mode, resolve

MODULE = sys.modules["mmzoo.hub.resolution"]  # the package has a function of that name
YAMNET = "https://tfhub.dev/google/yamnet/1"
KAGGLE = "google/yamnet/tensorFlow2/yamnet/1"
OPEN = "google/yamnet/tensorFlow2/yamnet"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("whole") / "module")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("MMZOO_OFFLINE", raising=False)
    monkeypatch.setattr(MODULE, "download", no_download)
    return tmp_path


def no_download(handle):
    pytest.fail(f"{handle} would have been fetched")  # a BaseException, which none swallows


def tensorflow_hub_folder(handle):
    return cache.tensorflow_hub_cache() / hashlib.sha1(handle.encode()).hexdigest()


def kagglehub_folder(whole, version="1"):
    top = cache.kagglehub_cache() / "models/google/yamnet/tensorFlow2/yamnet"
    shutil.copytree(whole, top / version)
    (top / f"{version}.complete").touch()
    return top / version


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder: `/broken/...` is cut, `/hub/...` speaks TF-Hub's protocol."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.server.asked.append(self.path)
        if path.startswith("/hub/") and query != "tf-hub-format=compressed":
            return self.send_error(404)
        if path.startswith(("/hub/", "/broken/")):
            data = (Path(self.directory) / "m.tar.gz").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            return self.wfile.write(data if "/hub/" in path else data[:-9])
        return super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(MODULE, "download", download.download)
    folder = tmp_path / "served"
    folder.mkdir()
    pack(whole, folder / "m.tar.gz")
    handler = functools.partial(Server, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.asked = []
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def test_local_folders_are_checked_and_given_back(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(whole.parent)
    for handle in (whole, str(whole), "./module", f"file://{whole}", f"{whole}/"):
        assert resolve(handle) == whole


@pytest.mark.parametrize(
    "name, message",
    [
        ("gone", "Received: .*gone, which does not exist.$"),
        ("file", "Received: .*file, which is a file"),
        ("empty", "Expected a whole module. Received: .*empty, in which there is no saved_model"),
        ("serving", "Is .*serving/2 meant"),
        ("google/yamnet/1", "If TF-Hub's module is meant: 'tfhub.dev/google/yamnet/1'"),
        ("gone.tgz", "Expected an archive. Received: .*gone.tgz, which does not exist"),
    ],
)
def test_local_folders_that_are_no_module(whole, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for version in "12":
        shutil.copytree(whole, tmp_path / "serving" / version)
    with pytest.raises(ResolveError, match=message):
        resolve(name)


def test_local_archives_unpack_once_for_each_content(whole, tmp_path):
    archive = pack(whole, tmp_path / "m.tgz", inside="a/module")
    first = resolve(archive, offline=True)
    assert first.is_relative_to(cache.mmzoo_cache()) and find_fault(first) == ""
    changed = first.stat().st_mtime_ns
    assert resolve(archive) == first == resolve(shutil.copy(archive, tmp_path / "n.tgz"))
    assert first.stat().st_mtime_ns == changed
    other = shutil.copytree(whole, tmp_path / "other")
    (other / "assets/vocabulary.txt").write_text("else")
    assert resolve(pack(other, tmp_path / "m.tgz")) != first


def test_local_archives_without_a_module(whole, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResolveError, match=f"^{tmp_path}/m.tgz: Expected a SavedModel. Received"):
        resolve(pack(tmp_path / "empty", tmp_path / "m.tgz"))
    (tmp_path / "m.tgz").write_text("<html>")
    with pytest.raises(ArchiveError, match=f"^{tmp_path}/m.tgz: expected a .tar.gz, .tgz, .tar"):
        resolve(tmp_path / "m.tgz")


def test_a_client_that_fails_in_any_way_is_explained(monkeypatch):
    def fail(handle):
        raise ValueError("Unexpected object\ntype in tar archive")

    monkeypatch.setattr(MODULE, "download", fail)
    with pytest.raises(ResolveError, match="ValueError: Unexpected object type in tar.*Looked at"):
        resolve(YAMNET)


def test_a_folder_that_is_called_as_an_archive(whole, tmp_path):
    assert resolve(shutil.copytree(whole, tmp_path / "m.zip")) == tmp_path / "m.zip"


@pytest.mark.parametrize("asked", [YAMNET, KAGGLE, OPEN, "tfhub.dev/google/yamnet/1/"])
@pytest.mark.parametrize("where", ["mmzoo", "mmzoo, Kaggle", "tensorflow_hub", "kagglehub"])
def test_a_module_is_found_in_any_cache_under_either_hosts_name(whole, asked, where):
    if where == "kagglehub":
        folder = kagglehub_folder(whole)
    else:
        places = {
            "mmzoo": module_folder(YAMNET), "mmzoo, Kaggle": module_folder(KAGGLE),
            "tensorflow_hub": tensorflow_hub_folder(
                "https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1"
            ),
        }  # fmt: skip
        folder = shutil.copytree(whole, places[where])
    if asked == OPEN and where == "mmzoo":
        asked = KAGGLE  # without a version it is not the catalogue's module
    if asked == OPEN and where == "tensorflow_hub":
        asked = KAGGLE
    assert resolve(asked) == folder


def test_other_versions_are_other_modules(whole):
    kagglehub_folder(whole, "2")
    with pytest.raises(ResolveError):
        resolve(YAMNET, offline=True)
    assert resolve("google/yamnet/tensorFlow2/yamnet").name == "2"


def test_broken_entries_are_named_and_passed_over(whole, caplog):
    broken = shutil.copytree(whole, tensorflow_hub_folder(YAMNET))
    (broken / "variables/variables.index").unlink()
    folder = kagglehub_folder(whole)
    with caplog.at_level(logging.WARNING, "mmzoo"):
        assert resolve(YAMNET) == folder
    assert f"{broken} (broken: variables/variables.index is missing)" in caplog.text
    assert broken.is_dir()


def test_broken_entries_are_replaced_by_a_download(whole, monkeypatch):
    broken = tensorflow_hub_folder(YAMNET)
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_text("<html>")

    def fetch(handle):
        assert str(handle) == YAMNET and not broken.exists()
        return Path(shutil.copytree(whole, broken))

    monkeypatch.setattr(MODULE, "download", fetch)
    assert resolve(YAMNET) == broken
    assert os.listdir(broken.parent) == [broken.name]
    monkeypatch.setattr(MODULE, "download", no_download)
    assert resolve(YAMNET) == broken


def test_force_keeps_the_old_one_until_the_new_one_has_come(whole, monkeypatch):
    old = shutil.copytree(whole, module_folder(YAMNET))
    other_host = kagglehub_folder(whole)

    def fail(handle):
        assert not old.exists()
        raise ConnectionError("cable")

    monkeypatch.setattr(MODULE, "download", fail)
    with pytest.raises(ResolveError, match="ConnectionError: cable"):
        resolve(YAMNET, force=True)
    assert resolve(YAMNET) == old
    new = tensorflow_hub_folder(YAMNET)
    monkeypatch.setattr(MODULE, "download", lambda _: Path(shutil.copytree(whole, new)))
    assert resolve(YAMNET, force=True) == new
    assert not old.exists() and find_fault(other_host) == ""


def test_offline_says_each_path_and_how_to_seed(whole, caches, monkeypatch):
    monkeypatch.setenv("MMZOO_OFFLINE", "1")
    with pytest.raises(ResolveError, match="offline mode is on") as caught:
        resolve(YAMNET)
    text = str(caught.value)
    assert "\n" not in text
    tried = [
        module_folder(YAMNET), tensorflow_hub_folder(YAMNET), tensorflow_hub_folder(f"{YAMNET}/"),
        module_folder(KAGGLE), cache.kagglehub_cache() / "models" / KAGGLE,
    ]  # fmt: skip
    for path in tried:
        assert str(path) in text
    assert f"put the module's folder (with saved_model.pb in it) at {tried[0]}:" in text
    assert f"`mmzoo hub fetch {YAMNET}`" in text
    shutil.copytree(whole, tried[0])
    assert resolve(YAMNET) == tried[0]  # as it told us


def test_offline_without_a_version():
    with pytest.raises(ResolveError, match=r"name a version \('kaggle://google/.*/yamnet/1'\)"):
        resolve("google/yamnet/tensorFlow2/yamnet", offline=True)


@pytest.mark.parametrize(
    "value, expected", [("1", True), ("True", True), ("0", False), ("", False)]
)
def test_offline_mode(monkeypatch, value, expected):
    monkeypatch.setenv("MMZOO_OFFLINE", value)
    assert offline_mode() is expected
    with pytest.raises(ResolveError if expected else pytest.fail.Exception):
        resolve(YAMNET)
    with pytest.raises(ResolveError):
        resolve(YAMNET, offline=True)


def test_offline_mode_that_is_neither_on_nor_off(monkeypatch):
    monkeypatch.setenv("MMZOO_OFFLINE", "maybe")
    with pytest.raises(ValueError, match=r"\$MMZOO_OFFLINE must be 1 or 0. Received: 'maybe'"):
        resolve(YAMNET)


def test_what_comes_broken_is_not_used(caches, monkeypatch):
    folder = caches / "fetched"
    folder.mkdir()
    monkeypatch.setattr(MODULE, "download", lambda _: folder)
    with pytest.raises(ResolveError, match=f"fetched to {folder}, and there is no saved_model.pb"):
        resolve(YAMNET)


def test_our_own_modules(whole, monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "SHIPPED", tmp_path / "modules")
    with pytest.raises(ResolveError, match="It ships with mmzoo: install mmzoo again"):
        resolve("mmzoo/concept128-image/1")
    with pytest.raises(
        ResolveError, match=f"at: {tmp_path}.*from weights .*: mmzoo hub build audio"
    ):
        resolve("mmzoo/whisper-tiny-en/1")
    with pytest.raises(
        ResolveError, match="Expected one of mmzoo/.*minilm.*Received: mmzoo/none/1"
    ):
        resolve("mmzoo/none/1")
    built = shutil.copytree(whole, module_folder("mmzoo/whisper-tiny-en/1"))
    assert resolve("mmzoo/whisper-tiny-en/1") == built
    shipped = shutil.copytree(whole, tmp_path / "modules/concept128-image/1")
    assert resolve("mmzoo/concept128-image/1", offline=True) == shipped


def test_find_lists_every_place_once(whole):
    findings = find(YAMNET)
    paths = [finding.place.path for finding in findings]
    assert len(set(paths)) == len(paths) >= 10
    assert {finding.state for finding in findings} == {"absent"}


def test_an_archive_behind_a_url(server, whole):
    url = f"{server.url}/m.tar.gz"
    folder = resolve(url)
    assert folder == module_folder(url) and find_fault(folder) == ""
    assert resolve(url, offline=True) == folder
    assert server.asked == ["/m.tar.gz"]
    assert resolve(url, force=True) == folder
    assert server.asked == ["/m.tar.gz"] * 2
    assert os.listdir(folder.parent) == [folder.name]


def test_downloads_that_fail_leave_nothing(server):
    for path, message in [
        ("broken/m.tar.gz", "ConnectionError: .* broke off after .* bytes"),
        ("none/m.tar.gz", "HTTPError: HTTP Error 404"),
        ("hub/none/m.tar.gz", "HTTPError: HTTP Error 404"),
    ]:
        with pytest.raises(ResolveError, match=f"{message}.*Looked at: .*To seed it, put"):
            resolve(f"{server.url}/{path}")
    assert os.listdir(cache.mmzoo_cache() / "urls") == []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ResolveError, match="URLError.*Connection refused.*Looked at"):
        resolve(f"http://127.0.0.1:{port}/m.zip")


def test_a_page_instead_of_an_archive(server, tmp_path):
    (tmp_path / "served/page.zip").write_text("<html>Sign in</html>")
    with pytest.raises(ArchiveError, match=f"^{server.url}/page.zip: .*whether that gives a page"):
        resolve(f"{server.url}/page.zip")


def test_too_large_a_download(server, monkeypatch):
    monkeypatch.setattr(download, "_SIZE", 1000)
    with pytest.raises(ArchiveError, match="Expected at most 1,000 bytes. http.*m.tar.gz has"):
        resolve(f"{server.url}/m.tar.gz")


def test_tensorflow_hub_really_fetches(server, whole):
    """TF-Hub's own client, protocol and cache, over a socket."""
    url = f"{server.url}/hub/publisher/module/1"
    folder = resolve(url)
    assert folder == tensorflow_hub_folder(url) and find_fault(folder) == ""
    assert server.asked == ["/hub/publisher/module/1?tf-hub-format=compressed"]
    assert resolve(url, offline=True) == folder
    (folder / "assets/vocabulary.txt").unlink()
    assert resolve(url) == folder and find_fault(folder) == ""
    assert len(server.asked) == 2


def test_tensorflow_hub_without_what_it_imports(monkeypatch):
    monkeypatch.setattr(MODULE, "download", download.download)
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow_hub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as setuptools 82 leaves it
    with pytest.raises(ImportError, match=r'pip install "setuptools<82" tensorflow-hub tf_keras'):
        resolve(YAMNET)


def test_tensorflow_hub_that_gives_no_folder(monkeypatch):
    monkeypatch.setattr(MODULE, "download", download.download)
    fake = types.SimpleNamespace(resolve=lambda handle: "gs://bucket/module")
    monkeypatch.setitem(sys.modules, "tensorflow_hub", fake)
    with pytest.raises(ResolveError, match=r"Received: gs://bucket/module. Unset \$TFHUB_MODEL_LO"):
        resolve(YAMNET)


def test_kagglehub_fetches_kaggle_handles(whole, monkeypatch):
    monkeypatch.setattr(MODULE, "download", download.download)
    asked = []

    def model_download(handle):
        asked.append(handle)
        return str(kagglehub_folder(whole))

    fake = types.SimpleNamespace(model_download=model_download)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    folder = resolve("https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1")
    assert asked == ["google/yamnet/tensorFlow2/yamnet/1"]
    assert resolve(YAMNET) == folder
    assert len(asked) == 1


def test_kagglehub_that_is_not_there(monkeypatch):
    monkeypatch.setattr(MODULE, "download", download.download)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ImportError, match="is not installed: pip install kagglehub"):
        resolve(KAGGLE)


def test_buckets_are_copied(whole, tmp_path, monkeypatch):
    """A bucket as `tf.io.gfile` shows one, where folders end with a slash."""
    import tensorflow as tf

    monkeypatch.setattr(MODULE, "download", download.download)
    root = tmp_path / "bucket"
    shutil.copytree(whole, root / "models/m")
    pack(whole, root / "m.tar.gz")

    def local(path):
        return str(path).replace("gs://bucket", str(root))

    def listdir(path):
        return [p.name + "/" * p.is_dir() for p in Path(local(path)).iterdir()]

    def opened(path, mode):
        return Path(local(path)).open(mode)

    fake = types.SimpleNamespace(
        listdir=listdir,
        isdir=lambda path: os.path.isdir(local(path)),
        copy=lambda source, target: shutil.copy(local(source), target),
        GFile=opened,
    )
    monkeypatch.setattr(tf.io, "gfile", fake)
    for handle in ("gs://bucket/models/m", "gs://bucket/m.tar.gz"):
        folder = resolve(handle)
        assert folder == module_folder(handle) and find_fault(folder) == ""
        assert resolve(handle, offline=True) == folder
    with pytest.raises(ResolveError, match="Can't fetch gs://bucket/none: .*Looked at"):
        resolve("gs://bucket/none")
    monkeypatch.setattr(fake, "listdir", lambda path: ["..", "a"])
    with pytest.raises(ResolveError, match="Expected names of one part in gs://bucket/x"):
        resolve("gs://bucket/x")


def test_equivalents_come_from_the_catalogue():
    assert [str(handle) for handle in catalogue.equivalents(YAMNET)] == [f"kaggle://{KAGGLE}"]


def test_resolving_what_is_there_needs_no_tensorflow(whole):
    code = (
        "import sys; from mmzoo.hub.resolution import resolve\n"
        f"resolve({str(whole)!r}); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
    assert callable(mmzoo.hub.resolve)
