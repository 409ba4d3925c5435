"""Draws `docs/architecture.svg` from the code: its packages, modules and imports.

Run:
    python tools/draw_architecture.py
    python tools/draw_architecture.py --check

Imports run one way: command line, recipes, export, mmzoo. One against it is drawn in red
and named with its file and line, and the exit status is 1.
"""

import argparse
import ast
import configparser
import io
import re
import sys
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ("mmzoo.cli", "mmzoo.__main__")
LAYERS = {  # from the top: ink and ground
    "mmzoo.cli": ("#57606a", "#f0f2f4"),
    "mmzoo.recipes": ("#b4540a", "#fdf1e4"),
    "mmzoo.export": ("#7a3fb5", "#f5eefc"),
    "mmzoo": ("#0b62ba", "#e9f3fd"),
}
ORDER = list(LAYERS)
RED, INK, GREY = "#d1001f", "#1f2328", "#57606a"
WIDTH, NAME, COLUMNS, LINE = 900, 142, 3, 34  # lengths are CSS pixels, y runs down


def layer_of(name):
    name = ORDER[0] if name in ENTRY else name
    return next(x for x in ORDER if f"{name}.".startswith(f"{x}."))


def imported(node, package, lazy=False):
    """Yields each dotted name that the code needs, its line, and if it is in a function."""
    names = []
    if isinstance(node, ast.Import):
        names = [x.name for x in node.names]
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: package.count(".") + 2 - node.level] * bool(node.level)
        names = [".".join([*parents, *filter(None, [node.module]), x.name]) for x in node.names]
    elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "mmzoo":
        names = [f"mmzoo.{node.attr}"]  # the package loads it on this access
    elif isinstance(node, ast.Call):  # an f-string counts by how it starts
        names = re.findall(r"^(?:importlib\.)?import_module\(f?['\"]([\w.]+)", ast.unparse(node))
    yield from ((name.rstrip("."), node.lineno, lazy) for name in names)
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from imported(child, package, lazy)


class House:
    """The packages that `setup.cfg` lists and what they import, read without running them."""

    def __init__(self, root):
        setup = configparser.ConfigParser(interpolation=None)
        setup.read_string((root / "setup.cfg").read_text(encoding="utf-8"))
        moved = dict(re.findall(r"(\S+)\s*=\s*(\S+)", setup["options"]["package_dir"]))
        self.folders, self.docs, self.boxes, sources = {}, {}, {ORDER[0]: []}, {}
        for package in sorted(setup["options"]["packages"].split()):
            home = next((x for x in moved if f"{package}.".startswith(f"{x}.")), "")
            folder = moved.get(home, "") + package[len(home) :].replace(".", "/")
            self.folders[package], modules = f"{folder}/", []
            for path in sorted((root / folder).glob("*.py")):
                name = package if path.stem == "__init__" else f"{package}.{path.stem}"
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
                sources[name] = (package, f"{folder}/{path.name}", tree)
                self.docs[name] = (ast.get_docstring(tree) or "").split("\n")[0].replace("`", "")
                if name in ENTRY or not path.name.startswith("_"):
                    listed = self.boxes[ORDER[0]] if name in ENTRY else modules
                    listed.append((path.name, self.docs[name]))
            parent, _, leaf = package.rpartition(".")
            if modules or parent == "mmzoo":
                self.boxes[package] = modules
            elif parent:
                self.boxes[parent].append((f"{leaf}/", "data files"))
        self.boxes = {name: modules for name, modules in self.boxes.items() if modules}
        self.arrows, self.wrong = {}, {}  # {(source box, target box): lazy}, {where: import}
        for name, (package, file, tree) in sorted(sources.items()):
            for target, line, lazy in imported(tree, package):
                while target and target not in sources:
                    target = target.rpartition(".")[0]
                if not target or name == "mmzoo":  # `mmzoo/__init__.py` is the way in
                    continue
                ends = (self.box_of(name), self.box_of(target))
                if ORDER.index(layer_of(name)) > ORDER.index(layer_of(target)):
                    self.wrong[f"{file}:{line}"] = (name, target)
                elif all(ends) and ends[0] != ends[1]:
                    self.arrows[ends] = self.arrows.get(ends, True) and lazy

    def box_of(self, name):
        name = ORDER[0] if name in ENTRY else name
        while name and name not in self.boxes:
            name = name.rpartition(".")[0]
        return name


class Sheet:
    def __init__(self):
        self.figure = Figure()
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH))
        self.axes.axis("off")

    def text(self, x, y, words, size=11, color=INK, **style):
        self.axes.text(x, y, words, size=size * 0.75, color=color, parse_math=False, **style)

    def box(self, x, y, end, bottom, ground, edge, order):
        shape = FancyBboxPatch((x, y), end - x, bottom - y, "round,pad=0,rounding_size=8")
        shape.set(facecolor=ground, edgecolor=edge, linewidth=0.75, zorder=order, clip_on=False)
        self.axes.add_patch(shape)

    def arrow(self, xs, ys, color, lazy, width):
        style = {"color": color, "lw": width, "zorder": 3, "clip_on": False}
        self.axes.plot(xs, ys, "--" if lazy else "-", **style)
        angle = 0 if ys[-1] < ys[-2] else 60 if ys[-1] > ys[-2] else 90
        self.axes.plot(xs[-1:], ys[-1:], marker=(3, 0, angle), markersize=7, **style)

    def layer(self, house, layer, left, right, top):
        """Draws a layer, its boxes and the arrows among them; returns where it ends."""
        ink, ground = LAYERS[layer]
        boxes = {k: v for k, v in house.boxes.items() if layer_of(k) == layer}
        arrows = {k: v for k, v in house.arrows.items() if set(k) <= boxes.keys()}

        def depth(box, below=()):
            users = [s for s, t in arrows if t == box and s not in (*below, box)]
            return max((depth(s, (*below, box)) + 1 for s in users), default=0)

        self.text(
            left + 14, top + 26, house.folders.get(layer, "command line"), 17, ink, weight="bold"
        )
        self.text(left + 14 + NAME, top + 26, house.docs.get(layer, ""), 12)
        lanes = sorted({(depth(target), target, lazy) for (_, target), lazy in arrows.items()})
        end, y, middle = right - 14 - (16 + 7 * len(lanes)) * bool(lanes), top + 42, {}
        column = (end - left - 14 - NAME) / COLUMNS
        for box in sorted(boxes, key=lambda x: (depth(x), x)):
            lines = -(-len(boxes[box]) // COLUMNS)
            bottom = y + 10 + LINE * lines
            name = box.removeprefix(f"{layer}.") + "/" if box != layer else ""
            self.box(left + 14, y, end, bottom, "white", ink, 2)
            self.text(left + 25, y + 20, name, 13, ink, weight="bold")
            for i, (file, doc) in enumerate(boxes[box]):
                a, b = left + 14 + NAME + i // lines * column, y + i % lines * LINE + 19
                self.text(a, b, file, weight="bold", family="monospace")
                doc = textwrap.shorten(doc, int(column / 6.1), placeholder=" …")
                self.text(a, b + 14, doc, 10.5, GREY)
            middle[box], y = (y + bottom) / 2, bottom + 10
        for (source, target), lazy in sorted(arrows.items()):
            i = lanes.index((depth(target), target, lazy))
            x, a, b = end + 16 + 7 * i, middle[source] + 8, middle[target] - 8 - 9 * lazy
            self.arrow((end, x, x, end + 5), (a, a, b, b), ink, lazy, 1.2)
        self.box(left, top, right, y + 4, ground, ink, 1)
        return y + 4


def draw(house):
    sheet, ends, y, bundles = Sheet(), {}, 60, {}
    for (source, target), lazy in sorted(house.arrows.items()):
        if (pair := (layer_of(source), layer_of(target)))[0] != pair[1]:
            bundles.setdefault((*pair, int(lazy)), []).append(target.removeprefix("mmzoo."))
    for where, (source, target) in house.wrong.items():
        bundles.setdefault((layer_of(target), layer_of(source), 2), []).append(where)
    for layer in [x for x in ORDER if x in map(layer_of, house.boxes)]:
        notes = {}  # what lands on this layer, by where it comes from
        for (upper, lower, kind), names in sorted(bundles.items()):
            if lower == layer:
                lines = textwrap.wrap(", ".join(names), 40)
                notes.setdefault(upper, []).extend((line, kind) for line in lines)
        gap = max((14 * len(lines) for lines in notes.values()), default=-6) + 22
        y += gap * bool(ends)
        step, j = 26 * (ORDER[0] in ends), ORDER.index(layer)
        left, right = 16 + step * (3 - j) * (j > 0), WIDTH - 16 - 48 * (j == 2)
        bottom = sheet.layer(house, layer, left, right, y)
        for upper, lines in notes.items():
            i = ORDER.index(upper)
            x, side = (172, 1) if j == i + 1 else (30 + 26 * (3 - j), 1) if i == 0 else (860, -1)
            for k, kind in enumerate(dict.fromkeys(kind for _, kind in lines)):
                color = RED if kind == 2 else LAYERS[upper][0]
                run = (ends[upper] + 1, y - 5) if kind < 2 else (y, ends[upper] + 5)
                sheet.arrow([x + side * 9 * k] * 2, run, color, kind == 1, 2)
                for row, (line, its) in enumerate(lines):
                    if its == kind:
                        slant, align = (
                            ("normal", "italic", "normal")[kind],
                            ("left", "right")[side < 0],
                        )
                        sheet.text(
                            x + side * 26,
                            y - gap + 22 + 14 * row,
                            line,
                            11,
                            color,
                            style=slant,
                            ha=align,
                        )
        ends[layer] = y = bottom
    sheet.text(18, 37, "Arrows are imports, and they only point down", 18, weight="bold")
    for k, (words, color) in enumerate(
        {"at the top of a file": INK, "inside a function": INK, "against the rule": RED}.items()
    ):
        sheet.arrow((560 + 100 * k, 590), (30, 30), color, k == 1, 1.5)
    sheet.box(1, 1, WIDTH - 1, y + 15, "white", "#d0d7de", 0)
    sheet.figure.set_size_inches(WIDTH / 96, (y + 16) / 96)
    sheet.axes.set_ylim(y + 16, 0)
    settings = {
        "svg.hashsalt": "mmzoo",
        "svg.fonttype": "none",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
        "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas"],
    }
    with matplotlib.rc_context(settings):
        file = io.StringIO()
        sheet.figure.savefig(
            file,
            format="svg",
            facecolor="none",
            metadata={"Date": None, "Creator": None, "Title": "How the code of mmzoo is laid out"},
        )
    return file.getvalue()


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT)
    args = parser.parse_args(argv)
    house = House(args.root)
    out = args.root / "docs" / "architecture.svg"
    out.write_text(draw(house))


if __name__ == "__main__":
    sys.exit(main())
