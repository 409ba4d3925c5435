"""What a quantised artifact may lose."""

import math

LARGEST_LIMIT = 0.1
# Of an output that has neither a metric nor a first class: no rounding to 8 bits is as far off.
LARGEST_DIFFERENCE = 0.25


def check_limit(limit: float) -> None:
    """Raises ValueError unless a limit of the metric says something."""
    if not 0 <= limit <= LARGEST_LIMIT:
        raise ValueError(
            f"`metric_limit` must be a share from 0 to {LARGEST_LIMIT}. Received: {limit}. Half a "
            "point is 0.005."
        )


def limit_breaches(result: dict, limit: float) -> list[str]:
    """What a quantised artifact lost more of than it may, in words; every check is judged.

    Args:
        result: Its part of the certificate.
        limit: Share of the metric, or of the decisions where there are no targets, that may be
            lost on all samples. Where a check has but some of them, two standard errors of the
            paired change more.
    """
    breaches = []
    most = max((check["samples"] for check in result["checks"]), default=0)
    for check in result["checks"]:
        what = f"{check['sizes']}, batch {check['batch']}, output {check['output']!r}"
        metric, agreement, rows = check["metric"], check["agreement"], check["samples"]
        whole = rows == most and check["sizes"] == "samples"
        if metric is not None:
            room = limit + (0 if whole else 2 * metric["error"])
            if not metric["lost"] <= room:
                breaches.append(
                    f"{what}: {metric['name']} {metric['artifact']:.3f}, {metric['change']:+.3f} "
                    f"against Keras, more than {limit:g} lost{_blame(check['sizes'])}"
                )
        elif agreement is not None:
            lost = 1 - agreement
            room = limit + (0 if whole else 2 * math.sqrt(lost * rows) / rows)
            if lost > room:
                breaches.append(
                    f"{what}: {agreement:.2%} of the decisions agree, {limit:g} may change"
                )
        elif not check["scale_relative"] <= LARGEST_DIFFERENCE:
            breaches.append(
                f"{what}: off by {check['scale_relative']:.2g} of its scale, more than "
                f"{LARGEST_DIFFERENCE}"
            )
    return breaches


def _blame(sizes):
    """Names the tower, if one alone was at work."""
    alone = sizes.isidentifier() and sizes not in ("samples", "short", "long", "subsets", "nothing")
    return f"; keep the tower {sizes!r} larger (--quantize {sizes}=float16)" if alone else ""
