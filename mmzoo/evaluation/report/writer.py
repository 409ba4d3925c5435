"""One page that shows what a run learned, where it errs and whether its artifacts agree."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmzoo.evaluation.evaluate import measure_all
from mmzoo.evaluation.page.rendering import write_page
from mmzoo.evaluation.report.answers import answer_sections, shown_answer
from mmzoo.evaluation.report.chosen_samples import choose_samples
from mmzoo.evaluation.report.figures import best_epoch, learning_curve
from mmzoo.evaluation.report.shown_features import check_inputs, shown_features
from mmzoo.evaluation.report.values import in_words, shown_value
from mmzoo.tasks import Task, Tensor

FORMATS = {
    "saved_model": "SavedModel", "tflite": "TFLite", "onnx": "ONNX",
    "tflite-batch1": "TFLite, batch 1", "tflite-float16": "TFLite float16",
    "tflite-dynamic": "TFLite dynamic", "tflite-int8": "TFLite int8",
    "tflite-mixed": "TFLite by encoder", "onnx-dynamic": "ONNX dynamic", "onnx-int8": "ONNX int8",
}  # fmt: skip


def write_report(
    path: str | Path,
    *,
    metrics: Mapping,
    task: Task,
    inputs: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    answers: Mapping[str, np.ndarray],
    manifest: Mapping | None = None,
    certificate: Mapping | None = None,
) -> Path:
    """Writes a self-contained HTML page about a run; it loads nothing and runs no script.

    The headline is measured from `answers`; where `metrics` says otherwise the page says so.
    Sections follow the kinds of the task's features and answers.

    Args:
        path: File to write. An old one is replaced in one rename.
        metrics: What the run recorded: `recipe` and `test`, as `evaluate` returns it; and, named
            as not recorded where absent, `seed`, `parameters`, `train_seconds`, `versions`,
            `data`, `trained`, `validation` and `history`.
        task: What the model takes and gives.
        inputs: Dict of feature name to array `(samples, ...)`. Text as UTF-8 bytes, zero padded.
            An image, a text or a sound of zeros is shown as absent.
        targets: Dict of target name to array.
        answers: Dict of output name to array.
        manifest, certificate: Those of the exported bundle, if there is one.

    Returns:
        `path`.

    Raises:
        ValueError: If arrays don't fit one another or the task, or an answer is not finite.
    """
    inputs = {name: np.asarray(value) for name, value in inputs.items()}
    targets = {name: np.asarray(value) for name, value in targets.items()}
    answers = {name: np.asarray(value) for name, value in answers.items()}
    _check(task, inputs, targets, answers)
    history = metrics.get("history") or {}
    shown = choose_samples(task, answers, targets)
    primary, found = task.metrics[0], measure_all(task, answers, targets)
    values = dict(
        metrics=metrics,
        features=[each for each in task.features if each.name in inputs],
        headline=_headline(metrics, task, answers, targets, found[primary.name]),
        measured=_measured(metrics, task, found),
        subsets=_subsets(metrics, primary),
        best=best_epoch(history, primary),
        curves=[
            svg
            for name in ("loss", primary.name)
            if (svg := learning_curve(history, name, primary))
        ],
        sections=answer_sections(task, inputs, answers, targets),
        manifest=manifest,
        certificate=certificate,
        formats=FORMATS,
        slowest=_slowest(certificate),
        shown=lambda value: shown_value(primary, value),
        samples=[
            {
                "index": int(row),
                "right": right,
                "features": shown_features(task, inputs, int(row)),
                "answers": [
                    shown_answer(task, answer, answers, targets, int(row))
                    for answer in task.answers
                    if answer.name in answers
                ],
            }
            for row, right in shown
        ],
        judged=any(right is not None for _, right in shown),
    )
    return write_page(path, Path(__file__).with_name("report.html.jinja"), values)


def _check(task, inputs, targets, answers):
    counts = {len(value) for value in (*inputs.values(), *targets.values(), *answers.values())}
    missing = sorted(set(task.targets) - set(targets))
    if missing or {metric.answer for metric in task.metrics} - set(answers):
        raise ValueError(
            f"Expected the targets {', '.join(task.targets)} and the answers "
            f"{', '.join(answer.name for answer in task.answers)}. Received: "
            f"{', '.join(targets)} and {', '.join(answers)}."
        )
    if len(counts) != 1 or not min(counts):
        raise ValueError(
            "Expected inputs, targets and answers of the same samples, at least one. Received: "
            f"{sorted(counts)} of them."
        )
    shapes = {name: (None, *value.shape[1:]) for name, value in answers.items()}
    for name, value in answers.items():
        answer = task.answer(name)
        if not answer.fits(Tensor(name, value.dtype.name, shapes[name])):
            raise ValueError(
                f"`answers[{name!r}]` can't hold {answer.kind}. Received: {value.dtype} of shape "
                f"{value.shape}."
            )
    task.check_targets(targets, "`targets`", shapes)
    for name, value in answers.items():
        good = np.isfinite(value).reshape(len(value), -1)
        if not good.all():
            rows = np.flatnonzero(~good.all(axis=1))
            raise ValueError(
                f"`answers[{name!r}]` must be finite. Received: "
                f"{value[rows[0]].ravel()[~good[rows[0]]][0]} in row {rows[0]}, and {len(rows)} "
                "such rows in all. Look for the cause of a NaN in training."
            )
    check_inputs(task, inputs)


def _headline(metrics, task, answers, targets, found):
    primary = task.metrics[0]
    recorded = metrics["test"]["metrics"].get(primary.name)
    each = primary.per_sample(answers, targets)
    count = len(next(iter(answers.values())))
    right = int(np.sum(each)) if each is not None and each.dtype == bool else None
    # Two runtimes may order a near tie differently: more than that is a contradiction.
    room = 1.5 / count if right is not None else 1e-3 * max(abs(found["value"]), 1e-6)
    baseline = (metrics["test"].get("baseline") or {}).get(primary.name)
    return {
        "name": in_words(primary.name),
        "value": shown_value(primary, found["value"]),
        "interval": [shown_value(primary, end) for end in found["interval"]],
        "right": right,
        "samples": count,
        "baseline": None if baseline is None else shown_value(primary, baseline),
        "contradicted": recorded is not None and abs(recorded["value"] - found["value"]) > room,
        "recorded": recorded and shown_value(primary, recorded["value"]),
        "better": "higher" if primary.higher_is_better else "lower",
    }


def _measured(metrics, task, measured):
    """A row a metric: of the test samples, their baseline, and the validation samples."""
    validation = (metrics.get("validation") or {}).get("metrics") or {}
    baseline = metrics["test"].get("baseline") or {}
    rows = []
    for metric in task.metrics:
        found = measured[metric.name]
        known, other = baseline.get(metric.name), validation.get(metric.name)
        rows.append({
            "name": in_words(metric.name),
            "value": shown_value(metric, found["value"]),
            "interval": [shown_value(metric, end) for end in found["interval"]],
            "better": "higher" if metric.higher_is_better else "lower",
            "baseline": None if known is None else shown_value(metric, known),
            "validation": None if other is None else shown_value(metric, other["value"]),
        })  # fmt: skip
    return rows


def _subsets(metrics, primary):
    """A row a subset of the features, with bars for shares."""
    validation = (metrics.get("validation") or {}).get("subsets") or {}
    alone = metrics.get("trained") or {}
    rows = []
    for name, found in (metrics["test"].get("subsets") or {}).items():
        value = found[primary.name]
        other = (validation.get(name) or {}).get(primary.name)
        trained = (alone.get(name) or {}).get("test")
        rows.append({
            "name": name,
            "share": value["value"] if primary.share else None,
            "value": shown_value(primary, value["value"]),
            "interval": [shown_value(primary, end) for end in value["interval"]],
            "validation": None if other is None else shown_value(primary, other["value"]),
            "trained": None if trained is None else shown_value(primary, trained),
        })  # fmt: skip
    return rows


def _slowest(certificate):
    """Batch size, as the certificate writes it, to the slowest format's milliseconds."""
    formats = certificate["formats"].values() if certificate else ()
    times = [item for entry in formats for item in entry["latency_ms"].items()]
    batches = sorted({batch for batch, _ in times}, key=int)
    return {batch: max(ms for key, ms in times if key == batch) or 1 for batch in batches}
