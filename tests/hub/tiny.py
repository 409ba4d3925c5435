"""The smallest modules that have all that a cache looks at: a graph, variables, an asset."""

import tarfile
from pathlib import Path

import tensorflow as tf


class _Affine(tf.Module):
    def __init__(self, asset):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([300, 4]), name="kernel")
        self.steps = tf.Variable(3, trainable=False, name="steps")
        self.asset = tf.saved_model.Asset(asset)

    @tf.function(input_signature=[tf.TensorSpec([None, 300], name="inputs")])
    def __call__(self, inputs):
        return inputs @ self.kernel


def write_module(folder: Path) -> Path:
    """A reusable SavedModel: float (N, 300) to (N, 4), two variables, one asset."""
    asset = folder.parent / "vocabulary.txt"
    asset.parent.mkdir(parents=True, exist_ok=True)
    asset.write_text("a\nb\n")
    module = _Affine(str(asset))
    tf.saved_model.save(module, str(folder), module.__call__.get_concrete_function())
    asset.unlink()
    return folder


def write_tf1_module(folder: Path, variables: bool = True) -> Path:
    """A SavedModel of TensorFlow 1's format: float (N, 3) to (N, 2)."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)  # asked for where an earlier test made operators deterministic
        x = v1.placeholder(tf.float32, [None, 3])
        y = x @ v1.get_variable("kernel", [3, 2]) if variables else x[:, :2]
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    return folder


def pack(folder: Path, path: Path, inside: str = "") -> Path:
    """A .tar.gz of a module, at the top as TF-Hub has it, or in a folder."""
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=inside or ".")
    return path
