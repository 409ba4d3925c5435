"""A user's own pictures, texts and sounds, listed in a CSV, JSON lines or Parquet file."""

import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmzoo.data.media import IMAGE_FIT, IMAGE_FITS, inside, read_audio, read_image
from mmzoo.data.text import encode_text

_DTYPES = {"image": "uint8", "text": "uint8", "audio": "float32"}
_COLUMNS = ("label", *_DTYPES)


class ManifestError(ValueError):
    """A manifest that can't be loaded: the file, the 1-based data row, the column, the cause."""


@dataclass(frozen=True)
class SkippedRow:
    """A row left out: its 1-based number, the manifest's column, and why."""

    row: int
    column: str
    reason: str


@dataclass(frozen=True, eq=False)
class ManifestData:
    """What `load_manifest` read: N rows, and the modalities that are columns."""

    # image uint8 (N, height, width, 3), text uint8 (N, length), audio float32 (N, time);
    # zeros where absent
    inputs: dict[str, np.ndarray]
    presence: dict[str, np.ndarray]  # bool (N,)
    labels: np.ndarray  # int32 (N,), indices into `classes`
    classes: list[str]
    rows: np.ndarray  # int (N,), the 1-based data rows kept
    skipped: list[SkippedRow]

    def report(self) -> dict:
        """Counts of rows read, kept and skipped, as a JSON-able dict."""
        return {
            "rows_read": len(self.rows) + len(self.skipped),
            "rows_kept": len(self.rows),
            "rows_skipped": len(self.skipped),
            "skipped_by_column": dict(Counter(row.column for row in self.skipped)),
            "skipped": [asdict(row) for row in self.skipped],
        }


def load_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    image_size: tuple[int, int] = (64, 64),
    text_length: int | None = None,
    audio_length: int | None = None,
    sample_rate: int = 16_000,
    on_error: str = "raise",
    image_fit: str = IMAGE_FIT,
) -> ManifestData:
    """Loads labelled examples from a table with `image`, `text`, `audio` and `label` columns.

    `image` and `audio` hold paths, `label` strings or ints. An empty cell or a null is an
    absent modality. Every row needs a label and at least one modality.

    Args:
        path: A `.csv` (UTF-8, with a header), `.jsonl` or `.parquet` file.
        root: Folder that paths start from and can't leave. None: the manifest's folder.
        columns: Dict of our column name to the manifest's, where they differ.
        classes: Class names known from training; any other label is an error. None: the
            labels found, sorted (by value if all are integers).
        image_size: Pair `(height, width)` in pixels.
        text_length: Bytes a text. None: the longest.
        audio_length: Samples a waveform; longer ones are cut. None: the longest.
        sample_rate: In Hz.
        on_error: "raise", or "skip" to leave out rows with a fault and report them.
        image_fit: How pictures are brought to `image_size`: "stretch", "pad" or "crop", see
            `read_image`. Export the model with the same.

    Returns:
        A `ManifestData`.

    Raises:
        ManifestError: If the manifest, a row (with `on_error="raise"`) or all rows fail.
        ValueError: If an argument is out of range.
    """
    path, columns = Path(path), dict(columns or {})
    root = path.parent if root is None else Path(root)
    if on_error not in ("raise", "skip"):
        raise ValueError(f'`on_error` must be "raise" or "skip". Received: {on_error!r}.')
    if not set(columns) <= set(_COLUMNS):
        raise ValueError(f"`columns` must map names of {_COLUMNS}. Received: {columns}.")
    if classes is not None and not 0 < len(classes) == len(set(map(str, classes))):
        raise ValueError(f"`classes` must be distinct names, at least one. Received: {classes}.")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"`image_size` must be two positive ints. Received: {image_size}.")
    lengths = (text_length, audio_length, sample_rate)
    if min(length for length in lengths if length is not None) < 1:
        raise ValueError(f"Lengths and `sample_rate` must be positive. Received: {lengths}.")
    if image_fit not in IMAGE_FITS:
        raise ValueError(f"`image_fit` must be one of {IMAGE_FITS}. Received: {image_fit!r}.")
    if not root.is_dir():
        raise ManifestError(f"`root` must be a folder. Received: root={str(root)!r}.")

    names, table = _select_columns(path, columns, _read_table(path))
    known = None if classes is None else [str(name) for name in classes]
    readers = {
        "image": lambda cell: read_image(inside(root, cell), image_size, image_fit),
        "text": lambda cell: encode_text([cell], text_length)[0],
        "audio": lambda cell: read_audio(inside(root, cell), sample_rate)[:audio_length].copy(),
        "label": lambda cell: _check_label(cell, known),
    }
    kept, skipped = {}, []
    for number, cells in enumerate(table, 1):
        record, column, reason = _read_row(cells, names, readers)
        if reason is None:
            kept[number] = record
        elif on_error == "skip":
            skipped.append(SkippedRow(number, column, reason))
        else:
            raise ManifestError(
                f"{path}, row {number}, column {column!r}: {reason} "
                'Correct the row, or pass on_error="skip".'
            )
    if not kept:
        raise ManifestError(f"{path}: every row has a fault. The first: {skipped[0]}.")

    values = {name: [record[name] for record in kept.values()] for name in names}
    labels = values.pop("label")
    integers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", label) for label in labels)
    known = known or sorted(set(labels), key=int if integers else None)
    index = {name: position for position, name in enumerate(known)}
    presence = {name: np.array([cell is not None for cell in values[name]]) for name in values}
    shapes = {"image": (*image_size, 3), "text": (text_length,), "audio": (audio_length,)}
    inputs = {name: _stack(values[name], shapes[name], _DTYPES[name]) for name in values}
    indices = np.array([index[label] for label in labels], "int32")
    return ManifestData(inputs, presence, indices, known, np.array(list(kept)), skipped)


def _read_table(path):
    """The manifest as `(name, cells)` pairs, a column each, so that a repeated name shows."""
    formats = {
        ".csv": (_read_csv, "a CSV table in UTF-8"),
        ".jsonl": (_read_jsonl, "one JSON object a line, in UTF-8"),
        ".parquet": (_read_parquet, "a readable Parquet file"),
    }
    if path.suffix.lower() not in formats:
        raise ManifestError(f"{path}: unknown extension. Expected one of {', '.join(formats)}.")
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file. Check the path.")
    read, expected = formats[path.suffix.lower()]
    try:
        data = path.read_bytes()
        table = read(data) if data.strip() else []
    except (OSError, ValueError, RuntimeError) as error:  # what the three parsers raise
        raise ManifestError(
            f"{path}: expected {expected}. Received: {error}. Correct it or write it again."
        ) from error
    if not table or not table[0][1]:
        raise ManifestError(f"{path}: the manifest is empty. Expected at least one data row.")
    return table


def _read_csv(data):
    import pandas as pd

    text = io.StringIO(data.decode("utf-8-sig"))
    # Given a header, pandas renames repeated names and may take a column as index.
    frame = pd.read_csv(text, header=None, dtype=str, keep_default_na=False)
    return [(cells[0], cells[1:]) for cells in frame.to_numpy().T.tolist()]


def _read_jsonl(data):
    def distinct(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"duplicate column in {[name for name, _ in pairs]}")
        return dict(pairs)

    records = []
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        try:
            records += [{**json.loads(line, object_pairs_hook=distinct)}] if line.strip() else []
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
    names = dict.fromkeys(name for record in records for name in record)
    return [(name, [record.get(name) for record in records]) for name in names]


def _read_parquet(data):
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(io.BytesIO(data)).read()
    return [(name, table[i].to_pylist()) for i, name in enumerate(table.column_names)]


def _select_columns(path, columns, table):
    """Dict of our name to the manifest's, and for each row a dict of our name to cell."""
    found = [name for name, _ in table]
    expected = {"label", *columns, *found}
    names = {ours: columns.get(ours, ours) for ours in _COLUMNS if ours in expected}
    for name in names.values():
        if found.count(name) != 1:
            fault = "duplicate" if name in found else "missing"
            raise ManifestError(f"{path}: {fault} column {name!r}. Columns found: {found}.")
    if len(names) == 1:
        raise ManifestError(f"{path}: no image, text or audio column. Columns found: {found}.")
    chosen = [dict(table)[name] for name in names.values()]
    return names, [dict(zip(names, cells, strict=True)) for cells in zip(*chosen, strict=True)]


def _read_row(cells, names, readers):
    """`(record, None, None)`, or `(None, column, reason)` of the row's first fault."""
    absent = {name for name, cell in cells.items() if cell in (None, "") or cell != cell}  # NaN
    if "label" in absent:
        return None, names["label"], "The label is missing."
    if len(absent) == len(cells) - 1:
        return None, ", ".join(names[name] for name in sorted(absent)), "No modality is present."
    record = dict.fromkeys(cells)
    for name in (name for name in cells if name not in absent):
        allowed = (str, int) if name == "label" else (str,)
        try:
            if type(cells[name]) not in allowed:  # a bool is no label
                types = " or ".join(kind.__name__ for kind in allowed)
                raise ValueError(f"Expected {types}. Received: {cells[name]!r}.")
            record[name] = readers[name](str(cells[name]))
        except ValueError as error:  # MediaError is one
            return None, names[name], str(error)
    return record, None, None


def _check_label(label, known):
    if known is not None and label not in known:
        few = ", ".join(map(repr, known[:5]))
        raise ValueError(f"Unseen label {label!r}. The {len(known)} known start with {few}.")
    return label


def _stack(cells, shape, dtype):
    """Zero-padded array of the cells; a length of None is the longest cell's."""
    longest = max([1, *(len(cell) for cell in cells if cell is not None)])
    stacked = np.zeros((len(cells), shape[0] or longest, *shape[1:]), dtype)
    for row, cell in zip(stacked, cells, strict=True):
        if cell is not None:
            row[: len(cell)] = cell
    return stacked
