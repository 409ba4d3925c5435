"""Ctrl-C saves and says how to go on; more steps than were planned are trained on."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo import training
from mmzoo.training.resume.checkpoint_files import CheckpointError
from mmzoo.training.resume.step_checkpoint import Interrupted


def stream(done):
    """Batches that are functions of their numbers."""

    def batch(number):
        x = tf.random.stateless_uniform((4, 3), (1, number))
        return x, tf.reduce_sum(x, 1, keepdims=True)

    return tf.data.Dataset.counter(tf.cast(done, tf.int64)).map(batch)


class PressCtrlC(keras.callbacks.Callback):
    def __init__(self, after, times=1):
        super().__init__()
        self.after, self.times, self.seen = after, times, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.after:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def train(folder, epochs=2, steps=5, callbacks=(), **options):
    """The weights after training, and the history."""
    keras.utils.set_random_seed(0)
    strategy = training.strategy("one")
    with strategy.scope():
        x = keras.Input((3,), name="x")
        model = training.DistributedModel(x, keras.layers.Dense(1, name="y")(x))
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    history = training.fit_resumable(
        model, stream, steps_per_epoch=steps, epochs=epochs, folder=folder,
        callbacks=list(callbacks), **{"every": None, **options},
    )  # fmt: skip
    return np.concatenate([w.ravel() for w in model.get_weights()]), history


@pytest.fixture(scope="module")
def undisturbed():
    return train(None)[0]


def test_ctrl_c_saves_and_the_same_command_goes_on(undisturbed, tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    match = r"Stopped by Ctrl-C after step 7, which is saved in .*Run the same command again to go"
    with pytest.raises(Interrupted, match=match) as caught:
        train(tmp_path / "c", callbacks=[PressCtrlC(7)])
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    found, _ = train(tmp_path / "c")
    np.testing.assert_array_equal(found, undisturbed)
    assert "Going on from step 7." in capsys.readouterr().out


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", callbacks=[PressCtrlC(3, times=2)])
    assert not (tmp_path / "c").exists()


def test_more_epochs_or_steps_than_planned_go_on(undisturbed, tmp_path, capsys):
    train(tmp_path / "c", epochs=1, every=2)
    found, history = train(tmp_path / "c", epochs=2, every=2)
    np.testing.assert_array_equal(found, undisturbed)
    assert len(history["loss"]) == 2
    assert "Going on from step 5 of 10, where 5 were planned." in capsys.readouterr().out
    train(tmp_path / "c", epochs=3, steps=6, every=2)
    assert "Going on from step 10 of 18, where 10 were planned." in capsys.readouterr().out


def test_fewer_than_are_trained_is_a_clear_sentence(tmp_path):
    train(tmp_path / "c", every=2)
    match = r"10 steps are trained already, and 5 are asked for \(1 epochs of 5\).*delete"
    with pytest.raises(CheckpointError, match=match):
        train(tmp_path / "c", epochs=1, every=2)


def test_early_stopping_stays_an_end(tmp_path, capsys):
    def stop():
        return keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)

    _, history = train(tmp_path / "c", epochs=4, callbacks=[stop()], every=2)
    assert len(history["loss"]) == 2
    train(tmp_path / "c", epochs=9, callbacks=[stop()], every=2)
    assert "early stopping has ended the training there" in capsys.readouterr().out
