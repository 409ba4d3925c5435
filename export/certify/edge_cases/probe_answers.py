"""The Keras model's answers to the probe rows, and which of them say nothing."""

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.certify.comparison import compare, usual_scale
from mmzoo.export.certify.edge_cases.probe_rows import NORMAL, draw_probes
from mmzoo.export.certify.edge_cases.rounding import round_differently
from mmzoo.export.certify.preconditions import check_probes_apart, rows_runner
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import keras_reason
from mmzoo.tasks.tensors import Tensor

REFUSALS = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, ValueError, TypeError)
STEADY = 0.5  # of the tolerance: what other rounding may move an answer by
DRAWS = 3


def answer_probes(
    model: keras.Model, samples: Samples, inputs: list[Tensor], usual: dict, tolerance: float
) -> tuple[dict, dict]:
    """The Keras model's answers to the probe rows.

    Left out are rows that Keras refuses (an index out of range), and rows to which it answers
    NaN or infinity. A row is unsteady where Keras' own answer moves by more than half the
    tolerance when weights and the results in between are rounded differently (see `rounding`): no
    runtime rounds just as Keras does. Of its answers only that they are finite is asked.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        samples: What it is compared on.
        inputs: The model's.
        usual: Its answers to the samples, by output.
        tolerance: See `verify_artifact`.

    Raises:
        ValueError: If an answer depends on the other rows of its batch.

    Returns:
        Dict of output to array, and what the manifest says: `rows`, `left_out` (their count),
        `reasons` (dict of a row left out to why) and `unsteady` (names of rows).
    """
    probes = draw_probes(samples, inputs)
    run = rows_runner(model, probes.inputs)
    reasons, answered = {}, []
    for k, name in enumerate(probes.names):
        try:
            alone = run(probes.inputs, slice(k, k + 1))
        except REFUSALS as error:
            if name.startswith(NORMAL):
                raise
            reasons[name] = f"Keras refuses it: {keras_reason(error)[:200]}"
            continue
        bad = [n for n, v in alone.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]
        if bad:
            reasons[name] = f"Keras answers NaN or infinity in {', '.join(map(repr, bad))}"
        else:
            answered.append(alone)
    kept = probes.without(reasons)
    found = run(kept.inputs, slice(None))
    joined = {name: np.concatenate([each[name] for each in answered]) for name in found}
    check_probes_apart(run, kept, joined, found, usual)
    unsteady = _unsteady(model, kept, found, usual, tolerance)
    said = {"rows": len(kept), "left_out": len(reasons), "reasons": reasons, "unsteady": unsteady}
    return found, said


def _unsteady(model, probes, found, usual, tolerance):
    """Names of the rows whose answers other rounding moves too far."""
    run = round_differently(model, probes.inputs)
    given = {name: tf.constant(value) for name, value in probes.inputs.items()}
    scales = {output: usual_scale(value) for output, value in usual.items()}
    names = set()
    for _ in range(DRAWS):
        for output, tensor in run(given).items():
            value, expected = tensor.numpy(), found[output]
            for k, name in enumerate(probes.names):
                pair = value[k : k + 1], expected[k : k + 1]
                if compare(*pair, STEADY * tolerance, usual=scales[output]).breaches:
                    names.add(name)
    return [name for name in probes.names if name in names and not name.startswith(NORMAL)]
