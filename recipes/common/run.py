"""Train, evaluate, export and report: the whole path of a recipe over a task and a source."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from mmzoo.export.bundle.manifest import check_bundle_place
from mmzoo.io.place_lock import lock_place
from mmzoo.io.run_place import check_run_place
from mmzoo.recipes.common.ship import WRITES, predictor, ship, with_presence
from mmzoo.tasks import Source


def run(
    source: Source,
    build_model: Callable[[], keras.Model],
    out,
    *,
    recipe: str,
    epochs: int = 10,
    steps_per_epoch: int = 50,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    **options,
) -> dict:
    """Trains a model of a task, then evaluates, exports and reports it.

    Args:
        source: Where its samples come from; `source.task` says what it takes and gives.
        build_model: Function that returns the functional model; its outputs are `task.head(x)`.
        out: The run's folder: `model.keras`, `metrics.json`, `report.html` and `bundle/`.
        recipe: What the run is called.
        epochs, steps_per_epoch, batch_size, learning_rate, seed: Of the training. The epoch with
            the best first metric on the validation samples is kept.
        options: See `ship`: `formats`, `quantize`, `tolerance`, `metric_limit`, `about`.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: If `out` holds something else, or the task, the model and the samples don't fit
            one another.
        ParityError: If an artifact that was asked for answers differently.
    """
    out = Path(out)
    check_run_place(out, WRITES, "metrics.json", {"recipe": recipe})
    out.mkdir(parents=True, exist_ok=True)
    check_bundle_place(out / "bundle")
    with lock_place(out):
        keras.utils.set_random_seed(seed)
        model = build_model()
        history, seconds = train(
            model, source, epochs=epochs, steps_per_epoch=steps_per_epoch, batch_size=batch_size,
            learning_rate=learning_rate, seed=seed,
        )  # fmt: skip
        return ship(
            model, source, out, recipe=recipe, history=history, seconds=seconds, seed=seed,
            **options,
        )  # fmt: skip


def train(
    model: keras.Model,
    source: Source,
    *,
    epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> tuple[dict, float]:
    """Trains a model in place on a source; returns the history and the seconds.

    The history has a value an epoch of "loss", and of the task's first metric on the validation
    samples, as "val_" and its name; the weights are those of its best epoch.
    """
    task = source.task
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), loss=task.losses())
    best = _KeepBest(source)
    start = time.perf_counter()
    done = model.fit(
        _batches(model, source, batch_size, seed), epochs=epochs,
        steps_per_epoch=steps_per_epoch, callbacks=[best], verbose=0,
    )  # fmt: skip
    best.restore()
    history = {"loss": [float(value) for value in done.history["loss"]], best.name: best.values}
    return history, time.perf_counter() - start


def _batches(model, source, batch_size, seed) -> Iterator:
    """Batches as Keras takes them: inputs and targets by name, everything present."""
    for inputs, targets in source.batches("train", batch_size, seed):
        yield with_presence(model, inputs), source.task.training_targets(targets)


class _KeepBest(keras.callbacks.Callback):
    """Measures the validation samples after each epoch, and keeps the weights of the best."""

    def __init__(self, source):
        super().__init__()
        self.metric = source.task.metrics[0]
        self.name, self.values = f"val_{self.metric.name}", []
        self.inputs, self.targets = source.samples("validation")
        self.weights = None

    def on_epoch_end(self, epoch, logs=None):
        value = self.metric.value(predictor(self.model)(self.inputs, None), self.targets)
        sign = 1 if self.metric.higher_is_better else -1
        known = [sign * each for each in self.values if np.isfinite(each)]
        if np.isfinite(value) and sign * value > max(known, default=-np.inf):
            self.weights = self.model.get_weights()
        self.values.append(float(value))

    def restore(self):
        if self.weights is not None:
            self.model.set_weights(self.weights)
