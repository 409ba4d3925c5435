"""How far an artifact's answers are from the Keras model's."""

import dataclasses

import numpy as np

from mmzoo.tasks.answers import Answer

TOLERANCE = 1e-5  # of the output's scale, float32
LARGEST_TOLERANCE = 1e-3
# Where the reference is zero throughout there is no scale: the last place of float32 at 1.
ZERO = 1e-7
# Below what float32 can hold with all its digits runtimes round to zero, or don't.
TINY = 1e-30


def check_tolerance(tolerance: float) -> None:
    """Raises ValueError unless a certificate of this tolerance says something."""
    if not 0 <= tolerance <= LARGEST_TOLERANCE:
        raise ValueError(
            f"`tolerance` must be at most {LARGEST_TOLERANCE} of an output's scale. Received: "
            f"tolerance={tolerance}. A larger difference is no rounding: look for its cause."
        )


class ParityError(AssertionError):
    """An artifact does not give the Keras model's answers.

    Attributes:
        certificate: The whole certificate, with every check and breach.
    """

    def __init__(self, message: str, certificate: dict):
        super().__init__(message)
        self.certificate = certificate


@dataclasses.dataclass(frozen=True)
class Difference:
    """One output of one run against its reference.

    Attributes:
        max_abs, mean_abs: Largest and mean absolute difference; NaN if any value is.
        scale_relative: `max_abs` over the largest absolute reference value.
        finite: Whether every value is finite.
        agreement: Share of the decisions that are the same, or whose lead in the reference is at
            most twice what a value may be off, since both sides may move; None unless the output
            decides.
        breaches: What is wrong, in words; empty if the output holds.
    """

    max_abs: float
    mean_abs: float
    scale_relative: float
    finite: bool
    agreement: float | None
    breaches: tuple

    @property
    def holds(self) -> bool:
        return not self.breaches


def compare(
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: float | None = TOLERANCE,
    answer: Answer | None = None,
    usual: float | None = None,
) -> Difference:
    """Compares one output with its reference. NaN and infinity never pass.

    A difference holds up to `tolerance` times the scale, the largest absolute reference value.
    Where every reference value is 0, that would allow none at all: up to 1e-7 holds, the last
    place of a float32 of 1. An output that is small but not zero keeps its own scale.

    Args:
        actual: What the artifact answered.
        expected: What the Keras model answered: `(samples, ...)`.
        tolerance: Largest `scale_relative` that holds. Ids, counts and masks (anything but
            floats) must be equal. None: any finite floats hold, for an artifact that is judged
            by its metric.
        answer: What the output stands for: its decisions, if it makes any, must be the same.
            None: it makes none.
        usual: Scale of the output's usual answers. If it is given, each row is held to its own
            scale, or to this one where its own is smaller, so that a row of huge values hides
            no error in another. None: one scale for all rows.
    """
    if expected.dtype.kind != "f":
        tolerance = 0.0
    if expected.dtype == "float16" and tolerance is not None:
        tolerance = max(tolerance, float(np.finfo("float16").eps))  # the last digit it has
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        breach = (
            f"expected {expected.dtype} of shape {expected.shape}, "
            f"received {actual.dtype} of shape {actual.shape}"
        )
        nan = float("nan")
        return Difference(nan, nan, nan, False, None, (breach,))
    if not expected.size:
        return Difference(0.0, 0.0, 0.0, True, None, ())
    size = np.abs(expected.astype("float64"))
    difference = np.abs(actual.astype("float64") - expected.astype("float64"))
    max_abs, mean_abs = float(np.max(difference)), float(np.mean(difference))
    if usual is None:
        scale, most = np.max(size), np.max(difference)
    else:
        scale, most = (each.reshape(len(each), -1).max(1) for each in (size, difference))
        scale = np.maximum(scale, usual)
    with np.errstate(invalid="ignore"):  # infinity less infinity is named below
        relative = float(np.max(_relative(most, scale, tolerance)))
    finite = bool(np.isfinite(actual).all())
    breaches = []
    if not finite:
        bad = int(np.size(actual) - np.isfinite(actual).sum())
        breaches.append(f"{bad} of {actual.size} values are not finite")
    if tolerance is not None and not relative <= tolerance:  # also true of NaN
        breaches.append(
            f"largest difference {max_abs:.3g} is {relative:.3g} of the scale, "
            f"above {tolerance:.0e}"
        )
    agreement = None
    if answer is not None and usual is None:
        agreement = answer.agreement(actual, expected, 2 * (tolerance or 0) * float(scale))
    if tolerance is not None and agreement is not None and agreement < 1:
        breaches.append(f"{agreement:.2%} of the decisions agree only")
    return Difference(max_abs, mean_abs, relative, finite, agreement, tuple(breaches))


def usual_scale(answers: np.ndarray) -> float:
    """Largest absolute value of an output's answers to the samples."""
    return float(np.max(np.abs(answers.astype("float64")), initial=0.0))


def _relative(most, scale, tolerance):
    """Largest differences over their scales; 0 where they are within the floor."""
    floor = np.where(scale == 0, ZERO, TINY) if tolerance else 0.0
    relative = most / np.maximum(scale, float(np.finfo("float32").tiny))
    return np.where(most <= floor, 0.0, relative)
