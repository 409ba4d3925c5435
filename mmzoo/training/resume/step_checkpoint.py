"""Training that goes on where it was: step checkpoints, preemption, divergence."""

import signal
import warnings

import keras
import numpy as np

from mmzoo.training.distributed.broadcast import arrays_from_chief, from_chief, is_chief
from mmzoo.training.resume.checkpoint_files import CheckpointError, CheckpointFiles

# What other callbacks remember, by class.
_REMEMBERED = {
    keras.callbacks.History: ("history", "epoch"),
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


class Preempted(RuntimeError):
    """Training was asked to stop by SIGTERM, and is saved."""

    exit_code = 75  # "try again" in sysexits.h


class Interrupted(Preempted):
    """Training was asked to stop by Ctrl-C, and is saved."""

    exit_code = 130


class Diverged(RuntimeError):
    """A gradient became NaN or infinite; the model has the weights of the last checkpoint."""

    exit_code = 3  # starting again would do the same


class StepCheckpoint(keras.callbacks.Callback):
    """Saves all that training depends on every few steps, and goes on from there.

    After a restart the weights are, bit by bit, those of a run that was never interrupted, where
    batches are a function of the step's number and the devices' operators are
    deterministic. The first worker alone writes and reads; the others are told, so they need
    no common folder and agree on the step. Saved are the variables of the model, of its optimizer
    and of its metrics, and what `watched` callbacks remember.

    SIGTERM to any worker is looked at when the batch ends. One replica saves there; several save
    after at most `agree_every` steps more, all at the same one. Then `Preempted` is raised. A
    gradient that is NaN or infinite is found after at most `agree_every` steps: the model gets the
    weights of the last checkpoint, which stays, and `Diverged` names the step. A checkpoint that
    can't be written, say on a full disk, is warned of; training goes on.

    Ctrl-C saves as SIGTERM does, and raises `Interrupted`; a second one stops at once, unsaved.

    Use it through `fit_resumable`, last among the callbacks.

    Args:
        files: `CheckpointFiles`.
        steps_per_epoch: Positive int.
        every: Steps between checkpoints; there is one after each epoch, too. None: only one where
            training stops, by SIGTERM or Ctrl-C or because it is done.
        agree_every: Steps between looks at what the replicas tell.
        watched: Callbacks that must remember: History, EarlyStopping, ReduceLROnPlateau.
    """

    def __init__(self, files: CheckpointFiles, steps_per_epoch, *, every=100, agree_every=10,
                 watched=()):  # fmt: skip
        super().__init__()
        self.files, self.steps_per_epoch = files, steps_per_epoch
        self.every, self.agree_every, self.watched = every, agree_every, tuple(watched)
        self.step = 0
        self.finished = False
        self._metrics: list | None = None
        self._asked = self._voted = False

    def restore(self, model) -> None:
        """Before `fit`, on every worker: gives the model the newest checkpoint's state."""
        self.set_model(model)
        strategy = model.distribute_strategy
        found, fault = None, None
        if is_chief(strategy):
            try:
                found = self.files.load()
            except CheckpointError as error:
                fault = str(error)
        told: dict = {"fault": fault, "arguments": [self.files.arguments, self.files.plan]}
        if found is not None:
            shapes = {n: [list(a.shape), a.dtype.str] for n, a in found[1].items()}
            told |= {"step": found[0], "shapes": shapes, "values": found[2]}
            told["planned"] = self.files.planned
        told = from_chief(strategy, told)
        if told["fault"]:
            raise CheckpointError(told["fault"])
        ours = [self.files.arguments, self.files.plan]
        if told["arguments"] != ours:
            raise CheckpointError(
                f"Expected the arguments of the first worker, {told['arguments']}. Received: "
                f"{ours}. Start all workers alike."
            )
        if "step" not in told:
            return
        arrays = found[1] if found else {n: np.zeros(s, d) for n, (s, d) in told["shapes"].items()}
        values = arrays_from_chief(strategy, [arrays[name] for name in sorted(arrays)])
        arrays = dict(zip(sorted(arrays), values, strict=True))
        with strategy.scope():
            self._put(model, arrays, told["values"])
        self.step = told["step"]
        words = self._compare_plans(told["planned"])
        print(f"Going on from step {self.step}{words}.")

    def _compare_plans(self, before):
        """What is to be said of another number of steps than the checkpoint was planned for."""
        now = self.files.plan
        if not before or not now or before == now:
            return ""
        total, planned = (each["epochs"] * each["steps"] for each in (now, before))
        if total < self.step:
            raise CheckpointError(
                f"{self.step} steps are trained already, and {total} are asked for ("
                f"{now['epochs']} epochs of {now['steps']}). Ask for more, name another folder, or "
                f"delete {self.files.folder} to start anew."
            )
        early = self.finished and self.step < planned
        if early and total > self.step:
            return (
                f" of {total}, where {planned} were planned; early stopping has ended the training "
                "there, so that it does not go on"
            )
        self.finished = early or total == self.step
        return f" of {total}, where {planned} were planned"

    def _put(self, model, arrays, values):
        for name, variables in self._variables().items():
            found = [arrays[k] for k in sorted(arrays) if k.startswith(f"{name}/")]
            if [a.shape for a in found] != [tuple(v.shape) for v in variables]:
                raise CheckpointError(
                    f"Expected {len(variables)} variables of the {name}. Received: {len(found)}, "
                    f"or others, in {self.files.folder}. The model has changed: name another "
                    "folder."
                )
            for variable, value in zip(variables, found, strict=True):
                variable.assign(value)
        self._metrics = [arrays[k] for k in sorted(arrays) if k.startswith("metric/")]
        self._remembered = values["callbacks"]
        self._best = [arrays[k] for k in sorted(arrays) if k.startswith("best/")]
        self.finished = values["finished"]

    def _variables(self):
        optimizer = self.model.optimizer
        if not optimizer.built:
            with self.model.distribute_strategy.scope():
                optimizer.build(self.model.trainable_variables)
        return {"model": self.model.variables, "optimizer": optimizer.variables}

    def on_train_begin(self, logs=None):
        del logs
        self._loss_scaled = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        self.model.signals.begin(self.step)
        self._asked = self._voted = False
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)
        }
        if self._metrics is None:
            if self.every is not None:
                self._save()  # what is fallen back to where the first gradients break
            return
        for callback, kept in zip(self.watched, self._remembered, strict=True):
            for name, value in kept.items():
                setattr(callback, name, value)
            if isinstance(callback, keras.callbacks.EarlyStopping) and self._best:
                callback.best_weights = self._best

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        self._begun, done = self.step, self.step % self.steps_per_epoch
        self.model.set_steps(self.steps_per_epoch - done)
        if self._metrics and done:  # `fit` has just reset them
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._metrics = None

    def on_train_batch_end(self, batch, logs=None):
        del logs
        before, self.step = self.step, self._begun + batch + 1
        if self._asked and not self._voted:  # heard in the next step
            self.model.signals.vote_to_stop()
            self._voted = True
        alone = self._asked and self.model.replicas == 1
        if alone or before // self.agree_every < self.step // self.agree_every:
            self._look()
        due = self.every is not None and before // self.every < self.step // self.every
        if due and self.step % self.steps_per_epoch:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        del logs
        self.finished = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if self.every is not None or self.finished:
            self._save()
        if not self.finished:
            self._look()

    def on_train_end(self, logs=None):
        del logs
        self.close()

    def close(self):
        """Gives SIGTERM and SIGINT back to whoever had them."""
        for number, handler in (getattr(self, "_before", None) or {}).items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number, frame):
        del frame
        if number == signal.SIGINT and self._asked == number:
            raise KeyboardInterrupt
        # No more than a flag: the signal may come in the middle of one of TensorFlow's operators,
        # and a second one in there can wait for a lock that the first holds.
        self._asked = number

    def _look(self):
        if self.every is not None:
            self._check_finite()
        several = self.model.replicas > 1
        if self.model.signals.stopping if several else self._asked:
            path = self._save()
            kind, cause = Preempted, "SIGTERM"
            if self._asked == signal.SIGINT:
                kind, cause = Interrupted, "Ctrl-C"
            raise kind(
                f"Stopped by {cause} after step {self.step}, which is saved in "
                f"{path or self.files.folder}. Run the same command again to go on; delete that "
                "folder to start anew."
            )

    def _check_finite(self):
        broken = self.model.signals.broken_step
        if broken is None:
            return
        if self.every is None:  # there is no checkpoint to fall back to
            raise Diverged(
                f"Expected finite gradients. Received: NaN or infinity at step {broken}. Nothing "
                "is saved. Lower the learning rate, clip gradients, or look at that batch."
            )
        step = self.step
        self.step = 0
        self.restore(self.model)
        raise Diverged(
            f"Expected finite gradients. Received: NaN or infinity at step {broken} (seen after "
            f"step {step}). The model has the weights of step {self.step}, saved in "
            f"{self.files.folder}. Lower the learning rate, clip gradients, or look at that batch."
        )

    def _save(self):
        """Returns the file; None where another worker writes, or it can't be written."""
        if self.model.signals.broken_step is not None:
            self._check_finite()
        arrays = {}
        kept = {**self._variables(), "metric": self.model.metrics_variables}
        for name, variables in kept.items():
            for k, variable in enumerate(variables):
                arrays[f"{name}/{k:05d}"] = np.asarray(variable.numpy())
        callbacks = []
        for callback in self.watched:
            kind = next(kind for kind in _REMEMBERED if isinstance(callback, kind))
            remembered = {
                n: getattr(callback, n) for n in _REMEMBERED[kind] if hasattr(callback, n)
            }
            callbacks.append(_plain(remembered))
            for k, weight in enumerate(getattr(callback, "best_weights", None) or []):
                arrays[f"best/{k:05d}"] = np.asarray(weight)
        if not is_chief(self.model.distribute_strategy):
            return None
        values = {"callbacks": callbacks, "finished": self.finished}
        try:
            return self.files.save(self.step, arrays, values)
        except OSError as error:
            warnings.warn(
                f"The checkpoint of step {self.step} could not be written to "
                f"{self.files.folder}: {error}. Training goes on; those before it stay.",
                stacklevel=2,
            )
            return None


def _plain(value):
    """The value as JSON has it; numbers of NumPy and TensorFlow become Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(value)
