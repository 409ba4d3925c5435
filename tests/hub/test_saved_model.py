"""A SavedModel is read without TensorFlow, as TensorFlow reads it; a damaged one is named."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny import write_module, write_tf1_module

from mmzoo.hub.saved_model import SavedModelError, TensorSpec, VariableSpec, read_saved_model

DATA = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("whole") / "module")


@pytest.fixture
def module(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "module")


def test_it_says_what_tensorflow_would(whole):
    found = read_saved_model(whole)
    assert found.tags == ("serve",)
    assert found.tensorflow_version == tf.__version__
    assert found.signatures == {
        "serving_default": {
            "inputs": {"inputs": TensorSpec("float32", (None, 300))},
            "outputs": {"output_0": TensorSpec("float32", (None, 4))},
        }
    }
    assert sorted(found.variables, key=lambda v: v.name) == [
        VariableSpec("float32", (300, 4), "kernel", True),
        VariableSpec("int32", (), "steps", False),
    ]
    assert found.assets == ("vocabulary.txt",)
    assert found.reusable and not found.tf1


def test_tf1_modules(tmp_path):
    found = read_saved_model(write_tf1_module(tmp_path / "a"))
    assert found.tf1 and not found.reusable
    assert found.variables == (VariableSpec("float32", (3, 2), "kernel", False),)
    plain = write_tf1_module(tmp_path / "b", variables=False)
    assert not (plain / INDEX).exists()
    assert read_saved_model(plain).variables == ()


def test_a_large_index_and_several_blocks_are_read(tmp_path):
    """Enough tensors for more than one block of the index, each with a shared name prefix."""
    root = tf.Module()
    root.all = [
        tf.Variable(np.zeros(i % 7 + 1, "int64"), name=f"layer_{i}/a_rather_long_name/kernel")
        for i in range(300)
    ]
    tf.saved_model.save(root, str(tmp_path / "m"))
    found = read_saved_model(tmp_path / "m")
    reader = tf.train.load_checkpoint(str(tmp_path / "m/variables/variables"))
    assert sum(np.prod(v.shape) for v in found.variables) == sum(
        np.prod(shape) for name, shape in reader.get_variable_to_shape_map().items()
        if not name.startswith("_CHECKPOINT")
    )  # fmt: skip
    with open(tmp_path / "m" / DATA, "r+b") as file:
        file.truncate(os.path.getsize(tmp_path / "m" / DATA) - 1)
    with pytest.raises(SavedModelError, match="has .* of its .* bytes"):
        read_saved_model(tmp_path / "m")


def cut(path, keep):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda m: (m / "saved_model.pb").unlink(), "there is no saved_model.pb"),
        (lambda m: cut(m / "saved_model.pb", 0.5), "saved_model.pb does not parse .*cut or dam"),
        (lambda m: cut(m / "saved_model.pb", 0.99), "saved_model.pb does not parse"),
        (lambda m: cut(m / "saved_model.pb", 0), "saved_model.pb is empty"),
        (lambda m: (m / "saved_model.pb").write_text("<html>x"), "does not parse as a SavedModel"),
        (lambda m: (m / INDEX).unlink(), "variables.index is missing"),
        (lambda m: shutil.rmtree(m / "variables"), "variables.index is missing"),
        (lambda m: cut(m / INDEX, 0.5), "variables.index is no index: it does not end as"),
        (lambda m: (m / INDEX).write_bytes(b"\xff" * 200), "variables.index is no index"),
        (lambda m: (m / INDEX).write_bytes((m / INDEX).read_bytes()[-60:]), "lies outside the fi"),
        (lambda m: (m / DATA).unlink(), "data-00000-of-00001 is missing"),
        (lambda m: cut(m / DATA, 0.9), "data-00000-of-00001 has 4,.* of its 5,.* bytes"),
        (lambda m: shutil.rmtree(m / "assets"), "assets/vocabulary.txt is missing"),
        (lambda m: (m / "saved_model.pb.part").touch(), "pb.part is left of a broken-off copy"),
        (lambda m: (m / "variables" / "x.tmp").touch(), "variables/x.tmp is left of a broken-off"),
    ],
)
def test_damage_is_named(module, damage, message):
    read_saved_model(module)
    damage(module)
    with pytest.raises(SavedModelError, match=message):
        read_saved_model(module)


def test_a_tail_of_zeros_is_damage(module):
    """What a crash leaves where a file was given its length before its content."""
    path = module / "saved_model.pb"
    data = path.read_bytes()
    path.write_bytes(data[:-2000] + bytes(2000))
    with pytest.raises(SavedModelError, match="does not parse"):
        read_saved_model(module)


def test_a_compressed_index_is_refused(module):
    data = bytearray((module / INDEX).read_bytes())
    block_end = data[:-48].rindex(b"\x00\x00\x00\x00\x01\x00\x00\x00") + 8  # after the restarts
    data[block_end] = 1  # snappy
    (module / INDEX).write_bytes(data)
    with pytest.raises(SavedModelError, match="variables.index is no index: a block is compressed"):
        read_saved_model(module)


def test_reading_needs_no_tensorflow(whole):
    code = (
        "import sys; from mmzoo.hub.saved_model import read_saved_model as r\n"
        f"assert r({str(whole)!r}).variables; print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
