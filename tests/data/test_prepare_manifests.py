"""What manifests hold: columns, ids and classes; what is set aside, and what is refused."""

import json

import pandas as pd
import pytest
from PIL import Image

from mmzoo.data.prepare import prepare_dataset
from mmzoo.data.records import read_shard
from mmzoo.data.tables.manifest import ManifestError

pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")


def write(folder, rows):
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(out):
    return [record["id"] for shard in sorted(out.glob("data-*")) for record in read_shard(shard)]


def dead_letter(out):
    return [json.loads(line) for line in (out / "dead_letter.jsonl").open(encoding="utf-8")]


def test_an_id_that_can_not_be_is_set_aside(tmp_path):
    rows = [{"text": "a"}, {"text": "b", "id": "\ud800"}, {"text": "c", "id": 1}, {"text": "d"}]
    rows.append({"text": "e", "id": "6"})
    rows.append({"text": "f"})
    made = prepare_dataset(write(tmp_path, rows), tmp_path / "out", rows_per_shard=2)
    dead = dead_letter(tmp_path / "out")
    assert [(row["row"], row["id"], row["column"]) for row in dead] == [
        (2, "2", "id"), (3, "1", "id"), (6, "6", "id"),
    ]  # fmt: skip
    assert "An earlier row has the id '1'" in dead[1]["reason"]
    assert made["records"] == 3


def test_any_line_may_bring_a_column(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    lines = [{"text": "a"}, {"image": "a.png", "label": "b", "id": "c"}]
    made = prepare_dataset(write(tmp_path, lines), tmp_path / "out")
    assert made["present"] == {"image": 1, "text": 1, "audio": 0} and made["classes"] == ["b"]
    assert ids(tmp_path / "out") == ["1", "c"]


def test_a_line_that_is_no_json_is_set_aside(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"text": "a"}\n{"text\n\n{"text": "b", "text": "c"}\n')
    made = prepare_dataset(tmp_path / "m.jsonl", tmp_path / "out")
    dead = dead_letter(tmp_path / "out")
    assert made["records"] == 1 and [row["row"] for row in dead] == [2, 3]
    assert "Line 2: expected a JSON object" in dead[0]["reason"]
    assert "Line 4: expected a JSON object (a name comes twice" in dead[1]["reason"]


def test_what_parquet_holds_besides_is_set_aside(tmp_path):
    day = pd.Timestamp("2020-02-03")
    table = {"image": [b"PNG", None], "text": ["a", "b"], "label": [day, None], "day": [day, day]}
    pd.DataFrame(table).to_parquet(tmp_path / "m.parquet")
    made = prepare_dataset(tmp_path / "m.parquet", tmp_path / "out")
    (dead,) = dead_letter(tmp_path / "out")
    assert made["records"] == 1 and dead["row"] == 1
    assert dead["reason"].startswith("Expected a string or an int. Received: datetime")


@pytest.mark.parametrize(
    "labels, classes",
    [
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["1", "01", "001", "0001"], ["0001", "001", "01", "1"]),
        (["--5", "4"], ["--5", "4"]),
    ],
)
def test_classes_are_sorted_by_value_if_all_are_integers(tmp_path, labels, classes):
    write(tmp_path, [{"text": "a", "label": label} for label in labels])
    made = prepare_dataset(tmp_path / "m.jsonl", tmp_path / "out")
    assert made["classes"] == classes


def test_a_row_without_an_id_is_its_number(tmp_path):
    prepare_dataset(write(tmp_path, [{"text": "a"}, {"text": "b"}]), tmp_path / "out")
    assert ids(tmp_path / "out") == ["1", "2"]


def test_a_csv_row_that_does_not_fit_is_set_aside(tmp_path):
    (tmp_path / "m.csv").write_text('text,label\na,1\n\nb,2,3\n"c\nd",10\n')
    made = prepare_dataset(tmp_path / "m.csv", tmp_path / "out")
    assert made["records"] == 2 and made["classes"] == ["1", "10"]
    (dead,) = dead_letter(tmp_path / "out")
    assert dead["row"] == 2 and "Expected 2 cells. Received: 3" in dead["reason"]


@pytest.mark.parametrize(
    "name, text, match",
    [
        ("m.txt", "a", "unknown extension"),
        ("m.csv", "text\n", "the manifest is empty"),
        ("m.csv", "", "the manifest is empty"),
        ("m.csv", "text,text\na,b\n", "duplicate column 'text'"),
        ("m.csv", 'text\n"a\nb\n', "line 2: it can't be read .unexpected end of data"),
        ("m.jsonl", "{}\n", "no image, text or audio column"),
        ("m.csv", "label\n1\n", "no image, text or audio column"),
        ("m.jsonl", "[1]\n", "Line 1: expected a JSON object"),
        ("m.jsonl", "{\n", "it can't be read"),
        ("m.parquet", "x", "it can't be read"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=match):
        prepare_dataset(tmp_path / name, tmp_path / "out")
    (tmp_path / "right.csv").write_text("text\na\n")
    assert prepare_dataset(tmp_path / "right.csv", tmp_path / "out")["records"] == 1
