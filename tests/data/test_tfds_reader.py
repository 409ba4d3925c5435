"""TensorFlow Datasets as records, each worker its own part."""

import sys

import numpy as np
import pytest

from mmzoo.data import readers

COLUMNS = {"image": "picture", "text": "caption", "label": "kind"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set of eleven pictures with captions and classes."""
    import tensorflow_datasets as tfds

    place = tmp_path_factory.mktemp("tfds")
    rows = [
        (k, {"picture": np.full((3, 4, 3), k, "uint8"), "caption": f"w{k}", "kind": k % 2})
        for k in range(11)
    ]
    features = {
        "picture": tfds.features.Image(shape=(None, None, 3)),
        "caption": tfds.features.Text(),
        "kind": tfds.features.ClassLabel(names=["even", "odd"]),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny", version="1.0.0", features=tfds.features.FeaturesDict(features),
        split_datasets={"train": rows}, data_dir=place,
    )  # fmt: skip
    return place


def test_records_are_whole(folder):
    data = readers.read_tfds("tiny", columns=COLUMNS, data_dir=folder)
    found = list(data.as_numpy_iterator())
    assert len({record["id"] for record in found}) == 11
    assert not any(record["audio_present"] for record in found)
    for record, (inputs, label) in zip(found, readers.decode(data, image_size=(3, 4)), strict=True):
        k = int(record["text"][1:])
        assert record["label"] == label == k % 2
        np.testing.assert_array_equal(inputs["image"], np.full((3, 4, 3), k))


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_each_record_is_one_workers(folder, count):
    def ids(index, count):
        data = readers.read_tfds("tiny", columns=COLUMNS, data_dir=folder, shard=(index, count))
        return [record["id"] for record in data.as_numpy_iterator()]

    parts = [ids(k, count) for k in range(count)]
    assert [name for part in parts for name in part] == ids(0, 1)


def test_what_is_wrong_is_said(folder):
    def read(name="tiny", columns=COLUMNS, shard=(0, 1), data_dir=folder):
        return readers.read_tfds(name, columns=columns, data_dir=data_dir, shard=shard)

    with pytest.raises(ValueError, match="Take fewer workers"):
        read(shard=(0, 12))
    for columns in (
        {"image": "caption"},
        {"image": "none"},
        {"audio": "picture"},
        {"label": "kind"},
    ):
        with pytest.raises(ValueError, match="Expected `columns` of image"):
            read(columns=columns)


def test_without_the_package_its_pip_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install -e .\.\[tfds\]"):
        readers.read_tfds("tiny", columns=COLUMNS)
