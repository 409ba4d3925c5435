import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from mmzoo.data.tables.manifest import ManifestError, SkippedRow, load_manifest
from mmzoo.data.text import decode_text

RED, BLUE = (255, 0, 0), (0, 0, 255)
ROWS = [
    {"image": "red.png", "text": "clé", "audio": "short.wav", "label": "cat"},
    {"image": "blue.png", "text": None, "audio": None, "label": "ant"},
    {"image": None, "text": "None", "audio": "long.flac", "label": "cat"},
]


@pytest.fixture
def root(tmp_path):
    """A folder with good and bad media files."""
    for name, colour in (("red", RED), ("blue", BLUE)):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    data = (tmp_path / "red.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:-20])
    soundfile.write(tmp_path / "short.wav", np.full(100, 0.25), 16_000)
    soundfile.write(tmp_path / "long.flac", np.full(300, 0.5), 16_000)
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), 16_000, subtype="FLOAT")
    data = bytearray((tmp_path / "short.wav").read_bytes())
    data[22:24] = b"\0\0"  # the channel count of a WAV header
    (tmp_path / "mute.wav").write_bytes(data)
    return tmp_path


def write(root, rows, kind=".csv", name="data"):
    path = root / f"{name}{kind}"
    if kind == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_data(root, kind):
    data = load_manifest(write(root, ROWS, kind), image_size=(4, 6))
    assert data.classes == ["ant", "cat"]
    assert data.labels.dtype == np.int32 and data.labels.tolist() == [1, 0, 1]
    assert data.rows.tolist() == [1, 2, 3] and data.skipped == []
    assert {name: present.tolist() for name, present in data.presence.items()} == {
        "image": [True, True, False],
        "text": [True, False, True],
        "audio": [True, False, True],
    }
    image, text, audio = (data.inputs[name] for name in ("image", "text", "audio"))
    assert image.shape == (3, 4, 6, 3) and image.dtype == np.uint8
    assert (image[0, :, 1:5] == RED).all() and (image[1, :, 1:5] == BLUE).all()
    assert (image[2] == 0).all()
    assert text.dtype == np.uint8 and text.shape == (3, 4)
    assert decode_text(text) == ["clé", "", "None"]
    assert audio.dtype == np.float32 and audio.shape == (3, 300)
    assert (audio[0, :100] == 0.25).all() and (audio[0, 100:] == 0).all()
    assert (audio[1] == 0).all() and (audio[2] == 0.5).all()


def test_lengths_cut_and_pad(root):
    data = load_manifest(write(root, ROWS), text_length=3, audio_length=200)
    assert decode_text(data.inputs["text"]) == ["cl", "", "Non"]  # é has two bytes
    assert data.inputs["audio"].shape == (3, 200) and (data.inputs["audio"][2] == 0.5).all()
    data = load_manifest(write(root, ROWS), audio_length=400, sample_rate=8_000)
    assert data.inputs["audio"].shape == (3, 400)
    assert (data.inputs["audio"][2, 150:] == 0).all() and data.inputs["audio"][2, 75] > 0.4


def test_csv_cells_stay_text(root):
    (root / "a.csv").write_text('text,label\nNA,001\nnull,010\n\n"a, \nb",001\nnan\n', "utf-8")
    data = load_manifest(root / "a.csv", on_error="skip")
    assert decode_text(data.inputs["text"]) == ["NA", "null", "a, \nb"]
    assert data.classes == ["001", "010"] and data.labels.tolist() == [0, 1, 0]
    assert data.skipped == [SkippedRow(4, "", "Expected 2 cells. Received: 1.")]


def test_big_csv_keeps_leading_zeros(root):
    """pandas guesses types a chunk at a time, and wide tables have chunks of few rows."""
    empty = "," * 5000 + "\n"
    (root / "a.csv").write_text("text,label" + empty + ("a,001" + empty) * 300)
    assert load_manifest(root / "a.csv").classes == ["001"]


def test_byte_order_mark_and_nan(root):
    (root / "a.csv").write_text("text,label\na,b\n", "utf-8-sig")
    (root / "a.jsonl").write_text('{"text": "a", "image": NaN, "label": "b"}\n', "utf-8-sig")
    for name in ("a.csv", "a.jsonl"):
        assert decode_text(load_manifest(root / name).inputs["text"]) == ["a"]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_integer_labels_sort_by_value(root, kind):
    rows = [{"text": "a", "label": label} for label in (10, 2, -1)]
    data = load_manifest(write(root, rows, kind))
    assert data.classes == ["-1", "2", "10"] and data.labels.tolist() == [2, 1, 0]


def test_known_classes_keep_their_order(root):
    data = load_manifest(write(root, ROWS), classes=["dog", "cat", "ant"])
    assert data.classes == ["dog", "cat", "ant"] and data.labels.tolist() == [1, 2, 1]


def test_columns_and_root(root):
    (root / "lists").mkdir()
    rows = [{"text": "unused", "Caption": "hi", "pic": "red.png", "species": "cat"}]
    columns = {"text": "Caption", "image": "pic", "label": "species"}
    path = write(root / "lists", rows)
    data = load_manifest(path, root=root, columns=columns)
    assert list(data.inputs) == list(data.presence) == ["image", "text"]
    assert decode_text(data.inputs["text"]) == ["hi"] and data.classes == ["cat"]
    with pytest.raises(ManifestError, match=r"data\.csv, row 1, column 'pic': .*does not exist"):
        load_manifest(path, columns=columns)


ROW_FAULTS = [
    ("image", "cut.png", "cut.png', which is truncated"),
    ("image", "gone.png", "gone.png', which does not exist"),
    ("image", "short.wav", "in no format that Pillow reads"),
    ("image", "../red.png", "Expected a path inside the root"),
    ("image", "/red.png", "Expected a path inside the root"),
    ("image", 5, "Expected a string. Received: 5"),
    ("audio", "../short.wav", "Expected a path inside the root"),
    ("audio", "none.wav", "none.wav', of zero length"),
    ("audio", "mute.wav", "mute.wav': Channel count is zero"),
    ("audio", "nan.wav", "nan.wav', which holds NaN"),
    ("text", "a\0b", "must not hold NUL characters"),
    ("label", None, "The label is missing"),
    ("label", "", "The label is missing"),
    ("label", "bat", "Unseen label 'bat'. The 2 known start with 'cat', 'ant'"),
    ("label", 1.5, "Expected a string or an int. Received: 1.5"),
    ("label", True, "Expected a string or an int. Received: True"),
]


@pytest.mark.parametrize("column, value, reason", ROW_FAULTS)
def test_row_faults_raise_or_are_skipped(root, column, value, reason):
    path = write(root, [ROWS[0], {**ROWS[0], column: value}, ROWS[1]], ".jsonl")
    with pytest.raises(ManifestError, match=rf"data\.jsonl, row 2, column '{column}': .*{reason}"):
        load_manifest(path, classes=["cat", "ant"])
    data = load_manifest(path, classes=["cat", "ant"], on_error="skip")
    assert data.rows.tolist() == [1, 3] and data.labels.tolist() == [0, 1]
    assert {len(x) for x in (*data.inputs.values(), *data.presence.values())} == {2}
    assert (data.inputs["image"][1, 32, 32] == BLUE).all()
    assert [(fault.row, fault.column) for fault in data.skipped] == [(2, column)]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_a_row_without_any_modality(root, kind):
    path = write(root, [*ROWS, {"image": None, "text": "", "label": "cat"}], kind)
    with pytest.raises(ManifestError, match="row 4, column 'audio, image, text': No modality is"):
        load_manifest(path)


def test_report_is_json(root):
    bad = [{**ROWS[0], "image": "cut.png"}, {**ROWS[0], "image": "gone.png"}, {"label": "cat"}]
    report = load_manifest(write(root, [*ROWS, *bad], ".jsonl"), on_error="skip").report()
    rows = json.loads(json.dumps(report.pop("skipped")))
    assert [(row["row"], row["column"]) for row in rows[:2]] == [(4, "image"), (5, "image")]
    column = "audio, image, text"
    assert rows[2] == {"row": 6, "column": column, "reason": "No modality is present."}
    assert report == {
        "rows_read": 6,
        "rows_kept": 3,
        "rows_skipped": 3,
        "skipped_by_column": {"image": 2, column: 1},
        "warnings": [],
    }


def test_all_rows_skipped_raises(root):
    path = write(root, [{"image": "cut.png", "label": "a"}] * 2)
    with pytest.raises(ManifestError, match=r"every row has a fault.*row=1, column='image'.*cut"):
        load_manifest(path, on_error="skip")


FILE_FAULTS = [
    ("a.csv", b"image,text\nred.png,x\n", r"missing column 'label'.*\['image', 'text'\]"),
    (
        "a.csv",
        b"caption,label\nx,y\n",
        r"no image, text or audio column.*\['caption', 'label'\].*Is 'caption' the text",
    ),
    ("a.csv", b"text,text,label\nx,y,z\n", "duplicate column 'text'. Columns found"),
    ("a.csv", b"", "the manifest is empty"),
    ("a.csv", b"text,label\n", "the manifest is empty. Expected at least one data row"),
    ("a.csv", b'text,label\n"a,b\n', "line 2: it can't be read.*Close the quote"),
    (
        "a.csv",
        b"text,label\ncl\xe9,b\n",
        "UTF-8. Line 2 holds the byte 0xe9, .*'é' in Latin-1",
    ),
    ("a.jsonl", b'\n[["text", "a"]]\n', "Line 2: expected a JSON object"),
    ("a.jsonl", b"null\n", "Line 1: expected a JSON object"),
    ("a.jsonl", b'{"text": 1, "text": 2}', "Line 1: .*a name comes twice in .*'text', 'text'"),
    ("a.jsonl", b"\n \n", "the manifest is empty"),
    ("a.jsonl", b'{"text": "\xe9"}\n', "expected UTF-8. Line 1 holds the byte 0xe9"),
    ("a.parquet", b"not Parquet", "it can't be read.*write it again"),
    ("a.parquet", b"", "the manifest is empty"),
    ("a.xlsx", b"text", "unknown extension. Expected one of .csv, .*Save it as CSV"),
]


@pytest.mark.parametrize("name, content, match", FILE_FAULTS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_file_faults_always_raise(root, name, content, match, on_error):
    (root / name).write_bytes(content)
    with pytest.raises(ManifestError, match=f"(?s){name}.*{match}"):
        load_manifest(root / name, on_error=on_error)


def test_parquet_duplicate_columns_and_no_rows(root):
    table = pa.table([pa.array(["a"])] * 3, names=["text", "label", "label"])
    pq.write_table(table, root / "a.parquet")
    with pytest.raises(ManifestError, match="duplicate column 'label'"):
        load_manifest(root / "a.parquet")
    pq.write_table(table.select([0, 1]).slice(0, 0), root / "a.parquet")
    with pytest.raises(ManifestError, match="the manifest is empty"):
        load_manifest(root / "a.parquet")


def test_missing_files_and_bad_arguments(root):
    for path in (root / "gone.csv", root / "folder.csv"):
        (root / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(ManifestError, match=f"{path.name}: there is no such file. Check"):
            load_manifest(path)
    path = write(root, ROWS)
    with pytest.raises(ManifestError, match="missing column 'Caption'. Columns found: .'image'"):
        load_manifest(path, columns={"text": "Caption"})
    for options, match in [
        ({"on_error": "ignore"}, '`on_error` must be "raise" or "skip". Received: \'ignore\''),
        ({"columns": {"video": "image"}}, "`columns` must map names of .*Received: .'video'"),
        ({"classes": []}, "`classes` must be distinct names, at least one.*Received: .."),
        ({"classes": ["a", "a"]}, "`classes` must be distinct names"),
        (
            {"image_size": (0, 4)},
            "`image_size` must be two positive ints .*image_size=.0, 4",
        ),
        ({"image_size": (4,)}, "`image_size` must be two positive ints"),
        ({"text_length": 0}, "Lengths and `sample_rate` must be positive. Received: .0, None"),
        ({"audio_length": -1}, "Lengths and `sample_rate` must be positive"),
        ({"sample_rate": 0}, "Lengths and `sample_rate` must be positive"),
        ({"root": root / "gone"}, "`root` must be a folder. Received: root="),
    ]:
        with pytest.raises(ValueError, match=match):
            load_manifest(path, **options)
