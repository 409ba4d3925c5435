"""How far an artifact's answers are from the Keras model's."""

import dataclasses

import numpy as np

TOLERANCE = 1e-5  # of the output's scale, float32
LARGEST_TOLERANCE = 1e-3


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
        top1_agreement: Share of samples with the same largest entry, where the reference's
            lead over the runner-up is above the tolerance; None for outputs without classes.
        breaches: What is wrong, in words; empty if the output holds.
    """

    max_abs: float
    mean_abs: float
    scale_relative: float
    finite: bool
    top1_agreement: float | None
    breaches: tuple

    @property
    def holds(self) -> bool:
        return not self.breaches


def compare(
    actual: np.ndarray, expected: np.ndarray, tolerance: float | None = TOLERANCE
) -> Difference:
    """Compares one output with its reference. NaN and infinity never pass.

    Args:
        actual: What the artifact answered.
        expected: What the Keras model answered: `(samples, ...)`.
        tolerance: Largest `scale_relative` that holds. Ids, counts and masks (anything but
            floats) must be equal. None: any finite floats hold, for an artifact that is judged
            by its metric.
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
    difference = np.abs(actual.astype("float64") - expected.astype("float64"))
    max_abs, mean_abs = float(np.max(difference)), float(np.mean(difference))
    scale = max(float(np.max(np.abs(expected))), float(np.finfo("float32").tiny))
    relative = max_abs / scale
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
    agreement = _top1_agreement(actual, expected, (tolerance or 0) * scale)
    if tolerance is not None and agreement is not None and agreement < 1:
        breaches.append(f"top-1 agrees on {agreement:.2%} of the samples only")
    return Difference(max_abs, mean_abs, relative, finite, agreement, tuple(breaches))


def _top1_agreement(actual, expected, margin):
    if expected.ndim != 2 or expected.shape[1] < 2 or expected.dtype.kind != "f":
        return None
    top = np.partition(expected, -2, axis=1)
    clear = top[:, -1] - top[:, -2] > margin
    return float(np.mean((actual.argmax(1) == expected.argmax(1)) | ~clear))


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest entry is the label; NaN rows count as wrong."""
    from sklearn.metrics import accuracy_score

    chosen = np.where(np.isfinite(outputs).all(1), outputs.argmax(1), -1)
    return float(accuracy_score(labels, chosen))
