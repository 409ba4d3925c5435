"""The bundle that several files look at, or break."""

import shutil

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    import keras
    from small_model import small_model, small_samples

    from mmzoo.export import export_bundle

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("export") / "bundle"
    return export_bundle(
        small_model(), path, samples=small_samples(), classes=[f"c{k}" for k in range(7)]
    )


@pytest.fixture
def copy(exported, tmp_path):
    """A copy to break."""
    return shutil.copytree(exported.path, tmp_path / "bundle")
