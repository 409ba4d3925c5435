"""The pictures of a benchmark: for its page, wide and narrow, and all on one sheet."""

import re
from collections.abc import Mapping

import numpy as np

from mmzoo.evaluation.page.mark_labels import place_labels
from mmzoo.evaluation.page.rendering import COLOURS, FOLDER, inline, style
from mmzoo.export.bundle.formats import QUANTIZED, runtime_of

# A shape and a colour a runtime: neither alone has to tell it. The colours are three of the
# page's, which bear the names of kinds of fusion.
_MARKS = {"saved_model": ("o", "early"), "tflite": ("s", "late"), "onnx": ("^", "intermediate")}
_WIDTHS = {"wide": 8.6, "narrow": 3.4}  # inches
_LINE = 11  # points from a name to the next
_FARTHEST = (0.5, 2)  # ratios that are drawn where they are; what lies beyond stands at the edge


def page_figures(name: str, results: Mapping) -> list[str]:
    """Draws one figure of a page.

    Args:
        name: One of `FIGURES`.
        results: What `bench.bench_bundle` returned.

    Returns:
        An `<svg>` element for a wide page and one for a narrow one.
    """
    draw, columns, height = FIGURES[name], 1, 4.2
    if draw is _ratios:
        columns, height = len(results["settings"]["batches"]), _height(results)
    made = []
    for kind, width in _WIDTHS.items():
        figure = _figure(width, height)
        every = figure.subplots(1, columns, squeeze=False, sharex=draw is _ratios)[0]
        finish = draw(every, results, COLOURS)
        _settle(figure)
        finish()
        made.append(inline(figure, f"{name}-{kind}", str(draw.__doc__)))
    return made


def sheet(results: Mapping):
    """Returns one matplotlib figure of all, in the page's light colours."""
    colours, height = _light_colours(), _height(results)
    figure = _figure(11.5, 4.6 + height)
    figure.set_facecolor(colours["ground"])
    top, bottom = figure.subfigures(2, 1, height_ratios=[4.4, height])
    left, right = top.subplots(1, 2)
    columns = len(results["settings"]["batches"])
    below = bottom.subplots(1, columns, squeeze=False, sharex=True)[0]
    finishes = [
        _sizes([left], results, colours),
        _speeds([right], results, colours),
        _ratios(below, results, colours),
    ]
    machine = results["machine"]
    busy = "; the machine was busy" if machine["busy"] else ""
    figure.suptitle(
        f"{machine['cpu']}, {machine['cores']} cores, {results['settings']['threads']} threads"
        f"{busy}", color=colours["muted"], fontsize=9, parse_math=False,
    )  # fmt: skip
    _settle(figure)
    for finish in finishes:
        finish()
    return figure


def _height(results):
    return 0.9 + 0.22 * len(results["artifacts"])


def _light_colours():
    """The colours of the page's style sheets that stand first there, which are the light ones."""
    text = "".join((FOLDER / name).read_text() for name in ("report.css", "bakeoff.css"))
    return {name: re.findall(rf"--{name}: (#\w+)", text)[0] for name in COLOURS}


def _figure(width, height):
    from matplotlib.figure import Figure

    # 72 dots an inch: a pixel is a point, on the screen as in the SVG.
    return Figure(figsize=(width, height), dpi=72, layout="constrained")


def _settle(figure):
    figure.draw_without_rendering()  # lays the axes out: from here on they stay
    figure.set_layout_engine("none")


def _style(axes, colours, x, y=""):
    style(axes)
    axes.tick_params(which="both", colors=colours["ink"])
    axes.grid(color=colours["line"])
    axes.spines[:].set_color(colours["line"])
    axes.set_xlabel(x, color=colours["ink"], fontsize=9)
    axes.set_ylabel(y, color=colours["ink"], fontsize=9)


def _log(axis, values, margin=0.08):
    """A log axis that holds the values, with a few round ticks written out."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    low, high = min(values), max(values)
    room = max((high / low) ** margin, 1.15)
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    getattr(axis.axes, f"set_{axis.axis_name}lim")(low / room, high * room)
    subs = (1, 1.5, 2, 3, 4, 5, 7) if high < 10 * low else (1, 2, 5) if high < 100 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _mark(name, colours):
    shape, colour = _MARKS[runtime_of(name)]
    inside = colours["ground"] if name in QUANTIZED else colours[colour]
    return {"marker": shape, "ms": 6.5, "color": colours[colour], "mfc": inside, "mew": 1.4}


def _sizes(every, results, colours):
    """latency against size, a mark an artifact"""
    [axes] = every
    batch = str(min(results["settings"]["batches"]))
    names = [name for name, a in results["artifacts"].items() if batch in a["batches"]]
    chosen = [results["artifacts"][name] for name in names]
    x = [artifact["bytes"]["mmzoo"] / 1e6 for artifact in chosen]
    y = [artifact["batches"][batch]["median_ms"]["mmzoo"] for artifact in chosen]
    _style(axes, colours, "size, MB", f"median latency, ms, batch {batch}")
    _log(axes.xaxis, x)
    _log(axes.yaxis, y)
    for point, name in zip(zip(x, y, strict=True), names, strict=True):
        axes.plot(*point, ls="", **_mark(name, colours))
    return lambda: _label(axes, x, y, names, colours)


def _label(axes, x, y, names, colours):
    texts = [
        axes.text(*point, name, color=colours["ink"], fontsize=8, va="center", parse_math=False)
        for point, name in zip(zip(x, y, strict=True), names, strict=True)
    ]
    sizes = np.array([text.get_window_extent().size for text in texts]) + 2
    points, back = axes.transData.transform(np.column_stack([x, y])), axes.transData.inverted()
    boxes = place_labels(points, sizes, axes.bbox.extents, np.zeros((0, 4)))
    for text, point, box in zip(texts, points, boxes, strict=True):
        side = "left" if box[0] > point[0] else "right" if box[2] < point[0] else "center"
        at = {"left": box[0] + 1, "right": box[2] - 1, "center": (box[0] + box[2]) / 2}[side]
        text.set_horizontalalignment(side)
        text.set_position(back.transform((at, (box[1] + box[3]) / 2)))
        end = np.clip(point, box[:2], box[2:])
        if np.linalg.norm(end - point) > 11:  # too far to be read as this mark's: a leading line
            axes.plot(*back.transform([point, end]).T, color=colours["muted"], lw=0.6, zorder=1)


def _speeds(every, results, colours):
    """throughput by batch size, a line an artifact"""
    from matplotlib.ticker import FixedLocator

    [axes] = every
    lines = {
        name: [(int(b), f["samples_per_second"]["mmzoo"]) for b, f in a["batches"].items()]
        for name, a in results["artifacts"].items()
    }
    batches = sorted(results["settings"]["batches"])
    _style(axes, colours, "batch size", "samples a second")
    _log(axes.yaxis, [speed for line in lines.values() for _, speed in line])
    _log(axes.xaxis, batches)
    axes.xaxis.set_major_locator(FixedLocator(batches))
    # A name stands beside the end of its line; of lines that end early, beside their start.
    early = {name for name, line in lines.items() if line[-1][0] < batches[-1]}
    part = 0.22 if axes.figure.bbox.width > 300 else 0.34  # of the width, for names
    left, right = 0.02 + part * bool(early), 0.02 + part
    span = (np.log(batches[-1] / batches[0]) or 1.0) / (1 - left - right)
    axes.set_xlim(batches[0] * np.exp(-span * left), batches[-1] * np.exp(span * right))
    for name, line in lines.items():
        axes.plot(*zip(*line, strict=True), lw=1.3, **_mark(name, colours))

    def finish():
        for side, chosen in (("left", set(lines) - early), ("right", early)):
            ends = {name: lines[name][0 if side == "right" else -1] for name in chosen}
            _names_beside(axes, ends, side, colours)

    return finish


def _names_beside(axes, ends, side, colours):
    """Names in a column beside the ends of lines, pushed apart where they would touch."""
    back = axes.transData.inverted()
    points = {name: axes.transData.transform(end) for name, end in ends.items()}
    names = sorted(points, key=lambda name: points[name][1])
    heights = np.array([points[name][1] for name in names])
    for _ in range(200):
        gaps = _LINE - np.diff(heights)
        if not (gaps > 0.01).any():
            break
        push = np.maximum(gaps, 0) / 2
        heights[1:] += push
        heights[:-1] -= push
    step = 1 if side == "left" else -1
    for name, height in zip(names, heights, strict=True):
        x, y = points[name]
        joint = back.transform([(x + 5 * step, y), (x + 14 * step, height)])
        axes.plot(*joint.T, color=colours["muted"], lw=0.6, zorder=1)
        axes.text(
            *back.transform((x + 16 * step, height)), name, color=colours["ink"], fontsize=8,
            ha=side, va="center", parse_math=False,
        )  # fmt: skip


def _ratios(every, results, colours):
    """median latency over that by hand, with its interval"""
    from matplotlib.ticker import MaxNLocator

    names = list(results["artifacts"])
    found = {
        (name, batch): figures["median_ms"]["ratio"]
        for name, artifact in results["artifacts"].items()
        for batch, figures in artifact["batches"].items()
    }
    ends = [r[end] for r in found.values() for end in r if end != "rounds" and r[end] is not None]
    low, high = np.clip([min(*ends, 0.98), max(*ends, 1.02)], *_FARTHEST)
    for axes, batch in zip(every, results["settings"]["batches"], strict=True):
        _style(axes, colours, "")
        axes.set_title(f"batch {batch}", color=colours["ink"], fontsize=9)
        axes.axvline(1, color=colours["ink"], lw=1, zorder=1.5)
        for row, name in enumerate(names):
            if (name, str(batch)) not in found:
                continue
            ratio, mark = found[name, str(batch)], _mark(name, colours)
            if ratio["low"] is not None:
                axes.plot([ratio["low"], ratio["high"]], [row, row], color=mark["color"], lw=1.4)
            axes.plot([np.clip(ratio["value"], low, high)], [row], ls="", **mark)
            if not low <= ratio["value"] <= high:
                side, at = ("right", high) if ratio["value"] > high else ("left", low)
                text = f"{ratio['value']:.1f}  " if side == "right" else f"  {ratio['value']:.1f}"
                axes.text(at, row - 0.35, text, color=colours["ink"], fontsize=8, ha=side)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(low - 0.07 * (high - low), high + 0.07 * (high - low))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.grid(axis="y", lw=0.4)
        axes.set_yticks(range(len(names)), names if axes is every[0] else [""] * len(names))
    label = "median latency over that by hand"
    if every[0].figure.bbox.width > 300:
        label += ", with its 95 % interval"
    every[0].figure.supxlabel(label, color=colours["ink"], fontsize=9)
    return lambda: None


FIGURES = {"sizes": _sizes, "speeds": _speeds, "ratios": _ratios}
