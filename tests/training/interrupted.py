"""Trains a small model that meets a fault once; prints its weights' digest and history.

`python interrupted.py STRATEGY FOLDER FAULT STEP`. FAULT is "none", "SIGKILL" or "SIGTERM" (which
the last worker gets at that step, the first time), "full" (the disk, at that step's checkpoint),
"nan" (the batch of that step).
"""

import errno
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mmzoo import training
from mmzoo.training.distributed.strategy import task
from mmzoo.training.resume import checkpoint_files

EPOCHS, STEPS = 4, 13


class Fault(keras.callbacks.Callback):
    """Sends a signal to this process, once in all starts."""

    def __init__(self, number, step, mark):
        super().__init__()
        self.number, self.step, self.mark, self.count = number, step, mark, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.step and not self.mark.exists():
            self.mark.parent.mkdir(parents=True, exist_ok=True)
            self.mark.touch()
            os.kill(os.getpid(), self.number)


def fill_disk(step):
    """The checkpoint of a step can't be written, as on a full disk."""
    write = np.savez

    def savez(file, **arrays):
        if f"step-{step:09d}" in file.name:
            file.write(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, **arrays)

    checkpoint_files.np.savez = savez


def batches(fault, step):
    def batch(number):
        key = tf.stack([7, tf.cast(number, "int32")])
        x = tf.random.stateless_normal((9, 6), key)
        label = tf.cast(tf.argmax(x[:, :3], 1), "int32")
        if fault == "nan":
            x = tf.where(tf.equal(number, step - 1), np.nan, x)
        return x, label

    return batch


def build():
    x = keras.Input((6,), name="x")
    h = layers.Dense(16, activation="relu", name="hidden")(x)
    h = layers.BatchNormalization(name="norm")(h)
    h = training.SampleDropout(0.2, name="sample_dropout")(h)
    h = layers.Dropout(0.1, name="dropout")(h)
    return training.DistributedModel(x, layers.Dense(3, name="kind")(h))


def main(kind, folder, fault, step):
    index, workers = task()
    own = Path(folder) / f"worker-{index}"
    strategy = training.strategy(kind, replicas=2 if kind == "mirrored" else None)
    keras.utils.set_random_seed(3)
    tf.config.experimental.enable_op_determinism()
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 60)
    with strategy.scope():
        model = build()
        model.compile(
            optimizer=keras.optimizers.AdamW(rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)]
    if fault in ("SIGKILL", "SIGTERM") and index == workers - 1:
        callbacks.append(Fault(getattr(signal, fault), step, Path(folder) / "happened"))
    if fault == "full":
        fill_disk(step)
    batch = batches(fault, step)
    history = training.fit_resumable(
        model, lambda first: tf.data.Dataset.counter(first).map(batch),
        steps_per_epoch=STEPS, epochs=EPOCHS, folder=own, every=5, callbacks=callbacks,
        validation_data=tf.data.Dataset.range(900, 903).map(batches("none", 0)),
    )  # fmt: skip
    weights = [w.numpy() for w in model.weights if "seed" not in w.path]
    digest = hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()
    print(json.dumps({"digest": digest, "history": history}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4], int(sys.argv[4]))
    except RuntimeError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(getattr(error, "exit_code", 1))
