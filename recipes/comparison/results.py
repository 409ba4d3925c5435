"""What a bake-off says: how sure each result is, and whether learned fusion beats late fusion."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmzoo.fusion.zoo import LEARNED

CONFIDENCE = 0.95


def interval(values: Sequence[float], limits: tuple[float, float] = (0.0, 1.0)) -> dict:
    """Mean of a figure over seeds, and how sure it is.

    Args:
        values: One a seed.
        limits: Smallest and largest value that there can be; the interval ends there.

    Returns:
        Dict of `values`, `mean`, and `low` and `high`, the ends of the 95 % interval of the mean
        by Student's t. One value says nothing of its spread: then the interval is all between
        the limits.

    Raises:
        ValueError: If there is no value, or one outside the limits.

    Reference:
        Student, 1908 (doi:10.1093/biomet/6.1.1).

    Example:

    >>> found = interval([0.90, 0.92, 0.94])
    >>> f"{found['mean']:.3f} {found['low']:.3f} {found['high']:.3f}"
    '0.920 0.870 0.970'
    """
    from scipy import stats

    low, high = limits
    array = np.asarray(values, "float64")
    if not len(array) or not ((low <= array) & (array <= high)).all():
        raise ValueError(
            f"Expected one value or more between {low} and {high}. Received: {list(values)}."
        )
    mean, spread = float(array.mean()), float("inf")
    if len(array) > 1:
        spread = float(stats.sem(array) * stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1))
    return {
        "values": array.tolist(),
        "mean": mean,
        "low": max(low, mean - spread),
        "high": min(high, mean + spread),
    }


def paired_difference(one: Sequence[float], other: Sequence[float]) -> dict:
    """How much higher `one` is than `other`, seed by seed.

    Args:
        one, other: Shares, one a seed, of the same seeds in the same order.

    Returns:
        What `interval` returns, of the differences.

    Raises:
        ValueError: If they differ in number.

    Example:

    >>> found = paired_difference([0.5, 0.7], [0.4, 0.6])
    >>> f"{found['mean']:.2f}"
    '0.10'
    """
    if len(one) != len(other):
        raise ValueError(f"Expected two values a seed. Received: {len(one)} and {len(other)}.")
    return interval(np.subtract(one, other).tolist(), (-1.0, 1.0))


def best(entries: Sequence[Mapping], families: Sequence[str]) -> Mapping:
    """The entry of these families with the highest mean on validation data.

    Raises:
        ValueError: If there is none.
    """
    found = [entry for entry in entries if entry["family"] in families]
    if not found:
        raise ValueError(
            f"Expected an entry of a family in {list(families)}. Received: "
            f"{sorted({entry['family'] for entry in entries})}."
        )
    return max(found, key=lambda entry: entry["validation"]["mean"])


def compare_late(entries: Sequence[Mapping]) -> dict:
    """The best learned fusion against the best late one, both chosen on validation data.

    Args:
        entries: Dicts of `kind`, `family`, `accuracy` (on test data) and `validation`, each of
            the last two as `interval` returns it.

    Returns:
        Dict of `best_late` and `best_learned`, kinds; `difference`, learned less late, paired by
        seed, on test data; and `beats`, whether all of its interval is above 0.
    """
    late, learned = best(entries, ["late"]), best(entries, LEARNED)
    difference = paired_difference(learned["accuracy"]["values"], late["accuracy"]["values"])
    return {
        "best_late": late["kind"],
        "best_learned": learned["kind"],
        "difference": difference,
        "beats": difference["low"] > 0,
    }


def verdict(entries: Sequence[Mapping], xor: Sequence[Mapping] | None = None) -> dict:
    """Whether learned fusion beats late fusion on Concept-128, and why.

    Args:
        entries: Those of Concept-128, as `compare_late` takes them.
        xor: Optional, those of the synthetic task "xor", for contrast.

    Returns:
        What `compare_late` returns, and `text`, which says it.
    """
    found = compare_late(entries)
    sentences = [_sentence(found, "Concept-128")]
    if not found["beats"] and len(found["difference"]["values"]) > 1:
        sentences.append(
            "Pictures, phrases and clips of Concept-128 are drawn independently, given the class. "
            "So p(class | all) is proportional to the product of what each expert says, over the "
            "prior, and a calibrated product of experts is Bayes' rule: between the modalities "
            "nothing is left to learn."
        )
    if xor is not None:
        contrast = compare_late(xor)
        sentences.append(_sentence(contrast, "xor"))
        if contrast["beats"] and not found["beats"]:
            sentences.append(
                "There the reverse holds: no modality alone says anything of the label, and only "
                "what they say together does."
            )
    return {**found, "text": " ".join(sentences)}


def _sentence(found, task):
    difference = found["difference"]
    seeds = len(difference["values"])
    points = [f"{100 * difference[key]:+.1f}" for key in ("mean", "low", "high")]
    does = "beats"
    if not found["beats"]:
        does = "does not beat" if difference["high"] >= 0 else "is beaten by"
    sentence = (
        f"On {task}, {found['best_learned']}, the best learned fusion on validation data, {does} "
        f"{found['best_late']}, the best late one"
    )
    if seeds == 1:
        return f"{sentence}, for all that one seed can say: {points[0]} points of test accuracy."
    return (
        f"{sentence}: {points[0]} points of test accuracy, seed by seed, with a 95 % interval of "
        f"{points[1]} to {points[2]} over {seeds} seeds."
    )
