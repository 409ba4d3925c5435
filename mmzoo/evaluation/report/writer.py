"""One page that shows what a run learnt, where it errs and whether its artifacts agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmzoo.data import decode_text
from mmzoo.evaluation.intervals import wilson_interval
from mmzoo.evaluation.page.rendering import write_page
from mmzoo.evaluation.report.figures import best_epoch, learning_curve, picture, sound

_INPUTS = {"image": ("uint8", 4), "text": ("uint8", 2), "audio": ("float32", 2)}
_FORMATS = {
    "saved_model": "SavedModel", "tflite": "TFLite", "onnx": "ONNX",
    "tflite-batch1": "TFLite, batch 1", "tflite-float16": "TFLite float16",
    "tflite-dynamic": "TFLite dynamic", "tflite-int8": "TFLite int8",
    "tflite-mixed": "TFLite by tower", "onnx-dynamic": "ONNX dynamic", "onnx-int8": "ONNX int8",
}  # fmt: skip
_RIGHT, _WRONG, _PAIRS, _TOP = 8, 4, 12, 3  # how many of each the page shows


def write_report(
    path: str | Path,
    *,
    metrics: Mapping,
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    manifest: Mapping | None = None,
    certificate: Mapping | None = None,
) -> Path:
    """Writes a self-contained HTML page about a run; it loads nothing and runs no script.

    The headline accuracy is counted from `probabilities`; where `metrics` says otherwise
    the page says so.

    Args:
        path: File to write. An old one is replaced in one rename.
        metrics: What the run recorded: `recipe`, `modalities` and `test`; and, named as not
            recorded where absent, `fusion`, `seed`, `parameters`, `train_seconds`,
            `versions`, `data`, `trained`, `validation` and `history`.
        inputs: Dict of any of `image` uint8 `(samples, height, width, 3)`, `text` uint8
            `(samples, bytes)`, UTF-8, zero padded, and `audio` float32 `(samples, time)`,
            16 kHz. A sample of zeros is shown as absent.
        labels: Int `(samples,)`.
        probabilities: Float `(samples, classes)` in [0, 1].
        classes: Class names, in the order of the probabilities.
        manifest, certificate: Those of the exported bundle, if there is one.

    Returns:
        `path`.

    Raises:
        ValueError: If shapes or dtypes don't fit one another, a label is no class, or a
            value is not finite.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check(inputs, labels, probabilities, classes)
    names = [str(name) for name in classes]
    predicted = probabilities.argmax(1)
    pairs = _confusions(labels, predicted)
    history = metrics.get("history") or {}
    shown = [*_spread(labels, predicted == labels, _RIGHT),
             *_spread(labels, predicted != labels, _WRONG)]  # fmt: skip
    values = dict(
        metrics=metrics,
        modalities=[name for name in _INPUTS if name in inputs],
        headline=_headline(metrics, labels, predicted),
        best=best_epoch(history),
        curves=[svg for name in ("loss", "accuracy") if (svg := learning_curve(history, name))],
        pairs=len(pairs),
        confusions=[
            _confusion(inputs, labels, probabilities, names, *pair) for pair in pairs[:_PAIRS]
        ],
        manifest=manifest,
        certificate=certificate,
        formats=_FORMATS,
        slowest=_slowest(certificate),
        samples=[_sample(inputs, labels, probabilities, names, index) for index in shown],
    )
    return write_page(path, Path(__file__).with_name("report.html.jinja"), values)


def _check(inputs, labels, probabilities, classes):
    if probabilities.ndim != 2 or probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"`probabilities` must be of shape {(len(labels), len(classes))}, a row a label and "
            f"a column a class. Received: shape {probabilities.shape}."
        )
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise ValueError(
            "`labels` must be a row of at least one int. "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"`labels` must lie in [0, {len(classes)}). "
            f"Received: labels from {labels.min()} to {labels.max()}."
        )
    good = np.isfinite(probabilities) & (probabilities > -1e-3) & (probabilities < 1 + 1e-3)
    if not good.all():
        bad = np.flatnonzero(~good.all(1))
        raise ValueError(
            "`probabilities` must be finite and in [0, 1]. Received: "
            f"{probabilities[~good][0]} in row {bad[0]}, and {len(bad)} such rows in all. "
            "Pass what a softmax gives, and look for the cause of a NaN in training."
        )
    for name, value in inputs.items():
        if name not in _INPUTS:
            raise ValueError(f"`inputs` must be among {list(_INPUTS)}. Received: {name!r}.")
        dtype, rank = _INPUTS[name]
        colours = name != "image" or value.shape[-1] == 3
        if (value.dtype, value.ndim, len(value)) != (dtype, rank, len(labels)) or not colours:
            raise ValueError(
                f"`inputs[{name!r}]` must be {dtype} of rank {rank} with {len(labels)} samples"
                f"{' in RGB' if name == 'image' else ''}. "
                f"Received: {value.dtype} of shape {value.shape}."
            )


def _headline(metrics, labels, predicted):
    accuracy = float(np.mean(predicted == labels))
    subset = "+".join(metrics["modalities"])
    recorded = metrics["test"]["accuracy"].get(subset)
    return {
        "subset": subset,
        "accuracy": accuracy,
        "interval": wilson_interval(accuracy, len(labels)),
        "right": int(np.sum(predicted == labels)),
        "samples": len(labels),
        "commonest": float(np.bincount(labels).max() / len(labels)),
        # Two runtimes may order a near tie differently: more than one sample is a contradiction.
        "contradicted": recorded is not None and abs(recorded - accuracy) > 1.5 / len(labels),
        "recorded": recorded,
    }


def _slowest(certificate):
    """Batch size, as the certificate writes it, to the slowest format's milliseconds."""
    formats = certificate["formats"].values() if certificate else ()
    times = [item for entry in formats for item in entry["latency_ms"].items()]
    batches = sorted({batch for batch, _ in times}, key=int)
    return {batch: max(ms for key, ms in times if key == batch) or 1 for batch in batches}


def _confusions(labels, predicted):
    """`(true, predicted, count)` of every pair that was confused, most often first."""
    wrong = predicted != labels
    found, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], 1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    return [(*map(int, found[i]), int(counts[i])) for i in order]


def _confusion(inputs, labels, probabilities, names, true, chosen, count):
    rows = np.flatnonzero((labels == true) & (probabilities.argmax(1) == chosen))
    surest = rows[probabilities[rows, chosen].argmax()]
    return {
        "true": names[true],
        "predicted": names[chosen],
        "count": count,
        "of": int(np.sum(labels == true)),
        "image": picture(inputs["image"][surest]) if "image" in inputs else None,
        "probability": float(probabilities[surest, chosen]),
    }


def _spread(labels, mask, count):
    """Up to `count` rows of `mask`, from as many classes as can be, evenly over the classes."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    _, first = np.unique(labels[rows], return_index=True)
    if len(first) >= count:
        return rows[first[np.linspace(0, len(first) - 1, count).astype(int)]]
    return np.concatenate([rows[first], np.delete(rows, first)[: count - len(first)]])


def _sample(inputs, labels, probabilities, names, index):
    order = np.argsort(-probabilities[index], kind="stable")
    label = labels[index]
    return {
        "index": int(index),
        "right": bool(order[0] == label),
        "true": names[label],
        "rank": int(np.flatnonzero(order == label)[0]) + 1,
        "probability": float(probabilities[index, label]),
        "image": picture(inputs["image"][index]) if "image" in inputs else None,
        "text": decode_text(inputs["text"][index : index + 1])[0] if "text" in inputs else None,
        "sound": sound(inputs["audio"][index]) if "audio" in inputs else None,
        "top": [
            {"name": names[i], "probability": float(probabilities[index, i]), "true": i == label}
            for i in order[:_TOP]
        ],
    }
