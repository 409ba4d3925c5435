"""What stock Keras does under `MirroredStrategy` with two replicas, beside one device; as JSON."""

import json
import os
import sys
from contextlib import nullcontext

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # TensorFlow's default on newer processors alone

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mmzoo import losses, training

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(16, 6)).astype("float32") * np.array([[1.0]] * 8 + [[9.0]] * 8, "float32")
Y = DRAW.normal(size=(16, 1)).astype("float32")


def dense(*between, units=1):
    x = keras.Input((6,), name="x")
    h = x
    for layer in between:
        h = layer(h)
    return keras.Model(x, layers.Dense(units, name="out")(h))


def fit(strategy, make, x=X, y=Y, weight=None, batch=16, loss="mse", optimizer=None, **options):
    """Weights and loss after three steps of the whole batch."""
    keras.utils.set_random_seed(3)
    with nullcontext() if strategy is None else strategy.scope():
        model = make()
        optimizer = keras.optimizers.SGD(0.05) if optimizer is None else optimizer()
        model.compile(
            optimizer=optimizer, loss=loss() if isinstance(loss, type) else loss, **options
        )
    found = model.fit(
        x, y, sample_weight=weight, batch_size=batch, epochs=3, shuffle=False, verbose=0
    )
    weights = [w.numpy() for w in model.weights if "seed" not in w.path]
    return weights, found.history["loss"]


def off(strategy, make, **options):
    """How far the weights of two replicas are from those of one device, relative to them."""
    one, two = (fit(each, make, **options)[0] for each in (None, strategy))
    scale = max(np.abs(a).max() for a in one)
    return float(max(np.abs(a - b).max() for a, b in zip(one, two, strict=True)) / scale)


def error(function):
    try:
        function()
    except Exception as caught:  # noqa: BLE001  the test reads which
        return f"{type(caught).__name__}: {caught}"[:2000]
    return "no error"


def scalar_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred))


def pair():
    x = keras.Input((6,), name="x")
    return keras.Model(
        x, losses.Pair()([layers.Dense(4, name="a")(x), layers.Dense(4, name="b")(x)])
    )


def masked_norm():
    x = keras.Input((6,), name="x")
    h = layers.Masking()(layers.Reshape((6, 1))(x))
    h = layers.BatchNormalization(synchronized=True)(h)
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(h)))


def strings():
    x = keras.Input((), dtype="string", name="x")
    codes = layers.StringLookup(vocabulary=["a", "b"])(x)
    return keras.Model(x, layers.Dense(1)(layers.Embedding(3, 2)(codes)))


def masks(strategy):
    """Whether both replicas drop the same units."""
    with strategy.scope():
        layer = layers.Dropout(0.5, seed=1)
    local = strategy.run(lambda: layer(tf.ones((4, 8)), training=True))
    first, second = strategy.experimental_local_results(local)
    return bool(np.array_equal(first, second))


def infinite_on_the_second(strategy):
    """Whether weights stay finite where only the second replica's gradient is infinite."""
    x = X.copy()
    x[12] = np.inf
    weights, _ = fit(
        strategy, dense, x=x,
        optimizer=lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05)),
    )  # fmt: skip
    return bool(all(np.isfinite(w).all() for w in weights))


def main():
    two = training.strategy("mirrored", replicas=2)
    sgd = keras.optimizers.SGD
    uneven = np.arange(1.0, 17.0, dtype="float32")
    weighted = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    found = {
        "plain": off(two, dense),
        "clipnorm": off(two, dense, optimizer=lambda: sgd(0.05, clipnorm=0.1)),
        "global_clipnorm": off(two, dense, optimizer=lambda: sgd(0.05, global_clipnorm=0.1)),
        "clipvalue": off(two, dense, optimizer=lambda: sgd(0.05, clipvalue=0.05)),
        "batch_norm": off(two, lambda: dense(layers.BatchNormalization())),
        "synchronized": off(two, lambda: dense(layers.BatchNormalization(synchronized=True))),
        "masked": off(two, masked_norm, x=X * np.float32(X > 0)),
        "far_from_zero": off(
            two, lambda: dense(layers.BatchNormalization(synchronized=True)), x=X + 3000.0
        ),
        "no_rows": list(
            tf.nn.conv2d(tf.zeros((0, 4, 4, 3)), tf.ones((3, 3, 3, 8)), 1, "SAME").shape
        ),
        "last_batch": off(two, dense, x=X[:11], y=Y[:11], batch=8),
        "mean_with_sample_weight": off(two, dense, weight=uneven, loss=weighted),
        "contrastive": off(two, pair, y=np.arange(16), loss=losses.InfoNCE),
        "scalar_loss": [fit(each, dense, loss=scalar_loss)[1][0] for each in (None, two)],
        "same_dropout": masks(two),
        "infinite_on_the_second": infinite_on_the_second(two),
        "first_batch": error(lambda: fit(two, dense, batch=7)),
        "strings": error(lambda: fit(two, strings, x=tf.constant(["a", "b"] * 8))),
        "accumulation": error(
            lambda: fit(two, dense, optimizer=lambda: sgd(0.05, gradient_accumulation_steps=2))
        ),
        "ema_overwrite_frequency": error(
            lambda: fit(
                two, dense, optimizer=lambda: sgd(0.05, use_ema=True, ema_overwrite_frequency=2)
            )
        ),
        "jit_compile": error(lambda: fit(two, dense, jit_compile=True)),
        "steps_per_execution": off(two, dense, batch=4, steps_per_execution=2),
    }
    print(json.dumps(found))


def worker():
    """Stock `fit` as one of two workers."""
    several = training.strategy("multiworker")
    print(json.dumps(error(lambda: fit(several, dense))))


if __name__ == "__main__":
    worker() if sys.argv[1:] else main()
