"""Draws `docs/architecture.svg` from the code: its packages, modules and imports.

Run: python tools/draw_architecture.py [--check]
Expect: exit status 1 if an import runs against the arrows, or `--check` finds an old picture.
"""

import argparse
import ast
import configparser
import io
import re
import sys
import textwrap
from pathlib import Path

from matplotlib import figure, patches, rc_context

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ("mmzoo.__main__",)  # of the command line too
LAYERS = ("mmzoo.cli", "mmzoo.recipes", "mmzoo.export", "mmzoo")  # from the top
INKS = ("#57606a", "#b4540a", "#7a3fb5", "#0b62ba")
GROUNDS = ("#f0f2f4", "#fdf1e4", "#f5eefc", "#e9f3fd")
RED, BLACK, GREY = "#d1001f", "#1f2328", "#57606a"
WIDTH, NAME, COLUMNS, LINE = 900, 160, 3, 34  # lengths are CSS pixels, y runs down
LOOSE_END = r"[,:;.]?( (a|an|and|as|by|each|for|of|on|that|the|to|what|which))*[,:;.]? …$"
STYLE = {"svg.hashsalt": "mmzoo", "svg.fonttype": "none"}
STYLE |= {"font.sans-serif": ["DejaVu Sans", "Verdana"], "font.monospace": ["DejaVu Sans Mono"]}


def innermost(name, packages):
    name = LAYERS[0] if name in ENTRY else name
    return max((x for x in packages if f"{name}.".startswith(f"{x}.")), key=len, default="")


def layer_of(name):
    return LAYERS.index(innermost(name, LAYERS))


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
        self.folders, self.boxes = {LAYERS[0]: "command line"}, {LAYERS[0]: []}
        self.docs, sources = {}, {}
        for package in sorted(setup["options"]["packages"].split()):
            home = innermost(package, moved)
            folder = moved.get(home, "") + package[len(home) :].replace(".", "/")
            self.folders[package], modules = f"{folder}/", []
            for path in sorted((root / folder).glob("*.py")):
                name = package if path.stem == "__init__" else f"{package}.{path.stem}"
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
                sources[name] = (package, f"{folder}/{path.name}", tree)
                self.docs[name] = (ast.get_docstring(tree) or "").split("\n")[0].replace("`", "")
                if name in ENTRY or not path.name.startswith("_"):
                    listed = self.boxes[LAYERS[0]] if name in ENTRY else modules
                    listed.append((path.name, self.docs[name]))
            parent, _, leaf = package.rpartition(".")
            if modules or parent == "mmzoo":
                self.boxes[package] = modules
            elif parent:
                self.boxes[parent].append((f"{leaf}/", "data files"))
        sources.pop("mmzoo", None)  # `mmzoo/__init__.py` is the way in
        self.arrows, self.wrong = {}, {}  # {(source box, target box): lazy}, {where: import}
        for name, (package, file, tree) in sorted(sources.items()):
            for target, line, lazy in imported(tree, package):
                target = innermost(target, sources | self.boxes)
                ends = (innermost(name, self.boxes), innermost(target, self.boxes))
                if target and layer_of(name) > layer_of(target):
                    self.wrong[f"{file}:{line}"] = (name, target)
                elif all(ends) and ends[0] != ends[1]:
                    self.arrows[ends] = self.arrows.get(ends, True) and lazy


class Sheet:
    def __init__(self):
        plain = {"xlim": (0, WIDTH), "xticks": (), "yticks": (), "frame_on": False}
        self.axes = figure.Figure().add_axes((0, 0, 1, 1), **plain)

    def text(self, x, y, words, size=11, color=BLACK, **style):
        self.axes.text(x, y, words, size=size * 0.75, color=color, parse_math=False, **style)

    def box(self, x, y, end, bottom, ground, edge, order):
        shape = patches.FancyBboxPatch((x, y), end - x, bottom - y, "round,pad=0,rounding_size=8")
        shape.set(facecolor=ground, edgecolor=edge, linewidth=0.75, zorder=order, clip_on=False)
        self.axes.add_patch(shape)

    def arrow(self, xs, ys, angle, color, lazy, width):
        style = {"color": color, "linewidth": width, "zorder": 3, "clip_on": False}
        self.axes.plot(xs, ys, "--" if lazy else "-", **style)
        self.axes.plot(xs[-1], ys[-1], marker=(3, 0, angle), markersize=7, **style)

    def layer(self, house, index, left, right, top):
        """Draws a layer, its boxes and the arrows among them; returns where it ends."""
        layer, ink = LAYERS[index], INKS[index]
        boxes = [box for box in house.boxes if layer_of(box) == index]
        arrows = {k: v for k, v in sorted(house.arrows.items()) if {*k} <= {*boxes}}
        depth = dict.fromkeys(boxes, 0)
        for source, target in [*arrows] * len(boxes):  # each below those that import it
            depth[target] = max(depth[target], min(depth[source] + 1, len(boxes)))
        lanes = sorted({(depth[box], box, lazy) for (_, box), lazy in arrows.items()})
        self.text(left + 14, top + 26, house.folders[layer], 17, ink, weight="bold")
        self.text(left + NAME, top + 26, house.docs.get(layer, ""), 12)
        end, y, middle = right - 14 - (16 + 7 * len(lanes)) * bool(lanes), top + 40, {}
        column = (end - left - NAME) / COLUMNS
        for box in sorted(boxes, key=lambda box: (depth[box], box)):
            lines = -(-len(house.boxes[box]) // COLUMNS) or 1
            middle[box], bottom = y + 5 + LINE * lines / 2, y + 10 + LINE * lines
            self.box(left + 14, y, end, bottom, "white", ink, 2)
            self.text(left + 25, y + 19, box.removeprefix(f"{layer}."), 13, ink, weight="bold")
            for i, (file, doc) in enumerate(house.boxes[box]):
                x, base = left + NAME + i // lines * column, y + i % lines * LINE + 19
                doc = textwrap.shorten(doc, int(column / 6.1), placeholder=" …")
                self.text(x, base, file, weight="bold", family="monospace")
                self.text(x, base + 14, re.sub(LOOSE_END, " …", doc), 10.5, GREY)
            y = bottom + 10
        for (source, target), lazy in arrows.items():
            x = end + 16 + 7 * lanes.index((depth[target], target, lazy))
            start, stop = middle[source] + 8, middle[target] - 8 + 8 * lazy
            self.arrow((end, x, x, end + 5), (start, start, stop, stop), 90, ink, lazy, 1.2)
        self.box(left, top, right, y + 4, GROUNDS[index], ink, 1)
        return y + 4


@rc_context(STYLE)
def draw(house):
    sheet, ends, y = Sheet(), {}, 58
    bundles = [{} for _ in LAYERS]  # what lands on each: {(layer it comes from, kind): names}
    for (source, target), lazy in sorted(house.arrows.items()):
        names = bundles[layer_of(target)].setdefault((layer_of(source), int(lazy)), [])
        names.append(target.removeprefix("mmzoo."))
    for where, (source, target) in house.wrong.items():
        bundles[layer_of(source)].setdefault((layer_of(target), 2), []).append(where)
    for j in sorted({layer_of(k) for k, v in house.boxes.items() if v or k != LAYERS[0]}):
        labels = {k: textwrap.wrap(", ".join(v), 56) for k, v in bundles[j].items() if k[0] != j}
        row, top = y + 20, y + (24 + 14 * sum(map(len, labels.values()))) * bool(ends)
        left = 16 + 26 * (3 - j) * (0 in ends)  # room for the command line's own arrows
        y = ends[j] = sheet.layer(house, j, left, WIDTH - 16 - 48 * (j == 2), top)
        for (i, kind), lines in sorted(labels.items()):
            x = 450 if j == i + 1 else 860 if i else 22 + 26 * (3 - j)
            run = (top, ends[i] + 5) if kind == 2 else (ends[i], top - 5)
            color, slant = RED if kind == 2 else INKS[i], "italic" if kind == 1 else "normal"
            sheet.arrow([x + 9 * kind] * 2, run, 60 * (kind < 2), color, kind == 1, 2)
            x, align = (836, "right") if x == 860 else (x + 32, "left")
            for line in lines:
                sheet.text(x, row, line, color=color, ha=align, style=slant)
                row += 14
    sheet.text(18, 36, "Arrows are imports, and may only point down", 18, weight="bold")
    for x, words in ((620, "import"), (715, "import in a function")):
        sheet.arrow((x, x + 30), (30, 30), 30, BLACK, x > 700, 1.5)
        sheet.text(x + 42, 34, words, style="italic" if x > 700 else "normal")
    sheet.box(1, 1, WIDTH - 1, y + 15, "white", "#d0d7de", 0)
    sheet.axes.set_ylim(y + 16, 0)
    sheet.axes.figure.set_size_inches(WIDTH / 96, (y + 16) / 96)
    about = {"Title": "How the code of mmzoo is laid out", "Date": None, "Creator": None}
    with io.StringIO() as file:
        sheet.axes.figure.savefig(file, format="svg", facecolor="none", metadata=about)
        return file.getvalue()


def main(argv=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check, house, path = parser.parse_args(argv).check, House(root), root / "docs/architecture.svg"
    drawn, rule = draw(house), "command line -> recipes -> export -> mmzoo"
    problems = [f"{k}: {a} imports {b}, against {rule}." for k, (a, b) in house.wrong.items()]
    if not check:
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8", newline="\n")
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    bare = [re.sub(r'text style="[^"]*"', "", x) for x in (old, drawn)]  # varies by version
    if bare[0] != bare[1]:
        problems.append(f"{path} is missing or old. Run `python tools/draw_architecture.py`.")
    print("\n".join(problems) or "docs/architecture.svg shows the code as it is.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
