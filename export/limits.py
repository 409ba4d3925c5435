"""What a quantised artifact may lose."""

import math


def limit_breaches(result: dict, scores: str | None, limit: float) -> list[str]:
    """What a quantised artifact lost more of than it may, in words.

    Args:
        result: Its part of the certificate.
        scores: Name of the output that holds a score a class.
        limit: Share of the metric, or of top-1 where there are no labels, that may be lost. Of
            a subset, which has few samples, two standard errors more: of the paired change,
            sqrt(right in but one of the two) / samples.

    Returns:
        Breaches; that of a subset of one modality names the tower to blame.
    """
    breaches = []
    metric = result["metric"]
    if metric is not None:
        if metric["change"] < -limit:
            breaches.append(_lost("all modalities", metric, limit))
        for name, each in result["subsets"].items():
            rows = next(c["samples"] for c in result["checks"] if c["sizes"] == name)
            if each["change"] < -limit - 2 * math.sqrt(each["differ"]) / rows:
                breaches.append(_lost(name, each, limit))
        return breaches
    for check in result["checks"]:
        agreement = check["top1_agreement"]
        if check["output"] == scores and agreement is not None and agreement < 1 - limit:
            breaches.append(
                f"top-1 of {check['sizes']}, batch {check['batch']}: {agreement:.2%} agree, "
                f"fewer than {1 - limit:.2%}"
            )
    return breaches


def _lost(name, metric, limit):
    tower = f"; the tower {name!r} by itself" if name.isidentifier() and name != "nothing" else ""
    return (
        f"accuracy with {name}: {metric['artifact']:.3f}, {metric['change']:+.3f} against Keras, "
        f"more than {limit:g} lost{tower}"
    )
