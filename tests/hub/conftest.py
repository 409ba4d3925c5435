"""Modules that more than one test file reads, each built once."""

import functools

import modules
import pytest
from kept import kept_processes  # noqa: F401 a fixture


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Function of a builder's name, and its options, to the folder of the module it wrote."""

    @functools.cache
    def build(name, **options):
        return modules.BUILDERS[name](tmp_path_factory.mktemp(name) / "module", **options)

    return build
