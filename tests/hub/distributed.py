"""Runs HubLayer under `tf.distribute` on two logical CPUs, and prints what came of it.

A process of its own: a process sets its devices once, before TensorFlow's first operation.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mmzoo.hub import HubLayer

X = np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
Y = np.random.default_rng(1).standard_normal((16, 1)).astype("float32")


def write_module(folder):
    """float `(N, 3)` to `(N, 4)` with a penalty; no statistics, which replicas don't share."""
    start = np.random.default_rng(2).standard_normal((3, 4)).astype("float32")
    w, b = tf.Variable(start, name="w"), tf.Variable(tf.zeros(4), name="b")
    root = tf.train.Checkpoint(variables=[w, b], trainable_variables=[w, b])
    root.__call__ = tf.function(lambda x: tf.tanh(x @ w + b))
    root.__call__.get_concrete_function(tf.TensorSpec([None, 3]))
    root.regularization_losses = [
        tf.function(lambda: 0.1 * tf.reduce_sum(w**2), input_signature=[])
    ]
    tf.saved_model.save(root, str(folder))


def model_of(layer):
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(1, kernel_initializer="ones", name="head")(layer(x)))
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
    return model


def train(model, steps=5):
    fitted = model.fit(X, Y, batch_size=8, epochs=steps, shuffle=False, verbose=0)
    weights = [weight.numpy().tolist() for weight in model.weights]
    return {"loss": fitted.history["loss"], "weights": weights}


def caught(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001  the test reads which
        return f"{type(error).__name__}: {error}"
    return "no error"


def outside(strategy, folder, trainable):
    layer = HubLayer(folder, trainable=trainable)
    with strategy.scope():
        return model_of(layer)


def main(folder):
    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        devices[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    module = folder / "module"
    write_module(module)
    found = {"replicas": strategy.num_replicas_in_sync}

    found["one device"] = train(model_of(HubLayer(module, trainable=True)))
    with strategy.scope():
        model = model_of(HubLayer(module, trainable=True, embed=True, name="hub"))
    weight = model.get_layer("hub").module_weights["w"].value
    found["mirrored"] = type(weight).__name__
    found["two devices"] = train(model)
    found["components equal"] = all(
        np.array_equal(value, weight.numpy())
        for value in strategy.experimental_local_results(weight)
    )

    frozen = outside(strategy, module, False)
    before = frozen.get_weights()
    train(frozen, 1)
    found["frozen outside"] = [
        bool(np.array_equal(a, b)) for a, b in zip(before, frozen.get_weights(), strict=True)
    ]
    found["frozen outside predicts"] = bool(
        np.allclose(frozen.predict(X, verbose=0), frozen(X), atol=1e-6)
    )
    found["trainable outside"] = caught(lambda: outside(strategy, module, True))
    thawed = outside(strategy, module, False)
    thawed.layers[1].trainable = True
    with strategy.scope():
        thawed.compile(optimizer="sgd", loss="mse")
    found["thawed outside"] = caught(lambda: train(thawed, 1))

    model.save(folder / "model.keras")
    found["more"] = train(model, 2)
    with strategy.scope():
        loaded = keras.models.load_model(folder / "model.keras", safe_mode=False)
    found["archive"] = train(loaded, 2)
    shutil.rmtree(module)

    def without_module():
        with strategy.scope():
            again = keras.models.load_model(folder / "model.keras", safe_mode=False)
        found["embedded"] = train(again, 2)

    found["embedded error"] = caught(without_module)
    print(json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
    sys.exit(0)
