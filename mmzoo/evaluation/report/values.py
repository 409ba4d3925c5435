"""How values of metrics and numbers are written."""

from mmzoo.tasks import Metric


def in_words(name: str) -> str:
    """A metric's name in words: "mean absolute error"."""
    return name.replace("_", " ")


def shown_value(metric: Metric, value: float) -> str:
    """A metric's value: a share in percent, another number with four digits."""
    return f"{100 * value:.1f}\u202f%" if metric.share else shown_number(value)


def shown_number(value: float) -> str:
    """A number with four significant digits."""
    return f"{float(value):,.4g}"
