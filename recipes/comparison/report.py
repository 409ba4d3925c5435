"""One page about a bake-off: which fusion to take, what each costs, and how sure that is."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmzoo.evaluation.page.rendering import write_page
from mmzoo.recipes.comparison.figures import difference_figure, tasks_figure, trade_off_figure
from mmzoo.recipes.comparison.result_checks import FAMILIES, check_results

_BASELINES = ("unimodal", "as text")
_WIDTHS = ("wide", "narrow")


def write_bakeoff_report(path: str | Path, results: Mapping) -> Path:
    """Writes a self-contained HTML page about a bake-off; it loads nothing and runs no script.

    Args:
        path: File to write. An old one is replaced in one rename.
        results: What the recipe recorded; `check_results` says what must be there. Without
            synthetic tasks or `imbalance` the page leaves the section out and says so.

    Returns:
        `path`.

    Raises:
        ValueError: If a key is missing, a number is not finite, or a list is empty.
    """
    check_results(results)
    concepts, verdict = results["tasks"]["concepts"], results["verdict"]
    entries = sorted(concepts["entries"], key=lambda entry: -entry["accuracy"]["mean"])
    tasks = {name: task for name, task in results["tasks"].items() if name != "concepts"}
    kinds = _task_kinds(tasks)
    named = [verdict["best_late"], verdict["best_learned"]]
    values = {
        "results": results,
        "concepts": concepts,
        "verdict": verdict,
        "families": [f for f in FAMILIES if any(entry["family"] == f for entry in entries)],
        "entries": entries,
        "even": [
            entry["kind"]
            for entry in entries[1:]
            if entry["accuracy"]["high"] >= entries[0]["accuracy"]["low"]
        ],
        "scale": _scale([e for e in entries if e["family"] not in _BASELINES] or entries),
        "subsets": _subsets(entries),
        "tasks": tasks,
        "kinds": kinds,
        "found": {
            name: {entry["kind"]: entry for entry in task["entries"]}
            for name, task in tasks.items()
        },
        "imbalance": _imbalance(results.get("imbalance")),
        "contradicted": verdict["beats"] != (verdict["difference"]["low"] > 0),
        "si": _si,
        "parts": lambda name: re.split("(?<=[a-z])(?=[A-Z])", name),
        "figures": {
            "difference": [difference_figure(verdict, width) for width in _WIDTHS],
            "trade_off": [
                trade_off_figure(entries, results["encoders"], named, width) for width in _WIDTHS
            ],
            "tasks": [tasks_figure(tasks, kinds, width) for width in _WIDTHS if tasks],
        },
    }
    return write_page(path, Path(__file__).with_name("bakeoff.html.jinja"), values)


def _scale(rows: Sequence[Mapping]) -> tuple[float, float]:
    """The ends of an axis that holds the interval of every row."""
    low = min(row["accuracy"]["low"] for row in rows)
    high = max(row["accuracy"]["high"] for row in rows)
    return (low, high) if low < high else (low - 0.01, high + 0.01)


def _subsets(entries):
    """The subsets, fullest first; the ends of their colours; what the loss of one costs a kind."""
    names = {name: None for entry in entries for name in entry["subsets"]}
    ordered = sorted(names, key=lambda name: -name.count("+"))
    shares = [share for entry in entries for share in entry["subsets"].values()]
    if not shares:
        return {"names": [], "ends": (0, 1), "losses": {}}
    full = ordered[0]
    losses = {}
    for entry in entries:
        found = entry["subsets"]
        without = [found[name] for name in found if name.count("+") == full.count("+") - 1]
        if full in found and without:
            losses[entry["kind"]] = min(without) - found[full]
    return {"names": ordered, "ends": (min(shares), max(shares)), "losses": losses}


def _task_kinds(tasks):
    """Every kind of the tasks: by family, the best on the first task first."""
    first: dict[str, Mapping] = {}
    for task in tasks.values():
        for entry in task["entries"]:
            first.setdefault(entry["kind"], entry)
    return sorted(
        first.values(),
        key=lambda entry: (FAMILIES.index(entry["family"]), -entry["accuracy"]["mean"]),
    )


def _imbalance(imbalance):
    """The rows with what each gains over the first, and in how many of the paired values."""
    if imbalance is None:
        return None
    rows, first = [], imbalance["rows"][0]["accuracy"]
    for row in imbalance["rows"]:
        pairs = zip(row["accuracy"]["values"], first["values"], strict=False)
        paired = len(row["accuracy"]["values"]) == len(first["values"])
        better = sum(value > other for value, other in pairs) if paired else None
        rows.append({**row, "gain": row["accuracy"]["mean"] - first["mean"], "better": better})
    names = {name: None for row in rows for name in row["modalities"]}
    return {"about": imbalance["about"], "rows": rows, "names": [*names], "scale": _scale(rows)}


def _si(value):
    """Three digits with k, M, G or T."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 0.9995 * 10**power:
            return f"{value / 10**power:#.3g}".rstrip(".") + f"\u202f{letter}"
    return f"{value:.3g}"
