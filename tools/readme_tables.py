"""Puts the table of a run into the README or a page of the benchmarks, between its two marks.

Run: python tools/readme_tables.py artifacts build/demo
     python tools/readme_tables.py bakeoff build/bakeoff
     python tools/readme_tables.py bench build/bench
Expect: a page whose table is that of the run in the folder; exit status 1 if there is none, or
    a certificate that does not hold, or a machine that was busy with something else.
"""

import argparse
import json
import re
from pathlib import Path

from mmzoo.export import load_bundle
from mmzoo.export.bundle.model_card import artifacts_table
from mmzoo.io.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
PAGES = {  # the page of artifacts includes the README's table
    "artifacts": ROOT / "README.md",
    "bakeoff": ROOT / "docs/benchmarks/bakeoff.md",
    "bench": ROOT / "docs/benchmarks/bench.md",
}


def artifacts(folder: Path) -> list[str]:
    """Lines of Markdown: every artifact of a bundle, as its certificate has it."""
    bundle = load_bundle(folder)
    if bundle.certificate["holds"] is not True:
        raise SystemExit(f"Expected a certificate that holds. Received: {bundle.path}.")
    return artifacts_table(bundle.certificate)


def bakeoff(folder: Path) -> list[str]:
    """Lines of Markdown: every kind of fusion, the best on Concept-128 first."""
    results = json.loads((folder / "bakeoff.json").read_text(encoding="utf-8"))
    others = {
        name: {entry["kind"]: entry["accuracy"]["mean"] for entry in task["entries"]}
        for name, task in results["tasks"].items()
        if name != "concepts"
    }
    rows = [["family", "fusion", "accuracy", "interval", "adds, ms", *others]]
    entries = results["tasks"]["concepts"]["entries"]
    for entry in sorted(entries, key=lambda e: -e["accuracy"]["mean"]):
        accuracy, kind = entry["accuracy"], entry["kind"]
        rows.append(
            [entry["family"], kind, f"{accuracy['mean']:.3f}",
             f"{accuracy['low']:.3f} to {accuracy['high']:.3f}", f"{entry['latency_ms']:.2f}",
             *(f"{of[kind]:.3f}" if kind in of else "–" for of in others.values())]
        )  # fmt: skip
    return markdown(rows)


def bench(folder: Path) -> list[str]:
    """Lines of Markdown: every artifact and batch, beside its bare runtime."""
    results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    if results["machine"]["busy"]:
        raise SystemExit(f"Expected a quiet machine. Received: {folder}, timed beside others.")
    rows = [["artifact", "batch", "median, ms", "× bare", "95 % interval", "p95, ms", "samples/s",
             "peak, MiB", "load, s", "MB"]]  # fmt: skip
    for name, artifact in results["artifacts"].items():
        for batch, figures in artifact["batches"].items():
            ratio = figures["median_ms"]["ratio"]
            sure = "–" if ratio["low"] is None else f"{ratio['low']:.3f} to {ratio['high']:.3f}"
            rows.append(
                [name, batch, f"{figures['median_ms']['mmzoo']:.3g}", f"{ratio['value']:.3f}", sure,
                 f"{figures['p95_ms']['mmzoo']:.3g}",
                 f"{figures['samples_per_second']['mmzoo']:.0f}",
                 f"{figures['peak_mib']['mmzoo']:.0f}",
                 f"{artifact['load_seconds']['mmzoo']:.2f}",
                 f"{artifact['bytes']['mmzoo'] / 1e6:.1f}"]
            )  # fmt: skip
    return markdown(rows)


def markdown(rows: list[list[str]]) -> list[str]:
    """A table, its head first."""
    head, *body = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


def put(name: str, lines: list[str]) -> None:
    """Puts lines between `<!-- name -->` and `<!-- /name -->`, once in the table's page."""
    marks = (f"<!-- {name} -->", f"<!-- /{name} -->")
    filled = "\n".join((marks[0], *lines, marks[1]))
    page = PAGES[name]
    text = page.read_text(encoding="utf-8")
    new, count = re.subn(f"{marks[0]}.*{marks[1]}", lambda _: filled, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"Expected the marks {marks} once in {page}. Found: {count} times.")
    with atomic_write(page) as place:
        place.write_text(new, encoding="utf-8")


TABLES = {"artifacts": artifacts, "bakeoff": bakeoff, "bench": bench}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    put(args.table, TABLES[args.table](args.folder))


if __name__ == "__main__":
    main()
