"""One canonical form a module, whatever the spelling; the spelling alone decides."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from mmzoo.hub.handles import Handle, parse

YAMNET = "https://tfhub.dev/google/yamnet/1"
KAGGLE = "kaggle://google/yamnet/tensorFlow2/yamnet/1"


@pytest.mark.parametrize(
    "text",
    [
        YAMNET,
        "http://tfhub.dev/google/yamnet/1",
        "https://tfhub.dev/google/yamnet/1/",
        "https://tfhub.dev/google/yamnet/1?tf-hub-format=compressed",
        "https://tfhub.dev/google/yamnet/1/?tf-hub-format=compressed",
        "https://tfhub.dev/google/yamnet/1?hl=en#usage",
        "HTTPS://TFHub.dev/google/yamnet/1",
        "https://www.tfhub.dev/google/yamnet/1",
        "tfhub.dev/google/yamnet/1",
        "  tfhub.dev/google/yamnet/1/\t",
    ],
)
def test_tfhub_spellings_are_one_handle(text):
    expected = Handle("tfhub", YAMNET, ("google", "yamnet", "1"), 1)
    assert parse(text) == expected
    assert str(parse(text)) == YAMNET


def test_deep_tfhub_names_keep_their_case_and_may_leave_the_version_open():
    deep = parse("tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5")
    assert deep.parts[1:] == ("imagenet", "mobilenet_v2_100_224", "feature_vector", "5")
    assert parse("tfhub.dev/google/LaBSE/2").canonical == "https://tfhub.dev/google/LaBSE/2"
    assert parse("https://tfhub.dev/google/yamnet").version is None


@pytest.mark.parametrize(
    "text",
    [
        KAGGLE,
        "kaggle://google/yamnet/TensorFlow2/yamnet/1/",
        "google/yamnet/tensorFlow2/yamnet/1",
        "google/yamnet/TensorFlow2/yamnet/1",
        "google/yamnet/tensorflow2/yamnet/1",
        "https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1",
        "https://kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1",
        "http://www.kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1/",
        "kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1",
        "www.kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1",
        "https://www.kaggle.com/models/google/yamnet/frameworks/TensorFlow2/variations/yamnet"
        "/versions/1?tfhub-redirect=true",
        "https://www.kaggle.com/api/v1/models/google/yamnet/tensorFlow2/yamnet/1/download",
    ],
)
def test_kaggle_spellings_are_one_handle(text):
    assert parse(text) == Handle("kaggle", KAGGLE, tuple(KAGGLE[9:].split("/")), 1)


def test_kaggle_handles_may_leave_the_version_open():
    for text in ("google/yamnet/tensorFlow2/yamnet", KAGGLE.removesuffix("/1")):
        assert parse(text).canonical == "kaggle://google/yamnet/tensorFlow2/yamnet"
        assert parse(text).version is None
    long = "https://www.kaggle.com/models/google/yamnet/frameworks/TensorFlow1/variations/yamnet"
    assert parse(long).canonical == "kaggle://google/yamnet/tensorFlow1/yamnet"


def test_our_own_modules():
    handle = parse("mmzoo/concept128-image/1")
    assert handle == parse("mmzoo/concept128-image/1/")
    assert (handle.kind, handle.version) == ("mmzoo", 1)


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Handle("folder", str(tmp_path / "my module"))
    spellings = [
        "my module", "./my module/", "~/my module", tmp_path / "my module", Path("~/my module"),
        PurePosixPath("my module"), f"file://{tmp_path}/my%20module",
        f"file://localhost{tmp_path}/my module", f"{tmp_path}/other/../my module",
    ]  # fmt: skip
    for spelling in spellings:
        assert parse(spelling) == folder, spelling
    assert folder.path == tmp_path / "my module"
    assert parse("C:\\models\\yamnet").kind == "folder"


@pytest.mark.parametrize("name", ["m.tar.gz", "m.tgz", "m.tar", "m.zip", "M.TAR.GZ"])
def test_archives(name):
    assert parse(f"./{name}").kind == "archive"
    assert parse(f"gs://bucket/{name}").is_archive
    remote = parse(f"https://Example.com:8000/{name}")
    assert remote == Handle("url", f"https://example.com:8000/{name}")
    assert remote.is_archive
    assert not parse("https://example.com/m/1").is_archive


def test_other_urls_keep_what_names_a_module():
    url = "https://example.com/a/b?version=2"
    assert parse(f"{url}#usage").canonical == url
    assert parse("https://example.com/a/").canonical == "https://example.com/a"
    assert parse("gs://bucket/a/b/").canonical == "gs://bucket/a/b"


def test_the_spelling_decides_and_not_what_lies_in_the_folder(tmp_path, monkeypatch):
    """A folder that is called as a module must not take its place; `./` and Path mean it."""
    monkeypatch.chdir(tmp_path)
    for text in ("mmzoo/concept128-image/1", "google/yamnet/tensorFlow2/yamnet/1"):
        os.makedirs(text)
        assert parse(text).kind in ("mmzoo", "kaggle")
        assert parse(f"./{text}").path == tmp_path / text
        assert parse(Path(text)).path == tmp_path / text


def test_a_parsed_handle_and_its_canonical_form_parse_to_themselves():
    for text in (YAMNET, KAGGLE, "mmzoo/a/1", "/tmp/x", "/tmp/x.zip", "https://a.b/c", "gs://a/b"):
        assert parse(parse(text)) == parse(text) == parse(parse(text).canonical)


def test_spellings_are_those_that_tensorflow_hub_may_have_seen():
    seen = parse(YAMNET).spellings()
    assert {YAMNET, f"{YAMNET}/", "http://tfhub.dev/google/yamnet/1"} <= set(seen)
    assert f"{YAMNET}?tf-hub-format=compressed" in seen
    seen = parse(KAGGLE).spellings()
    assert "https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1" in seen
    assert (
        "https://www.kaggle.com/models/google/yamnet/frameworks/tensorFlow2/variations/yamnet"
        "/versions/1" in seen
    )
    for handle in (YAMNET, KAGGLE):
        assert len(set(parse(handle).spellings())) == len(parse(handle).spellings())
        assert {parse(text) for text in parse(handle).spellings()} == {parse(handle)}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must be one line of text"),
        (" \n", "must be one line of text"),
        ("a\nb", "must be one line of text"),
        ("a\0b", "must be one line of text"),
        ("s3://bucket/module", "Expected a handle that starts with https://"),
        ("hf://owner/model", "Expected a handle that starts with https://"),
        ("https:///google/yamnet/1", "Expected a URL with a host"),
        ("gs://bucket", "Expected gs://BUCKET/PATH"),
        ("file://models/yamnet", "three slashes"),
        ("https://tfhub.dev/google", "Expected https://tfhub.dev/PUBLISHER/MODEL/VERSION"),
        ("https://tfhub.dev/google/1", "Expected https://tfhub.dev/PUBLISHER/MODEL/VERSION"),
        ("https://tfhub.dev/google/../etc/1", "Expected https://tfhub.dev/PUBLISHER"),
        ("https://tfhub.dev/s?q=bert", "Expected https://tfhub.dev/PUBLISHER/MODEL/VERSION"),
        ("https://tfhub.dev/google/collections/bert/1", "a list of modules"),
        (f"{YAMNET}?lite-format=tflite", "asks for lite-format=tflite. Leave that part out"),
        (f"{YAMNET}?tfjs-format=file", "asks for tfjs-format=file"),
        (f"{YAMNET}?tf-hub-format=lite", "asks for tf-hub-format=lite"),
        ("https://www.kaggle.com/datasets/a/b", "Expected a Kaggle URL under /models/"),
        ("https://www.kaggle.com/models/google/yamnet", "Expected kaggle://OWNER/MODEL"),
        ("https://www.kaggle.com/models/google/yamnet/frameworks/tensorFlow2", "Expected kaggle:"),
        ("https://kaggle.com/models/a/b/frameworks/tensorFlow2/versions/1", "Expected kaggle://"),
        ("kaggle://google/yamnet/tensorFlow3/yamnet/1", "Expected kaggle://OWNER/MODEL"),
        ("kaggle://google/yamnet/tensorFlow2/yamnet/latest", "Expected kaggle://OWNER/MODEL"),
        ("kaggle://google/../tensorFlow2/yamnet/1", "Expected kaggle://OWNER/MODEL"),
        ("google/yamnet/tfLite/yamnet/1", "which is tfLite. Pick another variation"),
        ("kaggle://google/gemma/keras/2b/1", "which is keras"),
        ("mmzoo/concept128-image", "Expected mmzoo/NAME/VERSION"),
        ("mmzoo/../../etc/1", "Expected mmzoo/NAME/VERSION"),
        ("mmzoo/concept128-image/0", "write './mmzoo/concept128-image/0'"),
    ],
)
def test_what_is_no_handle_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="must be a string or a pathlib.Path. Received: b'x'"):
        parse(b"x")
    with pytest.raises(ValueError, match="Expected a local handle"):
        _ = parse(YAMNET).path


def test_parsing_needs_no_tensorflow():
    code = "import sys, mmzoo.hub.handles; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
