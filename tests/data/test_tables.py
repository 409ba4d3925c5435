"""One reader of tables and one rule of classes, in `load_manifest` and `mmzoo data prepare`."""

import json
import os
import unicodedata
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from mmzoo.data import load_manifest
from mmzoo.data.media.media_files import MediaError, inside
from mmzoo.data.prepare.plan import make_plan
from mmzoo.data.tables.labels import Classes, class_name, similar_names
from mmzoo.data.tables.reader import ManifestError
from mmzoo.data.tables.rows import ManifestWarning
from mmzoo.data.text import decode_text

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def both(path, **options):
    """Rows kept, classes and faults, by both readers, which must agree."""
    loaded = load_manifest(path, on_error="skip", **options)
    work = path.parent / "work"
    work.mkdir(exist_ok=True)
    plan = make_plan(path, work, 1000, options.get("columns", {}), None)
    rows = json.loads((work / "rows-00000.json").read_text())
    faults = {r["row"]: r["fault"][1] for r in rows if "fault" in r}
    repeated = {int(row) for row in plan["repeated"]}
    assert plan["classes"] == loaded.classes and plan["warnings"] == loaded.warnings
    assert {fault.row for fault in loaded.skipped} == set(faults) | repeated
    assert all(faults.get(fault.row, fault.reason) == fault.reason for fault in loaded.skipped)
    return loaded


def write(folder, text, name="m.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


SAME = [
    (NFC, NFD), ("cat", "cat "), ("cat", "\tcat\u00a0"), ("cat", "cat\u200b"), ("cat", "\ufeffcat"),
    ("cat", "cat\r"), ("ice cream", "ice\u00a0cream"), ("ice cream", "ice  cream"),
    ("cat", "c\u00adat"), ("cat", "cat\u200d"), ("cat", "\u200ecat\u202c"), (1, "1"), (1, " 1 "),
]  # fmt: skip


@pytest.mark.parametrize("one, other", SAME)
def test_labels_of_one_class(tmp_path, one, other):
    rows = [{"text": "a", "label": label} for label in (one, other, "zebra")]
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "m.jsonl")
    data = both(path)
    assert data.classes == [class_name(one), "zebra"] and data.labels.tolist() == [0, 0, 1]
    known = load_manifest(path, classes=[other, "zebra"])
    assert known.classes == data.classes and known.labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="must be distinct names, .*don't make a difference"):
        load_manifest(path, classes=[one, other])


@pytest.mark.filterwarnings("ignore::mmzoo.data.tables.rows.ManifestWarning")
def test_labels_of_several_classes_that_look_alike(tmp_path):
    labels = ["Cat", "cat", "CAT", "ice_cream", "ice cream", "ｃat", "dog"]
    data = both(write(tmp_path, "text,label\n" + "".join(f"a,{name}\n" for name in labels)))
    assert len(data.classes) == 7
    assert "'CAT', 'Cat', 'cat'" in data.warnings[0] and "'ice cream'" in data.warnings[1]
    assert data.report()["warnings"] == data.warnings
    assert similar_names(["a", "b", "क्‍ष", "1", "01"]) == []
    assert class_name("क्‍ष") == "क्‍ष"  # this joiner has a meaning


def test_integers_as_floats_are_integers(tmp_path):
    frame = pd.DataFrame({"text": list("abc"), "label": [1, None, 10]})  # floats, for the hole
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame.to_parquet(tmp_path / "m.parquet")
    for name in ("m.csv", "m.parquet"):
        data = load_manifest(tmp_path / name, on_error="skip")
        assert data.classes == ["1", "10"] and len(data.skipped) == 1
    assert Classes.found(["1", "1.0", "cat"]).names == ["1", "cat"]
    assert Classes.found(["1.0", "1.5", "2.0"]).names == ["1.0", "1.5", "2.0"]  # versions, say
    assert Classes(["1", "2"]).index("2.0") == 1
    with pytest.raises(ValueError, match="Unseen label '3'. The 2 known start with '1', '2'"):
        Classes(["1", "2"]).index("3")


@pytest.mark.parametrize("label", ["", " ", "\u00a0", "\u200b", "\ufeff"])
def test_blank_labels_are_missing(tmp_path, label):
    path = write(tmp_path, f'text,label\na,b\nc,"{label}"\n')
    data = load_manifest(path, on_error="skip")
    assert [(r.row, r.reason) for r in data.skipped] == [(2, "The label is missing.")]


def test_control_characters_in_a_label_are_refused(tmp_path):
    path = write(tmp_path, "text,label\na,b\nc,x\0y\nc,x\x07\nd,b\n")
    assert [row.row for row in both(path).skipped] == [2, 3]


@pytest.mark.parametrize(
    "name, ours",
    [("picture", "image"), ("Image", "image"), ("img_path", "image"), ("imge", "image"),
     ("sound", "audio"), ("Audio_File", "audio"), ("uuid", "id")],
)  # fmt: skip
def test_columns_that_are_not_used_are_named(tmp_path, name, ours):
    path = write(tmp_path, f"text,label,{name},zzz\na,b,c,d\n")
    with pytest.warns(ManifestWarning, match=f"not used: '{name}', 'zzz'.*Is '{name}' the {ours}"):
        data = load_manifest(path)
    assert f"--columns {ours}={name}" in data.warnings[0]
    with pytest.warns(ManifestWarning, match="not used"):
        both(path)


def test_a_label_of_another_name_is_suggested(tmp_path):
    path = write(tmp_path, "text,class\na,b\n")
    with pytest.raises(ManifestError, match="missing column 'label'.*Is 'class' the label"):
        load_manifest(path)


def test_rows_that_do_not_fit_are_faults_in_both(tmp_path):
    path = write(tmp_path, 'text,audio,label\na,,x\nb\n\nc,,x,more\n"d\n""d""",,y\n,,\n"e, e",,x\n')
    data = both(write(tmp_path, 'id,text,label\n7,a,x\n8,b\n7,c,x\n9,"d\n""e""",z\n', "n.csv"))
    assert [row.row for row in data.skipped] == [2, 3]
    assert decode_text(data.inputs["text"]) == ["a", 'd\n"e"'] and data.classes == ["x", "z"]
    data = load_manifest(path, on_error="skip")
    assert data.rows.tolist() == [1, 4, 6]
    reasons = [row.reason for row in data.skipped]
    assert reasons[:2] == ["Expected 3 cells. Received: 1.", "Expected 3 cells. Received: 4."]
    with pytest.raises(ManifestError, match="row 2, column '': Expected 3 cells. Received: 1"):
        load_manifest(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_repeated_ids_are_found_by_both(tmp_path, kind):
    rows = [{"text": "a", "label": "x", "id": name} for name in ("p", "q", "p", "1")]
    if kind == "jsonl":
        path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "m.jsonl")
    else:
        path = tmp_path / "m.parquet"
        pd.DataFrame(rows).to_parquet(path)
    (fault,) = both(path).skipped
    assert (fault.row, fault.column) == (3, "id")
    with pytest.raises(ManifestError, match="row 3, column 'id': An earlier row has the id 'p'"):
        load_manifest(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_separators_and_encodings_are_detected(tmp_path, separator, encoding):
    lines = ["text,label", "été;1,a", '"x, y; z\t|",b']
    text = "\r\n".join([lines[0].replace(",", separator), f'"été;1"{separator}a',
                        f'"x, y; z\t|"{separator}b', ""])  # fmt: skip
    data = both(write(tmp_path, text, encoding=encoding))
    assert decode_text(data.inputs["text"]) == ["été;1", "x, y; z\t|"]


def test_what_spreadsheets_write(tmp_path):
    for text in ("sep=;\ntext;label\na;b\n", "\n\ntext , label\na,b\n", ' text, label\n"a", b\n',
                 "text,label\ra,b\r"):  # fmt: skip
        data = load_manifest(write(tmp_path, text))
        assert data.classes == ["b"] and decode_text(data.inputs["text"]) == ["a"]
    data = load_manifest(write(tmp_path, "text\tlabel\na\tb\n", "m.tsv"))
    assert data.classes == ["b"]


@pytest.mark.parametrize(
    "name, content, match",
    [
        ("m.csv", "text;label\ncafé;b\n".encode("latin-1"), "Line 2 holds the byte 0xe9.*Latin-1"),
        ("m.jsonl", '{"text": "ü"}'.encode("latin-1"), "Line 1 holds the byte 0xfc.*UTF-8"),
        ("m.csv", b"PK\x03\x04....", "an Excel workbook. Save it as CSV UTF-8"),
        ("m.xlsx", b"PK\x03\x04....", "unknown extension.*'.xlsx', which is an Excel workbook"),
        ("m.json", b"[]", "which is JSON. Write one object a line"),
        ("m.csv", b"PAR1....", "Parquet. Name it .parquet"),
        ("m.csv", b'text,label\na,b\n"c,d\ne,f\n', "line 3: it can't be read.*Close the quote"),
        ("m.csv", b'text,label\na,b\nc,d\n"e"f,g\n', "line 4: it can't be read.*twice"),
        ("m.csv", b"text,label\na," + b"x" * 140_000, "line 2: .*more than 131,072 characters"),
        ("m.csv", b"text, text,label\na,b,c\n", "duplicate column 'text'"),
        ("m.csv", b"\xef\xbb\xbf", "the manifest is empty"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=f"(?s){match}"):
        load_manifest(tmp_path / name)
    with pytest.raises(ManifestError, match=f"(?s){match}"):
        make_plan(tmp_path / name, tmp_path, 10, {}, None)


def test_a_frame_is_a_manifest(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    frame = pd.DataFrame(
        {"image": [tmp_path / "a.png", None, "a.png"], "text": ["x", pd.NA, np.nan],
         "label": pd.Categorical(["b", "a", "b"])}, index=[7, 7, 9],
    )  # fmt: skip
    data = load_manifest(frame, root=tmp_path, image_size=96, on_error="skip")
    assert data.inputs["image"].shape == (2, 96, 96, 3) and data.rows.tolist() == [1, 3]
    assert data.classes == ["b"] and (data.inputs["image"][0, 40, 40] == (255, 0, 0)).all()
    for source in (frame[["text", "label"]], pa.table({"text": ["x"], "label": [np.int64(3)]})):
        assert len(load_manifest(source, on_error="skip").labels) == 1
    with pytest.raises(ValueError, match="`root` must be the folder that paths start from"):
        load_manifest(frame)
    with pytest.raises(TypeError, match="a file or a pandas DataFrame. Received: list"):
        load_manifest([{"text": "a", "label": "b"}])
    twice = pd.DataFrame([["a", "b", "c"]], columns=["text", "label", "label"])
    with pytest.raises(ManifestError, match="DataFrame: duplicate column 'label'"):
        load_manifest(twice)


def test_paths_that_are_found(tmp_path):
    root = tmp_path / NFD
    (root / "sub").mkdir(parents=True)
    for name in (f"{NFD}.png", "sub/a.png", "a\\b.png", "100%25.png"):
        (root / name).touch()
    (tmp_path / "link").symlink_to(root)
    (root / "near.png").symlink_to("sub/a.png")
    (root / "back").symlink_to(root / "sub")
    for start in (root, tmp_path / "link"):
        for path in (f"{NFC}.png", f"{NFD}.png", "sub/a.png", "sub\\a.png", "a\\b.png",
                     "100%25.png", "near.png", "back/a.png", " sub/a.png\r", "./sub//a.png",
                     str(start / "sub/a.png"), str(root / "near.png")):  # fmt: skip
            assert inside(start, path).is_file(), path
    assert inside(tmp_path, f"{NFC}/{NFC}.png").is_file()


def test_paths_that_are_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path / "other")
    (root / "far.png").symlink_to("out.png")
    (root / "loop.png").symlink_to("loop.png")
    for path, match in [
        ("out.png", "a link that leads out of it. Copy"),
        ("far.png", "a link that leads out of it"),
        ("folder/a.png", "a link that leads out of it"),
        ("loop.png", "is a link that leads to itself"),
        (str(tmp_path / "secret.png"), "which is outside. Move the file"),
        (str(root) + "-more/a.png", "which is outside"),
        ("../secret.png", "without '..'"),
        ("sub\\..\\..\\secret.png", "without '..'"),
        ("C:\\pictures\\a.png", r"another computer \(Windows\)"),
        ("\\\\server\\share\\a.png", r"another computer \(Windows\)"),
        ("http://example.org/a.png", "which is a URL. Download the file"),
        ("s3://bucket/a.png", "which is a URL. Download the file"),
        ("file:///data/my%20cat.png", "which is a URL. Write the path: '/data/my cat.png'"),
        ("a\0b.png", "without control characters"),
    ]:
        with pytest.raises(MediaError, match=match):
            inside(root, path)


def test_files_that_are_none(tmp_path):
    (tmp_path / "my cat.png").touch()
    (tmp_path / "dir.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, match in [
        (quote("my cat.png"), "does not exist. There is 'my cat.png'"),
        ("gone.png", "does not exist. Check"),
        ("MY CAT.PNG", "does not exist. There is 'my cat.png'"),
        ("dir.png", "is a directory"),
        ("my cat.png", "is empty"),
        ("pipe.png", "is not a regular file"),
        ("long" * 200, "can't be opened .File name too long"),
        ("deep/" * 2000 + "a.png", "can't be opened .File name too long"),
    ]:
        frame = pd.DataFrame({"image": [name], "label": ["a"]})
        with pytest.raises(ManifestError, match=match):
            load_manifest(frame, root=tmp_path)
