"""Puts the table of every kind of fusion into README.md, between its two marks.

Run: python tools/readme_bakeoff.py build/bakeoff
Expect: a README whose table is that of this run of `mmzoo bakeoff concepts`, with every task.
"""

import json
import re
import sys
from pathlib import Path

from mmzoo.files import beside

README = Path(__file__).resolve().parent.parent / "README.md"
MARKS = ("<!-- bakeoff -->", "<!-- /bakeoff -->")


def table(results: dict) -> str:
    """Markdown of every kind, the best on Concept-128 first."""
    others = {
        name: {entry["kind"]: entry["accuracy"]["mean"] for entry in task["entries"]}
        for name, task in results["tasks"].items()
        if name != "concepts"
    }
    head = ["family", "fusion", "accuracy", "interval", "adds, ms", *others]
    lines = [head, ["---"] * len(head)]
    entries = results["tasks"]["concepts"]["entries"]
    for entry in sorted(entries, key=lambda e: -e["accuracy"]["mean"]):
        accuracy = entry["accuracy"]
        lines.append(
            [
                entry["family"],
                entry["kind"],
                f"{accuracy['mean']:.3f}",
                f"{accuracy['low']:.3f} to {accuracy['high']:.3f}",
                f"{entry['latency_ms']:.2f}",
                *(
                    f"{of[entry['kind']]:.3f}" if entry["kind"] in of else "–"
                    for of in others.values()
                ),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(folder):
    results = json.loads((Path(folder) / "bakeoff.json").read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    filled = "\n".join((MARKS[0], table(results), MARKS[1]))
    new, count = re.subn(f"{MARKS[0]}.*{MARKS[1]}", lambda _: filled, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"Expected the marks {MARKS} once in {README}. Found: {count} times.")
    with beside(README) as place:
        place.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
