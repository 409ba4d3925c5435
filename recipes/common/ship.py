"""From a trained model to its metrics, its bundle and its report: one path for every task."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import rich

from mmzoo import export, training
from mmzoo.evaluation.evaluate import evaluate
from mmzoo.evaluation.report.summary import print_summary
from mmzoo.evaluation.report.writer import write_report
from mmzoo.fusion.presence import SUFFIX, subsets_of
from mmzoo.io.files import atomic_write, write_json
from mmzoo.tasks import Source

WRITES = ("model.keras", "metrics.json", "report.html")  # into a run's folder, and its bundle
CALIBRATED = 192  # samples of the validation split from which int8 learns its ranges


def ship(
    model: keras.Model,
    source: Source,
    out: Path,
    *,
    recipe: str,
    history: dict,
    seconds: float,
    seed: int,
    predict: Callable[[dict, tuple[str, ...] | None], dict] | None = None,
    formats=None,
    quantize: dict | None = None,
    tolerance: float = 1e-5,
    metric_limit: float = 0.005,
    about: Callable[[dict], dict] | None = None,
    more: dict | None = None,
) -> dict:
    """Evaluates, exports and reports a trained model.

    Args:
        model: The functional model that ships; its inputs and outputs are those of the task.
        source: Where its samples come from.
        out: The run's folder: `model.keras`, `metrics.json`, `report.html` and `bundle/`.
        recipe: What the run is called.
        history: Dict of a curve's name to a value an epoch; the primary metric's name among them.
        seconds: How long training took.
        seed: Of the training.
        predict: See `evaluate`. None: `model.predict`.
        formats, quantize, tolerance, metric_limit: See `export_bundle`.
        about: Function of the metrics to what the model card says.
        more: What else `metrics.json` says.

    Returns:
        What `metrics.json` holds.
    """
    task, predict = source.task, predict or predictor(model)
    optional = [f.name for f in task.features if f.name + SUFFIX in {t.name for t in model.inputs}]
    subsets = subsets_of(optional) if len(optional) == len(task.features) else ()
    _, training_targets = source.samples("train")
    metrics = {
        "recipe": recipe, "task": task.to_json(), "primary": task.metrics[0].name,
        "features": [feature.name for feature in task.features],
        "seed": seed, "parameters": model.count_params(), "train_seconds": seconds,
        "versions": training.package_versions(), "data": source.identity(), "history": history,
        **(more or {}),
    }  # fmt: skip
    samples = {split: source.samples(split) for split in ("validation", "test")}
    for split, (inputs, targets) in samples.items():
        metrics[split], answers = evaluate(
            predict, task, inputs, targets, subsets=subsets, training=training_targets
        )
    unverified = out / "model.unverified.keras"  # an older run's files stay as they are
    with atomic_write(unverified) as path:
        model.save(path)
    rich.print("Exporting, and checking each artifact in its own runtime …")
    name = metrics["data"]["name"]
    others = _some(samples["validation"][0], CALIBRATED)
    bundle = export.export_bundle(
        model, out / "bundle", formats=formats, task=task, quantize=quantize, name=recipe,
        samples=export.Samples(inputs, targets, f"{name}/test"),
        calibration=export.Samples(others, source=f"{name}/validation"),
        tolerance=tolerance, metric_limit=metric_limit, about=about and about(metrics),
    )  # fmt: skip
    unverified.replace(out / "model.keras")
    with atomic_write(out / "metrics.json") as path:
        write_json(path, metrics)
    report = write_report(
        out / "report.html", metrics=metrics, inputs=inputs, targets=targets, answers=answers,
        task=task, manifest=bundle.manifest, certificate=bundle.certificate,
    )  # fmt: skip
    print_summary(metrics, bundle.certificate)
    print(f"Report: {report}")  # not by rich, which would break a long path
    return metrics


def _some(inputs, count):
    """Some of the samples, evenly over all of them."""
    whole = len(next(iter(inputs.values())))
    rows = np.unique(np.linspace(0, whole - 1, min(count, whole)).astype(int))
    return {name: value[rows] for name, value in inputs.items()}


def predictor(model: keras.Model):
    """`predict` of `evaluate` for a model of arrays: what is absent is said by its presence."""

    def predict(inputs, present):
        return model.predict(with_presence(model, inputs, present), batch_size=64, verbose=0)

    return predict


def with_presence(model: keras.Model, inputs: dict, present=None) -> dict:
    """What a model takes of a batch, and which features are present; None: all of them."""
    names = {tensor.name for tensor in model.inputs}
    count = len(next(iter(inputs.values())))
    taken = {name: value for name, value in inputs.items() if name in names}
    for name in inputs:
        if name + SUFFIX in names:
            taken[name + SUFFIX] = np.full(count, present is None or name in present)
    return taken
