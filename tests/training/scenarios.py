"""Trains the same small models on one device, on replicas or as a worker; prints what came of it.

`python scenarios.py plain 1`, `python scenarios.py mirrored 4`, or with TF_CONFIG `python
scenarios.py multiworker 2`: a process of its own, as TensorFlow sets its devices once. `stock`
trains with `keras.Model` what the others train with `DistributedModel`.
"""

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mmzoo import encoders, losses, training

EPOCHS = 3
ROWS = 37  # divides by nothing
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(ROWS, 6)).astype("float32")
CLASS = DRAW.integers(0, 3, ROWS)
VALUE = DRAW.normal(size=(ROWS, 1)).astype("float32")
WEIGHT = DRAW.uniform(0.1, 2.0, ROWS).astype("float32")
WORDS = np.array([b"red", b"green apple", b"blue", b"a"])[DRAW.integers(0, 4, ROWS)]
STEPS = DRAW.integers(1, 5, (ROWS, 7)) * (np.arange(7) < DRAW.integers(1, 8, (ROWS, 1)))


def dense(dropout=True, norm=True):
    x = keras.Input((6,), name="x")
    h = layers.Dense(8, activation="relu", kernel_regularizer="l2", name="hidden")(x)
    if norm:
        h = layers.BatchNormalization(momentum=0.9, name="norm")(h)
    if dropout:
        h = training.SampleDropout(0.3, seed=5, name="dropout")(h)
    return x, {"kind": layers.Dense(3, name="kind")(h), "value": layers.Dense(1, name="value")(h)}


def two_heads(make, optimizer, batch=7, weights=WEIGHT, norm=True, **options):
    model = make(*dense(norm=norm))
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer=optimizer, loss={"kind": cross_entropy, "value": "mse"},
        loss_weights={"kind": 1.0, "value": 0.5}, metrics={"kind": ["accuracy"]}, **options,
    )  # fmt: skip
    targets = {"kind": CLASS, "value": VALUE}
    return model, tf.data.Dataset.from_tensor_slices(
        (X, targets, dict.fromkeys(targets, weights))
    ).batch(batch)


def adamw(**options):
    return keras.optimizers.AdamW(1e-2, **options)


def contrast(make, loss, **pair):
    x = keras.Input((6,), name="x")
    both = [layers.Dense(5, name="a")(x), layers.Dense(5, name="b")(x)]
    model = make(x, losses.Pair(**pair, name="pair")(both))
    model.compile(optimizer=keras.optimizers.SGD(0.1, clipnorm=1.0), loss=loss)
    return model, tf.data.Dataset.from_tensor_slices((X, CLASS * 9 + np.arange(ROWS) % 9)).batch(9)


def masked(make, reduction):
    x = keras.Input((None,), dtype="int64", name="x")
    h = layers.Embedding(5, 4, mask_zero=True, name="embedding")(x)
    model = make(x, layers.Dense(2, name="step")(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss=loss, weighted_metrics=["accuracy"])
    return model, tf.data.Dataset.from_tensor_slices((STEPS, STEPS % 2)).batch(7)


def strings(make):
    x = keras.Input((), dtype="string", name="x")
    codes = layers.StringLookup(vocabulary=["red", "blue", "a"], name="codes")(x)
    h = layers.Embedding(4, 3, name="embedding")(codes)
    model = make(x, layers.Dense(3, name="kind")(h))
    model.compile(
        optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="two")],
    )  # fmt: skip
    return model, tf.data.Dataset.from_tensor_slices((WORDS, CLASS)).batch(5)


def half(make):
    x = keras.Input((6,), name="x")
    policy = keras.DTypePolicy("mixed_float16")
    h = layers.Dense(8, activation="relu", dtype=policy, name="hidden")(x)
    model = make(x, layers.Dense(1, dtype="float32", name="value")(h))
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.05, global_clipnorm=1.0), initial_scale=64.0
    )
    model.compile(optimizer=optimizer, loss="mse")
    # One sample whose gradient is infinite in float16: the step is left out, on every replica.
    inputs = X.copy()
    inputs[18] = 3e4
    return model, tf.data.Dataset.from_tensor_slices((inputs, VALUE)).batch(8)


def module(make):
    """A TF-Hub module that learns; it has no batch statistics."""
    encoder = encoders.text("mmzoo/concept128-text/1", name="text_encoder")
    encoder.get_layer("module").trainable = True
    text = keras.Input((None,), dtype="uint8", name="text")
    model = make(text, layers.Dense(3, name="kind")(encoder(text)["pooled"]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.05, clipnorm=1.0), loss=loss)
    letters = np.random.default_rng(5).integers(97, 123, (ROWS, 9)).astype("uint8")
    return model, tf.data.Dataset.from_tensor_slices((letters, CLASS)).batch(12)


def convolution(make, norm=True, **options):
    """Five rows on four replicas, and two at the end: some have none."""
    x = keras.Input((6, 6, 1), name="x")
    h = layers.Conv2D(4, 3, padding="same", name="filters")(x)
    if norm:
        h = layers.BatchNormalization(momentum=0.9, name="norm")(h)
    h = layers.Conv2D(4, 3, activation="relu", name="more")(h)
    h = layers.Dense(6, activity_regularizer="l2", name="active")(h)
    h = training.SampleDropout(0.3, seed=5)(layers.GlobalAveragePooling2D(name="mean")(h))
    model = make(x, layers.Dense(3, name="kind")(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss=loss, metrics=["accuracy"], **options)
    pictures = X[:, :, None, None] * X[:, None, :, None]
    return model, tf.data.Dataset.from_tensor_slices((pictures, CLASS)).batch(5)


def masked_norm(make):
    """Moments of what is not masked, of numbers whose mean is large."""
    x = keras.Input((7, 3), name="x")
    h = layers.Masking(name="masked")(x)
    h = layers.BatchNormalization(momentum=0.9, name="norm")(h)
    model = make(x, layers.Dense(2, name="step")(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss=loss)
    there = np.float32(STEPS > 0)[:, :, None]
    values = there * (5 + np.random.default_rng(1).normal(size=(ROWS, 7, 3)).astype("float32"))
    return model, tf.data.Dataset.from_tensor_slices((values, STEPS % 2)).batch(5)


SCENARIOS = {
    "module": module,
    "convolution": convolution,
    "masked_norm": masked_norm,
    "adamw": lambda make: two_heads(make, adamw()),
    "global_clipnorm": lambda make: two_heads(make, adamw(global_clipnorm=0.3)),
    "clipnorm": lambda make: two_heads(make, keras.optimizers.SGD(0.1, clipnorm=0.2)),
    "clipvalue": lambda make: two_heads(make, keras.optimizers.SGD(0.1, clipvalue=0.05)),
    "ema": lambda make: two_heads(make, adamw(use_ema=True, ema_momentum=0.7)),
    "large_batch": lambda make: two_heads(make, adamw(), batch=36),
    "steps_per_execution": lambda make: two_heads(make, adamw(), steps_per_execution=2),
    "info_nce": lambda make: contrast(make, losses.InfoNCE()),
    "sigmoid": lambda make: contrast(make, losses.SigmoidContrast(), temperature=0.1, bias=-3.0),
    "squared_distance": lambda make: contrast(make, losses.SquaredDistance(), temperature=None),
    "mask": lambda make: masked(make, "sum_over_batch_size"),
    "mean_with_sample_weight": lambda make: masked(make, "mean_with_sample_weight"),
    "sum": lambda make: masked(make, "sum"),
    "strings": strings,
    "float16": half,
}
ACCUMULATED = {
    f"accumulate_{k}": lambda make, k=k: two_heads(
        make, adamw(global_clipnorm=0.3), norm=False, accumulate=k
    )
    for k in (1, 2, 3)
} | {
    f"convolution_{k}": lambda make, k=k: convolution(make, norm=False, accumulate=k)
    for k in (1, 2, 3)
}


def train(build, strategy, model_class):
    keras.utils.set_random_seed(3)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model, data = build(model_class)
    history = model.fit(data, epochs=EPOCHS, verbose=0).history
    return {
        "history": history,
        "evaluate": model.evaluate(data, verbose=0, return_dict=True),
        "predict": {
            name: value.tolist()
            for name, value in _by_name(model.predict(data.map(lambda x, *_: x), verbose=0))
        },
        "weights": [w.numpy().tolist() for w in model.weights if "seed" not in w.path],
    }


def _by_name(outputs):
    return outputs.items() if isinstance(outputs, dict) else [("", outputs)]


def main(kind, count, *wanted):
    chosen = {**SCENARIOS, **({} if kind == "stock" else ACCUMULATED)}
    strategy = None
    if kind not in ("stock", "plain"):
        strategy = training.strategy(kind, replicas=count if kind == "mirrored" else None)
        assert strategy.num_replicas_in_sync == count, strategy
    model_class = keras.Model if kind == "stock" else training.DistributedModel
    found = {
        name: train(build, strategy, model_class)
        for name, build in chosen.items()
        if not wanted or name in wanted
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
