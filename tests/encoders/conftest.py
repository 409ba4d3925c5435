"""Encoders are tested without the modules that this machine may have, and without a network."""

import pytest
from kept import kept_processes  # noqa: F401 a fixture


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """A folder in which every cache of modules is empty."""
    for name in ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MMZOO_OFFLINE", "1")
    return tmp_path
