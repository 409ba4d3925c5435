"""Preconditions that the Keras model must satisfy before export."""

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.certify.comparison import compare, usual_scale
from mmzoo.export.certify.edge_cases.probe_rows import NORMAL, Probes
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import call, keras_reason
from mmzoo.export.surgery.traces import trace
from mmzoo.tasks.tensors import Tensor

FEW = 3  # texts whose padding is changed
ALONE = 51  # samples that are run one by one, as the artifacts' are
GROUPED = 255  # samples that are run in other groups
MIXED = 32  # samples with modalities absent
PADDED = 1e-4  # of an output's scale: what 8 more zeros may change by other orders of sums
SAME = 1e-3  # of an output's scale: this looks for what a model feels, not for rounding
# The same row at the same place of a batch of the same size is computed in the same order.
EQUAL = 5e-6


def check_names(inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Raises ValueError if an output bears the name of an input, which ONNX can't tell apart."""
    both = sorted({t.name for t in inputs} & {t.name for t in outputs})
    if both:
        raise ValueError(
            f"Input and output share the name {', '.join(map(repr, both))}: rename one. An ONNX "
            "file has one list of names for both. The name of an output is its key in the dict "
            "of outputs, or the name of the layer that makes it."
        )


def check_model(model: keras.Model, samples: Samples, answers: dict, subsets=None) -> None:
    """Raises ValueError unless a model's answers are fit to be compared with.

    - They are finite: NaN is equal to nothing.
    - The same inputs give the same answer twice.
    - A sample's answer is the same alone and in every batch: one that depends on the others of
      its batch differs on every server.
    - The content of an absent modality does not change an answer.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        samples: What it is compared on.
        answers: Its own answers of "samples" and "subsets", dicts of output to array.
        subsets: `Subsets` of the samples; None if the model takes no presence.
    """
    check_finite(answers)
    run = rows_runner(model, samples.inputs)
    count = len(samples)
    for name, value in answers["samples"].items():
        if len(value) != count:
            raise ValueError(
                f"Output {name!r} has {len(value)} rows for {count} samples. Its first axis must "
                "be the batch: a layer folds another axis into it, or drops it."
            )
    check_repeatable(run, samples, subsets)
    check_rows_apart(run, samples, answers["samples"])
    if subsets is None:
        return
    blank, spoilt = (run(each.inputs, slice(MIXED)) for each in (subsets.blank, subsets.spoilt))
    for name, value in spoilt.items():
        found = compare(value, blank[name], SAME)
        if found.breaches:
            raise ValueError(
                f"Output {name!r} changes when the content of an absent modality changes (max "
                f"difference {found.max_abs:.3g}). Wrap the input in HideAbsent "
                "(mmzoo.fusion.HideAbsent), and pass `presence` to the fusion."
            )


def rows_runner(model: keras.Model, inputs: dict):
    """Traces a model once for any batch size.

    Args:
        model: Functional model.
        inputs: Dict of input to array; only their dtypes and sizes behind the batch count.

    Returns:
        A function of a dict of inputs, and the rows of them that it runs, to a dict of output
        to array.

    Raises:
        ValueError: If Keras can't trace it.
    """
    try:
        traced = trace(model, inputs)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            "Expected a model that runs as a graph, its batch size unknown. Keras answered: "
            f"{keras_reason(error)}"
        ) from error

    def run(values, rows):
        made = traced({name: tf.constant(value[rows]) for name, value in values.items()})
        return {name: value.numpy() for name, value in made.items()}

    return run


def check_repeatable(run, samples: Samples, subsets=None) -> None:
    """Raises ValueError if the same inputs give two answers.

    Args:
        run: Function of a dict of inputs and the rows of them to the answers by output.
        samples, subsets: See `check_model`.
    """
    for inputs in [samples.inputs] + ([] if subsets is None else [subsets.blank.inputs]):
        first, second = (run(inputs, slice(ALONE)) for _ in range(2))
        for name, value in second.items():
            found = compare(value, first[name], EQUAL)
            if found.breaches:
                raise ValueError(
                    f"Output {name!r} changes from one call to the next on the same inputs (max "
                    f"difference {found.max_abs:.3g}). A layer draws random numbers outside "
                    "training, such as Dropout that is called with training=True, or "
                    "keras.random: call it without, or draw while `training` alone."
                )


def check_rows_apart(run, samples: Samples, together: dict) -> None:
    """Raises ValueError if a sample's answer depends on the others of its batch.

    Samples are run alone, in batches of 3 and 17 in the reverse order, and with every other
    sample of their batch replaced.

    Args:
        run: See `check_repeatable`.
        samples: See `check_model`.
        together: The answers to all samples, in batches of 64.
    """
    count = len(samples)
    few = np.unique(np.linspace(0, count - 1, min(ALONE, count)).astype(int))
    many = np.unique(np.linspace(0, count - 1, min(GROUPED, count)).astype(int))
    for batch, chosen in ((1, few), (3, few[::-1]), (17, many[::-1])):
        for start in range(0, len(chosen), batch):
            rows = chosen[start : start + batch]
            _hold(run(samples.inputs, rows), {n: v[rows] for n, v in together.items()}, rows, SAME)
    for batch in (3, 17):
        rows = np.resize(np.arange(count), batch)
        before = run(samples.inputs, rows)
        for kept in (np.arange(batch) % 2 == 0, np.arange(batch) % 2 == 1):
            others = np.where(kept, rows, (rows + count // 2 + 1) % count)
            after = run(samples.inputs, others)
            pair = ({name: v[kept] for name, v in made.items()} for made in (after, before))
            _hold(*pair, rows[kept], EQUAL)


def check_probes_apart(run, probes: Probes, alone: dict, together: dict, usual: dict) -> None:
    """Raises ValueError if a probe row's answer depends on the others, or theirs on it.

    Args:
        run: See `check_repeatable`.
        probes: The rows.
        alone: Answers to each row alone, by output.
        together: The same in one batch.
        usual: Answers to the samples.
    """
    rows = np.arange(len(probes))
    _hold(alone, together, rows, SAME, "probe row", usual)
    normal = np.array([name.startswith(NORMAL) for name in probes.names])
    if normal.any():
        made = run(probes.inputs, np.where(normal, rows, np.flatnonzero(normal)[0]))
        pair = ({name: v[normal] for name, v in each.items()} for each in (together, made))
        _hold(*pair, rows[normal], EQUAL, "probe row")


def _hold(made, expected, rows, tolerance, word="row", usual=None):
    for name, value in made.items():
        if tolerance == SAME and value.dtype.kind != "f":
            continue  # a count may flip where a sum is rounded in another order
        scale = None if usual is None else usual_scale(usual[name])
        found = compare(value, expected[name], tolerance, usual=scale)
        if not found.breaches:
            continue
        worst, what = int(rows[0]), found.breaches[0]
        if value.shape == expected[name].shape:
            difference = np.abs(value.astype("float64") - expected[name])
            worst = int(rows[difference.reshape(len(rows), -1).max(1).argmax()])
            what = f"max difference {found.max_abs:.3g}"
        raise ValueError(
            f"Output {name!r} of {word} {worst} changes with the other rows of its batch ({what}), "
            "so it would differ on every server. A layer reads across the batch: "
            "BatchNormalization called with training=True, a softmax or mean over axis 0, "
            "attention over the batch, a mean over texts that are padded to the longest of the "
            "batch, or keras.layers.MelSpectrogram, which scales by the loudest sample (use "
            "mmzoo.preprocessing.LogMel). Compute each row by itself."
        )


def check_finite(answers: dict) -> None:
    """Raises ValueError at NaN or infinity among answers: dict of key, output to array."""
    for key in answers:
        for name, value in answers[key].items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                count = int((~np.isfinite(value)).reshape(len(value), -1).any(1).sum())
                raise ValueError(
                    f"Expected a model whose answers are finite. Received: NaN or infinity in "
                    f"output {name!r} on {count} of {len(value)} {key}. Look at the samples, or "
                    "for a logarithm or a division that meets zero, such as a mean over nothing."
                )


def check_padding(model: keras.Model, samples: Samples, inputs: list[Tensor]) -> None:
    """Raises ValueError if a model feels how far a text is padded.

    Where texts are strings, each is padded to the longest of its batch, so that its answer
    would depend on the others.

    Args:
        model: Functional model.
        samples: What it is compared on.
        inputs: The model's; texts with a free length count.
    """
    free = [t for t in inputs if t.is_text and not t.tokens_of and t.shape[1] is None]
    for text in free:
        lengths = [len(row.tobytes().rstrip(b"\0")) for row in samples.inputs[text.name]]
        for k in np.argsort(lengths, kind="stable")[:FEW]:
            few = {name: value[k : k + 1] for name, value in samples.inputs.items()}
            short = few[text.name][:, : max(lengths[k], 1)]
            try:
                padded, alone = (
                    _run(model, few | {text.name: np.pad(short, ((0, 0), (0, more)))}, slice(1))
                    for more in (8, 0)
                )
            except (tf.errors.InvalidArgumentError, ValueError):
                continue  # too short for it: the sizes that Keras refuses are on record
            for name, value in alone.items():
                found = compare(value, padded[name], PADDED)
                if found.breaches:
                    raise ValueError(
                        f"Expected a model that does not feel how far {text.name!r} is padded, "
                        "since strings are padded to the longest of their batch. Received: output "
                        f"{name!r}, another one with 8 more zeros: {found.breaches[0]}. Mask the "
                        "zeros in its encoder, as mmzoo.encoders.text does, give the input a "
                        "fixed length, or export without the signature serving_default."
                    )


def _run(model, inputs, rows):
    made = call(model, {name: tf.constant(value[rows]) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in made.items()}
