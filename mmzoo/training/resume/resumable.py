"""`fit` that can be killed at any time and started again."""

from collections.abc import Callable

import keras

from mmzoo.training.resume.checkpoint_files import CheckpointFiles
from mmzoo.training.resume.step_checkpoint import StepCheckpoint


def fit_resumable(
    model,
    stream: Callable,
    *,
    steps_per_epoch: int,
    epochs: int,
    folder=None,
    arguments=None,
    every: int | None = 100,
    callbacks=(),
    validation_data=None,
) -> dict[str, list]:
    """Trains; killed and called again with the same arguments it goes on where it was.

    With more epochs or steps than before it trains on for these. A schedule of the learning rate
    that knows the number of steps is then another one from there.

    Args:
        model: `DistributedModel`, compiled, made in the scope of a strategy.
        stream: Function of the number of steps done to the endless `tf.data.Dataset` of batches,
            each for all replicas, that follow. A batch is a function of its number alone.
        steps_per_epoch, epochs: Positive ints.
        folder: Where checkpoints lie; None: none are written.
        arguments: JSON value of all that the training depends on besides.
        every: Steps between checkpoints. None: one where training stops, by SIGTERM or Ctrl-C.
        callbacks: Keras callbacks; `EarlyStopping` and `ReduceLROnPlateau` remember across starts.
        validation_data: As in `fit`.

    Returns:
        What Keras calls `history`: dict of name to a value an epoch.

    Raises:
        Preempted, Diverged, CheckpointError: See `StepCheckpoint`.
    """
    history = keras.callbacks.History()
    callbacks = [history, *callbacks]
    done, checkpoint = 0, None
    if folder is not None:
        kinds = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
        plan = {"epochs": epochs, "steps": steps_per_epoch}
        checkpoint = StepCheckpoint(
            CheckpointFiles(folder, arguments or {}, plan=plan), steps_per_epoch, every=every,
            watched=[history, *(each for each in callbacks if isinstance(each, kinds))],
        )  # fmt: skip
        checkpoint.restore(model)
        callbacks.append(checkpoint)
        done = epochs * steps_per_epoch if checkpoint.finished else checkpoint.step
    try:
        model.fit(
            stream(done), steps_per_epoch=steps_per_epoch, epochs=epochs, shuffle=False,
            initial_epoch=done // steps_per_epoch, callbacks=callbacks,
            validation_data=validation_data, verbose=0,
        )  # fmt: skip
    finally:
        if checkpoint is not None:
            checkpoint.close()
    return history.history
