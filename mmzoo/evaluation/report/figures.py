"""Pictures of a report: learning curves, thumbnails and sounds, each inlined in the page."""

import base64
import io
import wave
from collections.abc import Mapping

import numpy as np

from mmzoo.evaluation.page.rendering import COLOURS, inline, style
from mmzoo.tasks import Metric

SECONDS_SHOWN = 3  # of a longer clip; 3 s are 128 kB in the page
THUMBNAIL = 96  # pixels, the longer side


def best_epoch(history: Mapping, metric: Metric) -> tuple[str, int] | None:
    """Finds the epoch with the best validation metric, else the lowest validation loss.

    Args:
        history: Dict of "loss", "val_loss" and the metric's name, with and without "val_", to
            one float an epoch, each optional.
        metric: The one that counts.

    Returns:
        The curve that decided and the 1-based epoch, the first of equals; None if no
        validation value is finite.

    Example:

    >>> from mmzoo.tasks import Accuracy
    >>> best_epoch({"val_accuracy": [0.5, 0.75, 0.75]}, Accuracy("probability", "labels"))
    ('val_accuracy', 2)
    """
    worst_metric = -np.inf if metric.higher_is_better else np.inf
    for name, worst in ((f"val_{metric.name}", worst_metric), ("val_loss", np.inf)):
        values = np.array(history.get(name, []), "float64")
        if np.isfinite(values).any():
            values = np.where(np.isfinite(values), values, worst)
            return name, int(values.argmax() if worst < 0 else values.argmin()) + 1
    return None


def learning_curve(history: Mapping, name: str, metric: Metric) -> str:
    """Draws one quantity over the epochs: training dashed, validation solid, best epoch marked.

    Args:
        history, metric: As in `best_epoch`. Values that are not finite leave a gap.
        name: Of the quantity.

    Returns:
        An `<svg>` element without a ground, whose colours are the page's CSS variables;
        empty if `history` has no such curve.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves = {
        "training": (history.get(name), COLOURS["second"], (0, (4, 2)), "s"),
        "validation": (history.get(f"val_{name}"), COLOURS["accent"], "solid", "o"),
    }
    if not any(values for values, *_ in curves.values()):
        return ""
    best = best_epoch(history, metric)
    figure = Figure(figsize=(4.8, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for label, (values, colour, dashes, marker) in curves.items():
        if not values:
            continue
        points = np.array(values, "float64")
        points[~np.isfinite(points)] = np.nan
        epochs = np.arange(1, len(points) + 1)
        alone = marker if len(points) == 1 else None
        axes.plot(epochs, points, color=colour, ls=dashes, lw=1.6, marker=alone, label=label)
        if best and label == "validation" and best[1] <= len(points):
            epoch, value = best[1], points[best[1] - 1]
            axes.axvline(epoch, color=COLOURS["ink"], lw=0.8, ls=":")
            text = f"best epoch {epoch}: {value:.3f}"
            axes.plot([epoch], [value], color=COLOURS["ink"], ls="", marker="D", ms=4.5, label=text)
    axes.set_xlabel("epoch", color=COLOURS["ink"], fontsize=9)
    axes.set_ylabel(name.replace("_", " "), color=COLOURS["ink"], fontsize=9)
    axes.set_xlim(0.5, 0.5 + max(len(values or ()) for values, *_ in curves.values()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style(axes)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False,
        fontsize=8, labelcolor=COLOURS["ink"], handlelength=1.8, columnspacing=1.2,
    )  # fmt: skip
    return inline(figure, name, f"{name} by epoch")


def picture(image: np.ndarray) -> str | None:
    """Returns a PNG of at most 96 pixels a side as a data address.

    Args:
        image: uint8 `(height, width, 3)`, RGB.

    Returns:
        The address; None for a picture of zeros, which stands for an absent one.
    """
    from PIL import Image

    if not image.any():
        return None
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    thumbnail.save(file, "PNG", optimize=True)
    return _address("image/png", file.getvalue())


def scatter(truth: np.ndarray, values: np.ndarray, answer: str, target: str, unit: str) -> str:
    """Draws true values against those that were answered, with the line where they are equal.

    Args:
        truth, values: Float `(samples,)`, finite.
        answer, target: Names of the two.
        unit: Of both, or "".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    ends = [float(np.min([truth, values])), float(np.max([truth, values]))]
    axes.plot(ends, ends, color=COLOURS["muted"], lw=1, ls=(0, (4, 2)), label="equal")
    size = 12 if len(truth) < 500 else 5
    axes.plot(truth, values, color=COLOURS["accent"], ls="", marker="o", ms=size**0.5, alpha=0.5)
    shown = f" ({unit})" * bool(unit)
    axes.set_xlabel(f"true {target}{shown}", color=COLOURS["ink"], fontsize=9)
    axes.set_ylabel(f"answered {answer}{shown}", color=COLOURS["ink"], fontsize=9)
    style(axes)
    return inline(figure, f"scatter-{answer}", f"{answer} against {target}")


def sound(samples: np.ndarray, sample_rate: int = 16_000) -> dict | None:
    """Returns a clip to play and to see, without the zeros at its end.

    Args:
        samples: Float `(time,)` in [-1, 1]; values outside are clipped.
        sample_rate: In Hz.

    Returns:
        Dict of `address` (16-bit WAV as a data address), `outline` (the path of an SVG of
        240 by 48 that spans its own peak), `peak`, `seconds` and `seconds_shown` (at most
        3); None for a clip of zeros, which stands for an absent one.

    Raises:
        ValueError: If a sample is not finite.
    """
    if not np.isfinite(samples).all():
        raise ValueError(
            "`audio` must hold finite samples. Received: "
            f"{np.size(samples) - np.isfinite(samples).sum()} of {np.size(samples)} that are not. "
            "Repair the clip."
        )
    if not samples.any():
        return None
    samples = np.clip(samples[: np.flatnonzero(samples)[-1] + 1], -1, 1)
    shown = samples[: SECONDS_SHOWN * sample_rate]
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(sample_rate)
        clip.writeframes(np.round(shown * 32767).astype("<i2").tobytes())
    return {
        "address": _address("audio/wav", file.getvalue()),
        "outline": _outline(shown),
        "peak": float(np.abs(samples).max()),
        "seconds": len(samples) / sample_rate,
        "seconds_shown": len(shown) / sample_rate,
    }


def _outline(samples, width=240, height=48):
    """The path of the envelope: highest values from left to right, lowest ones back."""
    columns = np.array_split(samples, min(width, len(samples)))
    scale = (height / 2 - 1) / (np.abs(samples).max() or 1)
    x = np.linspace(0, width, len(columns))
    top = height / 2 - scale * np.array([column.max() for column in columns])
    bottom = height / 2 - scale * np.array([column.min() for column in columns])
    points = [*zip(x, top, strict=True), *zip(x[::-1], bottom[::-1], strict=True)]
    return "M" + "L".join(f"{a:.0f},{b:.1f}" for a, b in points) + "Z"


def _address(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
