"""A user's own pictures, texts and sounds, listed in a CSV, JSON lines or Parquet file."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmzoo.data.media.audio import read_audio
from mmzoo.data.media.images import IMAGE_FIT, IMAGE_FITS, as_size, read_image
from mmzoo.data.media.media_files import inside
from mmzoo.data.tables.labels import Classes, similar_names
from mmzoo.data.tables.reader import ManifestError, is_frame
from mmzoo.data.tables.rows import COLUMNS, MODALITIES, ManifestWarning, Rows, identity
from mmzoo.data.text import encode_text

__all__ = ["ManifestData", "ManifestError", "ManifestWarning", "SkippedRow", "load_manifest"]

_DTYPES = {"image": "uint8", "text": "uint8", "audio": "float32"}


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
    warnings: list[str] = field(default_factory=list)  # columns not used, labels that look alike

    def report(self) -> dict:
        """Counts of rows read, kept and skipped, as a JSON-able dict."""
        return {
            "rows_read": len(self.rows) + len(self.skipped),
            "rows_kept": len(self.rows),
            "rows_skipped": len(self.skipped),
            "skipped_by_column": dict(Counter(row.column for row in self.skipped)),
            "skipped": [asdict(row) for row in self.skipped],
            "warnings": self.warnings,
        }


def load_manifest(
    path: Any,
    *,
    root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    image_size: int | Sequence[int] = (64, 64),
    text_length: int | None = None,
    audio_length: int | None = None,
    sample_rate: int = 16_000,
    on_error: str = "raise",
    image_fit: str = IMAGE_FIT,
) -> ManifestData:
    """Loads labelled examples from a table with `image`, `text`, `audio` and `label` columns.

    `image` and `audio` hold paths, `label` strings or ints. An empty cell or a null is an
    absent modality. Every row needs a label and at least one modality; an `id` that an earlier
    row has is a fault. Labels that differ only in spaces at the ends, invisible characters or
    the Unicode form are one class.

    Args:
        path: A `.csv` or `.tsv` (with a header; comma, semicolon, tab or bar; UTF-8 or UTF-16),
            `.jsonl` or `.parquet` file, or a pandas DataFrame.
        root: Folder that paths start from and can't leave. None: the manifest's folder; a
            DataFrame with paths needs one.
        columns: Dict of our column name to the manifest's, where they differ.
        classes: Class names known from training; any other label is an error. None: the
            labels found, sorted (by value if all are integers).
        image_size: Pair `(height, width)` in pixels, or one int for a square.
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
    columns = dict(columns or {})
    if not is_frame(path):
        if not isinstance(path, str | Path):
            raise TypeError(
                "Expected a file or a pandas DataFrame. Received: "
                f"{type(path).__name__}. Pass `pandas.DataFrame(...)` of it."
            )
        path = Path(path)
        root = path.parent if root is None else root
    if on_error not in ("raise", "skip"):
        raise ValueError(f'`on_error` must be "raise" or "skip". Received: {on_error!r}.')
    if not set(columns) <= set(COLUMNS):
        raise ValueError(f"`columns` must map names of {COLUMNS}. Received: {columns}.")
    known = None if classes is None else Classes(classes)
    size = as_size(image_size, "image_size")
    lengths = (text_length, audio_length, sample_rate)
    if min(length for length in lengths if length is not None) < 1:
        raise ValueError(f"Lengths and `sample_rate` must be positive. Received: {lengths}.")
    if image_fit not in IMAGE_FITS:
        raise ValueError(f"`image_fit` must be one of {IMAGE_FITS}. Received: {image_fit!r}.")
    if root is not None and not Path(root).is_dir():
        raise ManifestError(f"`root` must be a folder. Received: root={str(root)!r}.")

    rows = Rows(path, columns, ["label"])
    table = list(rows)
    if root is None and {"image", "audio"} & set(rows.modalities):
        raise ValueError(
            "`root` must be the folder that paths start from, for a DataFrame has none. "
            "Received: root=None."
        )
    folder = Path(root or ".")  # which texts alone don't need
    readers = {
        "image": lambda cell: read_image(inside(folder, cell), size, image_fit),
        "text": lambda cell: encode_text([cell], text_length)[0],
        "audio": lambda cell: read_audio(inside(folder, cell), sample_rate)[:audio_length].copy(),
        "label": lambda cell: cell if known is None or known.index(cell) >= 0 else None,
    }
    names = {ours: rows.names[ours] for ours in ("label", *rows.modalities)}
    kept, skipped = {}, []
    seen: set[str] = set()
    for row in table:
        record, fault = _read_row(row, names, readers, seen)
        if fault is None:
            kept[row["row"]] = record
            continue
        column = rows.names.get(fault[0], fault[0])
        if on_error == "skip":
            skipped.append(SkippedRow(row["row"], column, fault[1]))
        else:
            raise ManifestError(
                f"{rows.name}, row {row['row']}, column {column!r}: {fault[1]} "
                'Correct the row, or pass on_error="skip".'
            )
    if not kept:
        raise ManifestError(f"{rows.name}: every row has a fault. The first: {skipped[0]}.")

    values = {name: [record[name] for record in kept.values()] for name in names}
    labels = values.pop("label")
    known = known or Classes.found(labels)
    remarks = [*rows.unused(), *similar_names(known.names)]
    if remarks:
        warnings.warn(f"{rows.name}: {' '.join(remarks)}", ManifestWarning, stacklevel=2)
    presence = {name: np.array([cell is not None for cell in values[name]]) for name in values}
    shapes = {"image": (*size, 3), "text": (text_length,), "audio": (audio_length,)}
    inputs = {name: _stack(values[name], shapes[name], _DTYPES[name]) for name in values}
    indices = np.array([known.index(label) for label in labels], "int32")
    numbers = np.array(list(kept))
    return ManifestData(inputs, presence, indices, known.names, numbers, skipped, remarks)


def _read_row(row, names, readers, seen):
    """`(record, None)`, or `(None, (column, reason))` of the row's first fault."""
    name = identity(row)
    is_repeated = name in seen
    seen.add(name)
    if "fault" in row:
        return None, row["fault"]
    if is_repeated:
        return None, ("id", f"An earlier row has the id {name!r}.")
    if "label" not in row:
        return None, ("label", "The label is missing.")
    if not set(row) & set(MODALITIES):
        absent = ", ".join(names[m] for m in sorted(set(names) & set(MODALITIES)))
        return None, (absent, "No modality is present.")
    record = dict.fromkeys(names)
    for ours in (ours for ours in names if ours in row):
        try:
            record[ours] = readers[ours](row[ours])
        except ValueError as error:  # MediaError is one
            return None, (ours, str(error))
    return record, None


def _stack(cells, shape, dtype):
    """Zero-padded array of the cells; a length of None is the longest cell's."""
    longest = max([1, *(len(cell) for cell in cells if cell is not None)])
    stacked = np.zeros((len(cells), shape[0] or longest, *shape[1:]), dtype)
    for row, cell in zip(stacked, cells, strict=True):
        if cell is not None:
            row[: len(cell)] = cell
    return stacked
