"""Puts the table of a bundle's artifacts into README.md, between its two marks.

Run: python tools/readme_artifacts.py build/demo
Expect: a README whose table is that of this run; exit status 1 if the bundle has no certificate
    that holds.
"""

import re
import sys
from pathlib import Path

from mmzoo.export import load_bundle
from mmzoo.export.card import artifacts_table
from mmzoo.files import beside

README = Path(__file__).resolve().parent.parent / "README.md"
MARKS = ("<!-- artifacts -->", "<!-- /artifacts -->")


def main(folder):
    bundle = load_bundle(folder)
    if bundle.certificate["holds"] is not True:
        raise SystemExit(f"Expected a certificate that holds. Received: {bundle.path}.")
    table = "\n".join((MARKS[0], *artifacts_table(bundle.certificate), MARKS[1]))
    text = README.read_text(encoding="utf-8")
    new, count = re.subn(f"{MARKS[0]}.*{MARKS[1]}", lambda _: table, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"Expected the marks {MARKS} once in {README}. Found: {count} times.")
    with beside(README) as place:
        place.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
