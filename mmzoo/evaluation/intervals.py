"""How sure a measured share is."""

import math


def wilson_interval(accuracy: float, samples: int) -> tuple[float, float]:
    """The 95 % interval `(low, high)` of a share, by Wilson's score.

    Args:
        accuracy: Share of right samples, in [0, 1].
        samples: Positive int.

    Raises:
        ValueError: If one is out of its range.

    Reference:
        Wilson, 1927 (doi:10.1080/01621459.1927.10502953).

    Example:

    >>> low, high = wilson_interval(0.5, 100)
    >>> f"{low:.4f} {high:.4f}"
    '0.4038 0.5962'
    """
    if samples < 1 or not 0 <= accuracy <= 1:
        raise ValueError(
            "Expected an accuracy in [0, 1] of at least one sample. "
            f"Received: accuracy={accuracy}, samples={samples}."
        )
    z = 1.959964  # the normal distribution's 97.5 % quantile
    center = (accuracy + z**2 / (2 * samples)) / (1 + z**2 / samples)
    spread = math.sqrt(accuracy * (1 - accuracy) / samples + z**2 / (4 * samples**2))
    margin = z * spread / (1 + z**2 / samples)
    return max(0.0, center - margin), min(1.0, center + margin)
