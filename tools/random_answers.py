"""What `random_models.py` compares: answers to rows of its own.

Nothing here is shared with the certificate but the runtimes and the noise of `rounding`: the rows,
what is left out of them and what may differ are decided anew.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from mmzoo.export.certify.edge_cases.rounding import round_differently
from mmzoo.export.surgery.model_description import call

TOLERANCE = 1e-4  # of a row's own scale; ten times the certificate's: these rows are harder
FLOOR = 1e-6
ULP = 2.0**-23
SHAKES = 3


@dataclasses.dataclass(frozen=True)
class Reference:
    """Keras' answers to rows of inputs.

    Attributes:
        inputs: The rows that can be compared, by input.
        expected: Keras' answers to them, by output.
        unsteady: Bool by output: rows whose answer moves when the last digit of inputs does, and
            weights and results are rounded differently.
        left_out: How many rows there are none of: Keras refuses them, or is not finite.
    """

    inputs: dict
    expected: dict
    unsteady: dict
    left_out: int


def ask_keras(model, sets) -> list:
    """Keras' answers: a `Reference` a set of inputs, dict of input to array.

    Left out are rows that Keras refuses (an index out of range), and to which it answers NaN or
    infinity: the certificate has its own rows for these.
    """
    rng = np.random.default_rng(5)
    answers = tf.function(
        lambda values: call(model, values), autograph=False, reduce_retracing=True
    )

    def run(values, answers=answers):
        made = answers({name: tf.constant(value) for name, value in values.items()})
        return {name: value.numpy() for name, value in made.items()}

    def moved(shape):
        return 1 + ULP * rng.choice([-1.0, 1.0], shape).astype("float32")

    def ask(values):
        count = len(next(iter(values.values())))
        try:
            found, rows = run(values), np.arange(count)
        except tf.errors.InvalidArgumentError:  # which row it was, Keras doesn't say
            rows = np.array([k for k in range(count) if _runs(run, values, k)], int)
            values = {name: value[rows] for name, value in values.items()}
            if not len(rows):
                return None
            found = run(values)
        keep = np.ones(len(rows), bool)
        for value in found.values():
            if value.dtype.kind == "f":
                keep &= np.isfinite(value).reshape(len(value), -1).all(1)
        values = {name: value[keep] for name, value in values.items()}
        found = {name: value[keep] for name, value in found.items()}
        if not keep.any():
            return None
        differently = round_differently(model, values)  # for these sizes
        unsteady = {name: np.zeros(len(value), bool) for name, value in found.items()}
        for _ in range(SHAKES):
            near = {
                name: (value * moved(value.shape)).astype(value.dtype)
                if value.dtype.kind == "f"
                else value
                for name, value in values.items()
            }
            for name, value in run(near, differently).items():
                unsteady[name] |= ~_agree(value, found[name])
        return Reference(values, found, unsteady, count - int(keep.sum()))

    return [ask(values) for values in sets]


def _runs(run, values, row):
    try:
        run({name: value[row : row + 1] for name, value in values.items()})
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _agree(actual, expected):
    """Bool a row: whether the answers are the same within the tolerance."""
    count = len(expected)
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return np.zeros(count, bool)
    if expected.dtype.kind != "f":
        return (actual == expected).reshape(count, -1).all(1)
    if not expected.size:
        return np.ones(count, bool)
    actual, expected = (x.astype("float64").reshape(count, -1) for x in (actual, expected))
    with np.errstate(invalid="ignore"):  # infinity less infinity is unequal
        off = np.abs(actual - expected).max(1)
    return off <= TOLERANCE * np.abs(expected).max(1) + FLOOR


def find_wrong(answers: dict, known: Reference) -> str:
    """A sentence about an artifact's answers to a reference's rows; empty if they are right."""
    for name, expected in known.expected.items():
        actual = answers[name]
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            return (
                f"output {name!r}: {actual.dtype} of shape {actual.shape} for "
                f"{expected.dtype} of shape {expected.shape}"
            )
        wrong = np.flatnonzero(~_agree(actual, expected) & ~known.unsteady[name])
        if len(wrong):
            row = wrong[0]
            place = np.unravel_index(
                np.argmax(~np.isclose(actual[row], expected[row], TOLERANCE / 10, FLOOR)),
                expected[row].shape,
            )
            given = {n: _shown(value[row]) for n, value in known.inputs.items()}
            return (
                f"output {name!r}, {len(wrong)} of {len(expected)} rows; in row {row} at "
                f"{tuple(map(int, place))}: largest difference from Keras "
                f"{actual[row][place]:.7g} for {expected[row][place]:.7g}; inputs {given}"
            )
    return ""


def _shown(value):
    value = np.asarray(value).reshape(-1)
    return f"{', '.join(f'{v:.4g}' for v in value[:4])}{', …' if value.size > 4 else ''}"


def probe_rows(inputs: dict) -> dict:
    """Edge values by the kind of each input, alone and together; unchanged rows in between."""
    changes: list[dict] = [{}]
    kinds = {name: _edges(value) for name, value in inputs.items()}
    for k in range(max(map(len, kinds.values()))):
        changes.append({name: values[k % len(values)] for name, values in kinds.items()})
    for name, values in kinds.items():
        changes += [{name: value} for value in values if len(kinds) > 1]
    origin = np.arange(len(changes)) % len(next(iter(inputs.values())))
    rows = {name: value[origin].copy() for name, value in inputs.items()}
    for k, change in enumerate(changes):
        for name, value in change.items():
            rows[name][k] = value
    return rows


def _edges(value):
    if value.dtype.kind == "b":
        return [False, True] if value.ndim == 1 else [False, True, np.arange(value.shape[-1]) < 1]
    if value.dtype == "uint8":
        return [0, 1, 255, 128]
    if value.dtype.kind in "iu":
        return [0, 1, -1, int(value.max()), -2, 10 * int(value.max())]
    first = np.zeros(value.shape[1:], value.dtype)
    first.reshape(-1)[:1] = 1.0
    return [0.0, 1.0, 95.0, -95.0, -1.0, 10 * float(value.max()), 1e-4, first, -0.5, 1e-20]
