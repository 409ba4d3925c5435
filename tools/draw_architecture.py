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
from typing import NamedTuple

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
WIDTH, COLUMNS, LINE = 900, 3, 33  # lengths are CSS pixels, y runs down


class Import(NamedTuple):
    source: str
    target: str
    where: str
    lazy: bool  # inside a function

    def is_against(self):
        return ORDER.index(layer_of(self.source)) > ORDER.index(layer_of(self.target))


def layer_of(name):
    name = ORDER[0] if name in ENTRY else name
    return next((x for x in ORDER if f"{name}.".startswith(f"{x}.")), "mmzoo")


def imported(node, package, lazy=False):
    """Yields each dotted name that the code needs, its line, and if it is in a function."""
    if isinstance(node, ast.Import):
        yield from ((x.name, node.lineno, lazy) for x in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: package.count(".") + 2 - node.level] * bool(node.level)
        base = ".".join([*parents, *filter(None, [node.module])])
        yield from ((f"{base}.{x.name}", node.lineno, lazy) for x in node.names)
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mmzoo":
        yield f"mmzoo.{node.attr}", node.lineno, lazy  # the root loads it on this access
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        name = re.match(r"f?['\"]([\w.]+)", ast.unparse(node.args[0]))  # or how an f-string starts
        yield from [(name[1].rstrip("."), node.lineno, lazy)] if name else []
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from imported(child, package, inside)


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
            modules = []
            for path in sorted((root / folder).glob("*.py")):
                name = package if path.stem == "__init__" else f"{package}.{path.stem}"
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
                sources[name] = (package, f"{folder}/{path.name}", tree)
                self.docs[name] = (ast.get_docstring(tree) or "").split("\n")[0].replace("`", "")
                line = (path.name, self.docs[name])
                if name in ENTRY:
                    self.boxes[ORDER[0]].append(line)
                elif not path.name.startswith("_"):
                    modules.append(line)
            parent = package.rpartition(".")[0]
            if modules or parent == "mmzoo":
                self.folders[package], self.boxes[package] = f"{folder}/", modules
            elif parent in self.boxes:  # data, no code: a line in its parent's box
                files = setup.get("options.package_data", package, fallback="").split()
                self.boxes[parent].append((f"{folder}/"[len(self.folders[parent]):], ", ".join(files[::-1])))
        self.boxes = {k: v for k, v in self.boxes.items() if v or k != ORDER[0]}
        self.imports = []
        for name, (package, file, tree) in sorted(sources.items()):
            for target, line, lazy in imported(tree, package):
                while target and target not in sources:
                    target = target.rpartition(".")[0]
                if target and name != "mmzoo":  # `mmzoo/__init__.py` is the way in
                    self.imports.append(Import(name, target, f"{file}:{line}", lazy))
        self.wrong = [x for x in self.imports if x.is_against()]

    def box_of(self, name):
        name = ORDER[0] if name in ENTRY else name
        while name and name not in self.boxes:
            name = name.rpartition(".")[0]
        return name

    def arrows(self):
        """Which box imports which: `{(source, target): lazy}`, lazy if always in functions."""
        found = {}
        for x in self.imports:
            ends = (self.box_of(x.source), self.box_of(x.target))
            if all(ends) and ends[0] != ends[1] and not x.is_against():
                found[ends] = found.get(ends, True) and x.lazy
        return found


class Sheet:
    def __init__(self):
        self.figure = Figure()
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH))
        self.axes.axis("off")

    def text(self, x, y, words, size=11, color=INK, **style):
        self.axes.text(x, y, words, size=size * 0.75, color=color, parse_math=False, **style)

    def box(self, left, top, right, bottom, ground, edge, order):
        shape = FancyBboxPatch((left, top), right - left, bottom - top, "round,pad=0,rounding_size=8")
        shape.set(facecolor=ground, edgecolor=edge, linewidth=0.75, zorder=order, clip_on=False)
        self.axes.add_patch(shape)

    def arrow(self, points, color, lazy, width=1.2):
        (x, y), (_, before) = points[-1], points[-2]
        tail = y + (6 if before > y else -6)
        style = {"color": color, "linewidth": width, "clip_on": False, "zorder": 3}
        xs, ys = zip(*points[:-1], (x, tail), strict=True)
        self.axes.plot(xs, ys, dashes=(3, 2) if lazy else (None, None), **style)
        self.axes.fill((x - 4.5, x, x + 4.5), (tail, y, tail), color=color, linewidth=0, zorder=3, clip_on=False)
