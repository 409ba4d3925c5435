"""Rows of a manifest, checked: our columns, what is in them, and what is wrong."""

import difflib
import reprlib
from collections.abc import Iterator, Mapping

from mmzoo.data.tables.labels import class_name
from mmzoo.data.tables.reader import ManifestError, is_frame, read_table

MODALITIES = ("image", "text", "audio")
COLUMNS = ("id", "label", *MODALITIES)
_ALSO_CALLED = {
    "image": "image picture photo photograph img pic frame jpg png filename filepath",
    "audio": "audio sound wav wave recording clip speech mp3",
    "text": "text caption title sentence description phrase",
    "label": "label class category target species classname",
    "id": "id key identifier uuid",
}
_WORDS = {word: ours for ours, words in _ALSO_CALLED.items() for word in words.split()}


class ManifestWarning(UserWarning):
    """Something in a manifest that is read, and may not be meant."""


class Rows:
    """The rows of a manifest, read as a stream.

    Each is a dict of `row` (its number, from 1), those of our columns that are not empty, and maybe
    a `fault`: column and reason. A cell that can't be what it should is left out.

    Args:
        source: A file or a DataFrame, as `read_table` takes it.
        columns: Dict of our column name to the manifest's, where they differ.
        needed: Which of ours must be there.

    Attributes:
        name: What the manifest is called in messages.
        names: Dict of our column name to the manifest's.
        found: The manifest's columns, once the first row is read; of JSON lines, the last.

    Raises (while it is read):
        ManifestError: If it can't be read, is empty, no column is a modality, or one is missing or
            repeated.
    """

    def __init__(self, source, columns: Mapping[str, str] | None = None, needed=()):
        self.source, self.needed = source, {*needed, *(columns or {})}
        self.name = "DataFrame" if is_frame(source) else str(source)
        renamed = {ours: class_name(theirs) for ours, theirs in (columns or {}).items()}
        self.names = {ours: renamed.get(ours, ours) for ours in COLUMNS}
        self.found: list[str] = []

    def __iter__(self) -> Iterator[dict]:
        count = 0
        table = read_table(self.source, set(self.names.values()), self._check)
        for count, cells in enumerate(table, 1):
            yield self._row(count, cells)
        if not count:
            raise ManifestError(
                f"{self.name}: the manifest is empty. Expected at least one data row."
            )

    @property
    def modalities(self) -> list[str]:
        """Those that are columns."""
        return [m for m in MODALITIES if self.names[m] in self.found]

    def unused(self) -> list[str]:
        """A sentence about columns that are not used; none if all are."""
        used = set(self.names.values())
        unused = [name for name in self.found if name and name not in used]
        if not unused:
            return []
        names = ", ".join(map(repr, unused))
        return [f"Columns that are not used: {names}.{self._suggestion(unused)}"]

    def _check(self, found):
        self.found = found
        for ours, theirs in self.names.items():
            if found.count(theirs) > 1 or (ours in self.needed and theirs not in found):
                fault = "duplicate" if theirs in found else "missing"
                hint = self._suggestion(found) if fault == "missing" else ""
                raise ManifestError(
                    f"{self.name}: {fault} column {theirs!r}. Columns found: {found}.{hint}"
                )
        if not self.modalities:
            raise ManifestError(
                f"{self.name}: no image, text or audio column. Columns found: {found}."
                + self._suggestion(found)
            )

    def _suggestion(self, unused):
        """Which of ours a column may be that has another name."""
        hints = []
        for theirs in unused:
            word = theirs.casefold().removesuffix("_path").removesuffix("_file").removesuffix("_id")
            near = difflib.get_close_matches(word, _WORDS, n=1, cutoff=0.75)
            ours = _WORDS[near[0]] if near else None
            if ours and self.names[ours] not in self.found and theirs not in self.names.values():
                hints.append(
                    f" Is {theirs!r} the {ours}? Then name it so, or pass "
                    f'columns={{"{ours}": "{theirs}"}} (--columns {ours}={theirs}).'
                )
        return "".join(hints)

    def _row(self, number, cells):
        row: dict = {"row": number}
        if None in cells:
            row["fault"] = ["", cells[None]]
        for ours, theirs in self.names.items():
            cell = cells.get(theirs)
            if cell in (None, "") or cell != cell:  # NaN
                continue
            try:
                cell = _checked(ours, cell)
            except ValueError as error:
                row.setdefault("fault", [ours, str(error)])
            else:
                if cell != "":
                    row[ours] = cell
        return row


def identity(row: dict) -> str:
    """The row's `id`, or its number where it has none."""
    return str(row.get("id", row["row"]))


def _checked(ours, cell):
    """What a cell holds; "" where it is blank, and a blank text is a text."""
    if ours in ("id", "label") and isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # as pandas writes integers of a column with holes
    allowed = (str, int) if ours in ("id", "label") else (str,)
    if type(cell) not in allowed:  # a bool is no label
        kinds = "a string or an int" if int in allowed else "a string"
        raise ValueError(f"Expected {kinds}. Received: {reprlib.repr(cell)}.")
    if ours == "label":
        return class_name(cell)
    if isinstance(cell, str):
        cell.encode()  # JSON can hold half a character
        return cell if ours == "text" or cell.strip() else ""
    return cell
