"""Pictures of a bake-off, each for a wide page and for a narrow one."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmzoo.evaluation.page.mark_labels import place_labels
from mmzoo.evaluation.page.rendering import COLOURS, clip, inline, style
from mmzoo.recipes.comparison.result_checks import FAMILIES

# A shape and a colour each: neither alone has to carry the family.
MARKS = dict(zip(FAMILIES, "os^DXP", strict=True))
_COLOURS = dict.fromkeys(FAMILIES, COLOURS["muted"]) | {
    family: COLOURS[family] for family in FAMILIES if family in COLOURS
}
_WIDTHS = {"wide": 8.6, "narrow": 3.4}  # inches
_NAME = 28  # characters of a kind
_TICKS = [0.01, 0.05, *np.arange(1, 9) / 10, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998]


def difference_figure(verdict: Mapping, width: str) -> str:
    """Draws the paired difference of two kinds: its interval against zero, and every value.

    Args:
        verdict: As in the results of a bake-off.
        width: "wide" or "narrow".

    Returns:
        An `<svg>` element, coloured by the page's CSS variables, as the other figures are.
    """
    difference = verdict["difference"]
    values = 100 * np.array(difference["values"], "float64")
    low, mean, high = (100 * difference[name] for name in ("low", "mean", "high"))
    figure, (axes,) = _axes(width, 1.15 if width == "wide" else 1.35)
    colour = COLOURS["accent"]
    axes.axvline(0, color=COLOURS["ink"], lw=1.2, gid="zero")
    axes.plot([low, high], [0, 0], color=colour, lw=6, solid_capstyle="butt", gid="interval")
    axes.plot([mean], [0], color=colour, marker="D", ms=9, mec=COLOURS["ground"], mew=1.5)
    axes.plot(values, np.full(len(values), -0.62), color=COLOURS["muted"], ls="", marker="o", ms=4)
    ends = np.array([low, high, 0, *values])
    margin = 0.12 * np.ptp(ends) or 1
    axes.set_xlim(ends.min() - margin, ends.max() + margin)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference in accuracy, percentage points", color=COLOURS["ink"], fontsize=9)
    axes.annotate(
        f"{mean:+.1f}".replace("-", "−"), (mean, 0), (0, 13), textcoords="offset points",
        ha="center", va="center", color=COLOURS["ink"], fontsize=8.5, weight="bold",
    )  # fmt: skip
    return inline(figure, f"difference-{width}", "paired difference with its interval, against 0")


def trade_off_figure(
    entries: Sequence[Mapping], encoders: Mapping, named: Sequence[str], width: str
) -> str:
    """Draws accuracy with its interval against what a fusion adds to the encoders' latency.

    Args:
        entries: Those of a task, with `latency_ms`, in the order of their numbers.
        encoders: Their `latency_ms`, which every fusion pays on top.
        named: Kinds whose names are set in bold.
        width: "wide", with names, or "narrow", with numbers from 1.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

    figure, (axes,) = _axes(width, 5.1 if width == "wide" else 5.0)
    added = np.array([entry["latency_ms"] for entry in entries], "float64")
    means = np.array([entry["accuracy"]["mean"] for entry in entries])
    lows, highs = (
        np.clip([entry["accuracy"][end] for entry in entries], 0, 1) for end in ("low", "high")
    )
    spreads = added.min() > 0 and added.max() > 3 * added.min()
    if spreads:
        axes.set_xscale("log")
        ratio = (added.max() / added.min()) ** 0.07
        axes.set_xlim(added.min() / ratio, added.max() * ratio)
        few = added.max() > (10 if width == "wide" else 30) * added.min()
        subs = ((1, 3) if width == "wide" else (1,)) if few else (1, 2, 5)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
    else:
        margin = 0.07 * np.ptp(added) or 0.1 * added.max() or 0.1
        axes.set_xlim(added.min() - margin, added.max() + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5 if width == "wide" else 3))
    axes.xaxis.set_minor_locator(NullLocator())
    base = f"{encoders['latency_ms']:.3g}"
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{base} + {max(value, 0):g}" if value > -1e-9 else ""
    )
    # Near 1 a halved error is as much as near 0.5: the axis is stretched as log-odds are.
    ticks = [tick for tick in _TICKS if lows.min() <= tick <= highs.max()]
    if means.max() > 0.9 and len(ticks) > 1:
        lows, highs, means = (np.clip(part, 0.001, 0.999) for part in (lows, highs, means))
        axes.set_yscale("logit")
        axes.yaxis.set_major_locator(FixedLocator(ticks))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}" if value <= 1 else "")
    for family, marker in MARKS.items():
        rows = [i for i, entry in enumerate(entries) if entry["family"] == family]
        if rows:
            axes.vlines(added[rows], lows[rows], highs[rows], color=_COLOURS[family], lw=1.1)
            axes.plot(
                added[rows], means[rows], color=_COLOURS[family], ls="", marker=marker,
                ms=6.5, mec=COLOURS["ground"], mew=0.6, label=family,
            )  # fmt: skip
    unit = "latency of a sample, ms" if width == "wide" else "latency, ms"
    axes.set_xlabel(f"{unit}: encoders + fusion", color=COLOURS["ink"], fontsize=9)
    axes.set_ylabel("test accuracy, %", color=COLOURS["ink"], fontsize=9)
    _legend(axes, width)
    # No room for the names on a phone: their numbers, which a list below the picture explains.
    names = [
        _short(entry["kind"]) if width == "wide" else str(number)
        for number, entry in enumerate(entries, 1)
    ]
    bold = [entry["kind"] in named for entry in entries]
    _label(figure, axes, added, means, lows, highs, names, bold)
    return inline(figure, f"trade-off-{width}", "accuracy by latency, a mark a kind")


def tasks_figure(tasks: Mapping[str, Mapping], kinds: Sequence[Mapping], width: str) -> str:
    """Draws a column a task, a row a kind: accuracy, interval and the line of chance.

    A mark is hollow where the interval holds chance.

    Args:
        tasks: Name to task, as in the results of a bake-off.
        kinds: `kind` and `family` of the rows, from the top.
        width: "wide" or "narrow".
    """
    height = 0.85 + 0.185 * len(kinds)
    figure, every = _axes(width, height, len(tasks))
    rows = {row["kind"]: index for index, row in enumerate(kinds)}
    for column, (axes, (name, task)) in enumerate(zip(every, tasks.items(), strict=True)):
        lowest, margin = task["chance"], 0.05 if width == "wide" else 0.12
        for entry in task["entries"]:
            accuracy, row = entry["accuracy"], rows[entry["kind"]]
            colour = _COLOURS[entry["family"]]
            lowest = min(lowest, accuracy["low"])
            at_chance = accuracy["low"] <= task["chance"]
            axes.plot([accuracy["low"], accuracy["high"]], [row, row], color=colour, lw=1.4)
            axes.plot(
                [accuracy["mean"]], [row], color=colour, marker=MARKS[entry["family"]], ms=6,
                mfc=COLOURS["ground"] if at_chance else colour, mew=1.2,
                gid=f"{column}-{row}-{'chance' if at_chance else 'above'}",
            )  # fmt: skip
        axes.axvline(task["chance"], color=COLOURS["ink"], lw=1.2, ls=(0, (4, 2)), zorder=1.9)
        axes.set_xlim(max(0, lowest) - margin, 1 + margin)
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        axes.set_title(_short(name), color=COLOURS["ink"], fontsize=9, parse_math=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        ticks = (0.25, 0.5, 0.75, 1) if width == "wide" else (0.5, 1)
        axes.set_xticks([tick for tick in ticks if tick >= task["chance"]])
        for index in range(1, len(kinds)):
            if kinds[index]["family"] != kinds[index - 1]["family"]:
                axes.axhline(index - 0.5, color=COLOURS["muted"], lw=0.7)
    names = [_short(row["kind"]) for row in kinds]
    for axes in every:  # the rules of the rows run through all columns
        axes.set_yticks(range(len(kinds)), names if axes is every[0] else [""] * len(kinds))
        axes.grid(axis="y", lw=0.4)
    for text in every[0].get_yticklabels():
        text.set_parse_math(False)
    figure.supxlabel("test accuracy, %; dashed: chance", color=COLOURS["ink"], fontsize=9)
    return inline(figure, f"tasks-{width}", "accuracy of each kind on each task, against chance")


def _short(name):
    name = clip(name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _axes(width, height, columns=1):
    from matplotlib.figure import Figure

    # 72 dots an inch: a pixel is a point, on the screen as in the SVG.
    figure = Figure(figsize=(_WIDTHS[width], height), dpi=72, layout="constrained")
    every = figure.subplots(1, columns, squeeze=False)[0]
    for axes in every:
        style(axes)
    return figure, every


def _legend(axes, width):
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=6 if width == "wide" else 3,
        frameon=False, fontsize=8.5, labelcolor=COLOURS["ink"], handletextpad=0.1,
        columnspacing=1.2,
    )  # fmt: skip


def _label(figure, axes, x, y, lows, highs, names, bold):
    figure.draw_without_rendering()  # lays the axes out: from here on they stay
    figure.set_layout_engine("none")
    axes.autoscale(False)
    texts = [
        axes.text(
            *point, name, color=COLOURS["ink"], fontsize=8, va="center", parse_math=False,
            weight="bold" if heavy else "normal",
        )
        for point, name, heavy in zip(zip(x, y, strict=True), names, bold, strict=True)
    ]  # fmt: skip
    sizes = np.array([text.get_window_extent().size for text in texts]) + 2
    points, bottoms, tops = (
        axes.transData.transform(np.column_stack([x, part])) for part in (y, lows, highs)
    )
    bars = np.concatenate([bottoms - 1, tops + 1], 1)
    boxes = place_labels(points, sizes, axes.bbox.extents, bars)
    for text, point, box in zip(texts, points, boxes, strict=True):
        side = "left" if box[0] > point[0] else "right" if box[2] < point[0] else "center"
        at = {"left": box[0] + 1, "right": box[2] - 1, "center": (box[0] + box[2]) / 2}[side]
        text.set_horizontalalignment(side)
        text.set_position(axes.transData.inverted().transform((at, (box[1] + box[3]) / 2)))
        end = np.clip(point, box[:2], box[2:])
        if np.linalg.norm(end - point) > 11:  # too far to be read as this mark's: a leading line
            line = axes.transData.inverted().transform([point, end])
            axes.plot(*line.T, color=COLOURS["muted"], lw=0.6, zorder=1)
