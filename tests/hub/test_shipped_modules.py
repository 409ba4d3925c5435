"""The three modules that ship: small, whole, trusted, and as good as their cards say."""

import functools
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mmzoo import encoders, hub
from mmzoo.data import concept128
from mmzoo.hub import catalogue
from mmzoo.hub.cache import SHIPPED, find_fault
from mmzoo.hub.resolution import find
from mmzoo.recipes import towers

ROOT = Path(__file__).resolve().parents[2]
BUILDERS = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}
HANDLES = {modality: f"mmzoo/concept128-{modality}/1" for modality in BUILDERS}
FILES = {
    "SHA256SUMS", "fingerprint.pb", "saved_model.pb", "variables/variables.index",
    "variables/variables.data-00000-of-00001", "assets.extra/README.md",
    "assets.extra/module.json",
}  # fmt: skip


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MMZOO_OFFLINE", "1")


def folder(modality):
    return SHIPPED / f"concept128-{modality}" / "1"


def card(modality):
    text = (folder(modality) / "assets.extra/README.md").read_text(encoding="utf-8")
    return " ".join(text.split())


def figures(modality):
    """What the card says of accuracy: validation and test."""
    found = re.search(r"accuracy (0\.\d{3}) on validation, (0\.\d{3}) on test", card(modality))
    return tuple(float(each) for each in found.groups())


def test_these_three_and_no_more():
    assert {path.parent.name for path in SHIPPED.glob("*/*/")} == {
        f"concept128-{modality}" for modality in BUILDERS
    }


@pytest.mark.parametrize("modality", BUILDERS)
def test_whole_and_small(modality):
    files = {path for path in folder(modality).rglob("*") if path.is_file()}
    assert {path.relative_to(folder(modality)).as_posix() for path in files} == FILES
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    listed = (folder(modality) / "SHA256SUMS").read_text().split()[1::2]
    assert set(listed) == FILES - {"SHA256SUMS"}
    assert find_fault(folder(modality)) == ""
    assert hub.resolve(HANDLES[modality]) == folder(modality)


@pytest.mark.parametrize("modality", BUILDERS)
def test_no_path_of_the_machine_that_made_it_is_in_it(modality):
    for path in folder(modality).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not re.search(rb"/(home|root|tmp|work)/", content), path


@pytest.mark.parametrize("modality", BUILDERS)
def test_the_catalogue_lists_it_as_shipped(modality):
    entry = catalogue.find(HANDLES[modality])
    assert entry.modality == modality and not entry.build and not entry.needs
    places = [finding.place for finding in find(entry.handle) if finding.state == "whole"]
    assert [place.cache for place in places] == ["shipped"]


@pytest.mark.parametrize("modality", BUILDERS)
def test_its_contract_is_that_of_the_encoder_it_was_made_of(modality):
    tower, _ = towers.build_model(modality)
    contract = hub.read_contract(folder(modality))
    assert contract == towers.tower_contract(tower, licence="Apache-2.0")
    module = hub.HubLayer(HANDLES[modality], trainable=True)
    assert len(module.trainable_weights) == len(tower.trainable_weights)
    shapes = {weight.path: tuple(weight.shape) for weight in tower.weights}
    assert {name: tuple(w.shape) for name, w in module.module_weights.items()} == shapes
    assert f"{tower.count_params():,} parameters" in card(modality)


@pytest.mark.parametrize("modality", BUILDERS)
def test_the_card_names_what_it_saw_and_did_not_see(modality):
    text, split = card(modality), concept128.split_sources()
    trained, unseen = re.search(
        r"Trained on\*\* .*?\): (.*?)\. - \*\*Never trained on\*\* (.*?) or (.*?) \(test\)", text
    ).group(1, 2)
    assert trained.split(", ") == split["train"][modality]
    assert unseen == f"{', '.join(split['validation'][modality])} (validation)"
    assert f"{', '.join(split['test'][modality])} (test)" in text
    held_out = {*split["validation"][modality], *split["test"][modality]}
    assert not held_out & set(trained.split(", "))
    assert concept128.checksum()[:12] in text
    assert text.startswith(f"# {HANDLES[modality]} ")


@functools.cache
def features(modality, split, per_class):
    inputs, labels = concept128.draw_samples(split, per_class)
    encoder = BUILDERS[modality](HANDLES[modality])
    return encoder.predict(inputs[modality], batch_size=128, verbose=0)["pooled"], labels


@pytest.mark.parametrize("modality", BUILDERS)
def test_a_linear_probe_comes_near_the_figures_of_the_card(modality):
    """Fitted on plain training samples, so a little below the classifier it was trained in."""
    known, labels = features(modality, "train", 6)
    unseen, expected = features(modality, "test", 3)
    scaler = StandardScaler().fit(known)
    probe = LogisticRegression(max_iter=60, C=0.1).fit(scaler.transform(known), labels)
    accuracy = probe.score(scaler.transform(unseen), expected)
    print(f"{modality}: probe {accuracy:.3f}, card {figures(modality)}")
    stated = figures(modality)[1]
    assert stated - 0.12 <= accuracy <= stated + 0.06  # 384 samples: ± 0.025
    assert accuracy >= 0.25  # chance is 1 in 128


@pytest.mark.parametrize("modality", BUILDERS)
def test_an_archive_with_it_loads_in_safe_mode(modality, tmp_path):
    encoder = BUILDERS[modality](HANDLES[modality], units=5)
    encoder.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # safe mode is the default
    inputs, _ = concept128.draw_samples("test", 1)
    sample = inputs[modality][:2]
    np.testing.assert_allclose(
        loaded(sample)["pooled"], encoder(sample)["pooled"], rtol=1e-5, atol=1e-6
    )


def test_it_is_in_the_wheel(tmp_path):
    """Each file, and the wheel's patterns let nothing else of the folder in."""
    code = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".venv")
    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=copy, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("mmzoo/hub/modules/")}
    assert names == {
        f"mmzoo/hub/modules/concept128-{modality}/1/{name}"
        for modality in BUILDERS
        for name in FILES
    }
