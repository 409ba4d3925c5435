"""`mmzoo data prepare`: the same bytes each time, faults set aside, goes on when killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from PIL import Image

from mmzoo.data import concept128
from mmzoo.data.beam.job_folder import JobFolderError
from mmzoo.data.beam.jobs import JobError
from mmzoo.data.prepare import prepare_dataset
from mmzoo.data.prepare import shard as shards
from mmzoo.data.tables.manifest import ManifestError
from mmzoo.io.place_lock import PlaceInUseError

pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")
ROWS = 23


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of real pictures and sounds, and the rows of a manifest of them."""
    folder = tmp_path_factory.mktemp("corpus")
    inputs, labels = concept128.draw_samples("test", 1)
    rows = []
    for k in range(ROWS):
        Image.fromarray(inputs["image"][k]).save(folder / f"{k}.png")
        soundfile.write(folder / f"{k}.wav", inputs["audio"][k], 16_000)
        rows.append({"id": f"s{k}", "image": f"{k}.png", "audio": f"{k}.wav", "text": f"word {k}",
                     "label": concept128.class_names()[labels[k]]})  # fmt: skip
    return folder, rows, inputs


def write(folder, rows, name="manifest.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def records(out):
    """The features of every record, in order."""
    found = []
    for shard in json.loads((out / "dataset.json").read_text())["shards"]:
        for content in tf.data.TFRecordDataset(str(out / shard["name"])).as_numpy_iterator():
            features = tf.train.Example.FromString(content).features.feature
            found.append(
                {n: (f.bytes_list.value or f.int64_list.value)[0] for n, f in features.items()}
            )
    return found


def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_records_hold_what_the_files_do(corpus, tmp_path):
    folder, rows, inputs = corpus
    made = prepare_dataset(write(folder, rows), tmp_path / "out", rows_per_shard=10)
    assert [s["records"] for s in made["shards"]] == [10, 10, 3] and made["records"] == ROWS
    assert made == json.loads((tmp_path / "out/dataset.json").read_text())
    assert made["dead"] == 0 and (tmp_path / "out/dead_letter.jsonl").read_text() == ""
    found = records(tmp_path / "out")
    assert [record["id"].decode() for record in found] == [row["id"] for row in rows]
    for k, (record, row) in enumerate(zip(found, rows, strict=True)):
        assert record["image"] == (folder / row["image"]).read_bytes()
        assert record["text"].decode() == row["text"]
        assert made["classes"][record["label"]] == row["label"]
        waveform, rate = soundfile.read(io.BytesIO(record["audio"]), dtype="float32")
        assert rate == 16_000
        np.testing.assert_allclose(waveform, inputs["audio"][k], atol=1 / 32768)
    assert made["present"] == {"image": ROWS, "text": ROWS, "audio": ROWS}
    assert made["labels"] == dict(Counter(row["label"] for row in rows))
    seconds = inputs["audio"].shape[1] / 16_000
    assert made["statistics"]["audio_seconds"] == pytest.approx(
        {"min": seconds, "mean": seconds, "max": seconds, "total": ROWS * seconds}
    )
    assert made["statistics"]["image_width"] == {"min": 64, "mean": 64, "max": 64}


def test_two_runs_on_any_workers_give_the_same_bytes(corpus, tmp_path):
    folder, rows, _ = corpus
    manifest = write(folder, rows)
    for name, workers in (("a", 1), ("b", 1), ("c", 3)):
        prepare_dataset(manifest, tmp_path / name, rows_per_shard=4, workers=workers)
    assert content(tmp_path / "a") == content(tmp_path / "b") == content(tmp_path / "c")


def test_every_kind_of_manifest_gives_the_same(corpus, tmp_path):
    import pandas as pd

    folder, rows, _ = corpus
    rows = [*rows[:20], {**rows[20], "text": None}, {**rows[21], "audio": None}]
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "manifest.csv", index=False)
    frame.to_parquet(folder / "manifest.parquet")
    manifests = [folder / "manifest.csv", folder / "manifest.parquet", write(folder, rows)]
    shas = []
    for k, manifest in enumerate(manifests):
        made = prepare_dataset(manifest, tmp_path / str(k), rows_per_shard=10)
        shas.append([shard["sha256"] for shard in made["shards"]])
        assert made["present"] == {"image": 22, "text": 21, "audio": 21}
    assert shas[0] == shas[1] == shas[2]
    assert "text" not in records(tmp_path / "0")[20]


def test_a_fault_goes_to_the_dead_letter(corpus, tmp_path):
    folder, rows, _ = corpus
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "empty.wav").write_bytes(b"")
    faults = [
        ({"image": "broken.png"}, "image", "broken.png', which is truncated or corrupt"),
        ({"image": "gone.png"}, "image", "does not exist. Check the path"),
        ({"audio": "empty.wav"}, "audio", "which is empty"),
        ({"audio": "0.png"}, "audio", "Expected an audio file"),
        ({"image": "../0.png"}, "image", "without '..'"),
        ({"image": "/etc/0.png"}, "image", "which is outside"),
        ({"image": "a" * 5000}, "image", "can't be opened (File name too long). Check the path"),
        ({"text": 7}, "text", "Expected a string. Received: 7"),
        ({"text": "\ud800"}, "text", "surrogates not allowed"),
        ({"label": True}, "label", "Expected a string or an int. Received: True"),
        ({"label": 1.5}, "label", "Expected a string or an int. Received: 1.5"),
        ({"label": "smell"}, "label", "Unseen label 'smell'"),
        ({"id": "s0"}, "id", "An earlier row has the id 's0'"),
        (
            {"image": None, "text": None, "audio": ""},
            "image, text, audio",
            "No modality is present",
        ),
    ]
    wrong = [{**rows[k + 1], **change} for k, (change, *_) in enumerate(faults)]
    manifest = write(folder, [rows[0], *wrong, rows[-1]], "wrong.jsonl")
    made = prepare_dataset(
        manifest, tmp_path / "out", rows_per_shard=5, classes=concept128.class_names()
    )
    dead = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").open()]
    assert made["dead"] == len(dead) == len(faults) and made["records"] == 2
    for k, (row, (_, column, reason)) in enumerate(zip(dead, faults, strict=True)):
        assert row["row"] == k + 2 and row["id"] == wrong[k]["id"]
        assert row["column"] == column and reason in row["reason"], row
    assert [r["id"] for r in records(tmp_path / "out")] == [b"s0", rows[-1]["id"].encode()]


def test_a_broken_disk_is_no_fault_of_a_row(corpus, tmp_path, monkeypatch):
    folder, rows, _ = corpus

    def broken(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(folder), "read_bytes", broken)
    with pytest.raises(JobError, match="Input/output error"):
        prepare_dataset(write(folder, rows[:2]), tmp_path / "out")


KILLED = """
import sys
from mmzoo.data.prepare import prepare_dataset, shard
make = shard.serialised
def slow(features):
    import time
    time.sleep(0.2)
    return make(features)
shard.serialised = slow
prepare_dataset(sys.argv[1], sys.argv[2], rows_per_shard=2)
"""


def test_killed_it_goes_on_and_ends_the_same(corpus, tmp_path):
    folder, rows, _ = corpus
    manifest = write(folder, rows)
    prepare_dataset(manifest, tmp_path / "whole", rows_per_shard=2)
    command = [sys.executable, "-c", KILLED, str(manifest), str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "cut" / ".work"
    end = time.monotonic() + 60
    while len(list(work.glob("job-*.json"))) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ready = sorted(work.glob("job-*.json"))
    assert 3 <= len(ready) < 12 and not (tmp_path / "cut/dataset.json").exists()
    assert list((tmp_path / "cut").glob(".data-*"))  # one was being written
    first = json.loads(ready[0].read_text())["name"]
    (tmp_path / "cut" / first).write_bytes(b"damaged since")
    untouched = tmp_path / "cut" / json.loads(ready[1].read_text())["name"]
    before = untouched.stat().st_mtime_ns
    prepare_dataset(manifest, tmp_path / "cut", rows_per_shard=2)
    assert untouched.stat().st_mtime_ns == before
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_start_that_was_killed_is_forgotten(tmp_path):
    (tmp_path / "m.csv").write_text("text\na\n")
    for name in ("nothing", ".source.json.x7_d"):
        work = tmp_path / name.strip(".") / ".work"
        work.mkdir(parents=True)
        if name.startswith("."):
            (work / name).mkdir()
            (work / name / "source.json").write_text("{")
        assert prepare_dataset(tmp_path / "m.csv", work.parent)["records"] == 1
        assert not work.exists()


def test_an_end_that_was_killed_is_tidied(tmp_path):
    (tmp_path / "m.csv").write_text("text\na\n")
    made = prepare_dataset(tmp_path / "m.csv", tmp_path / "out")
    before = content(tmp_path / "out")
    (tmp_path / "out/.work").mkdir()
    for name in ("data-00000-of-00001.tfrecord", "dead_letter.jsonl", "dataset.json"):
        (tmp_path / f"out/.{name}.k3_a").mkdir()
        (tmp_path / f"out/.{name}.k3_a/{name}").touch()
    assert prepare_dataset(tmp_path / "m.csv", tmp_path / "out") == made
    assert content(tmp_path / "out") == before


def test_a_full_disk_leaves_no_half_shard(corpus, tmp_path, monkeypatch):
    folder, rows, _ = corpus
    written = shards.serialised

    def full(features):
        if features["id"] == b"s5":
            raise OSError(28, "No space left on device")
        return written(features)

    monkeypatch.setattr(shards, "serialised", full)
    manifest = write(folder, rows)
    with pytest.raises(JobError, match="No space left on device. What is done stays"):
        prepare_dataset(manifest, tmp_path / "out", rows_per_shard=4)
    assert not (tmp_path / "out/data-00001-of-00006.tfrecord").exists()
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".data")]
    monkeypatch.undo()
    assert prepare_dataset(manifest, tmp_path / "out", rows_per_shard=4)["records"] == ROWS


def test_another_manifest_is_refused(corpus, tmp_path):
    folder, rows, _ = corpus
    manifest = write(folder, rows[:2], "changing.jsonl")
    made = prepare_dataset(manifest, tmp_path / "out")
    assert prepare_dataset(manifest, tmp_path / "out") == made  # it is there already
    write(folder, rows[:3], "changing.jsonl")
    with pytest.raises(JobFolderError, match="Name another folder"):
        prepare_dataset(manifest, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").touch()
    with pytest.raises(JobFolderError, match="holds other files"):
        prepare_dataset(manifest, tmp_path / "other")


def test_missing_things_are_named(tmp_path):
    with pytest.raises(JobFolderError, match="no such file"):
        prepare_dataset(tmp_path / "none.csv", tmp_path / "out")
    (tmp_path / "m.csv").write_text("text\na\n")
    with pytest.raises(ManifestError, match="missing column 'picture'"):
        prepare_dataset(tmp_path / "m.csv", tmp_path / "out", columns={"image": "picture"})
    with pytest.raises(ValueError, match="Expected a runner of"):
        prepare_dataset(tmp_path / "m.csv", tmp_path / "out2", runner="hadoop")
    with pytest.raises(ValueError, match="`columns` must map names of"):
        prepare_dataset(tmp_path / "m.csv", tmp_path / "out3", columns={"picture": "text"})
    for classes in ([], ["a", "a"]):
        with pytest.raises(ValueError, match="`classes` must be distinct names"):
            prepare_dataset(tmp_path / "m.csv", tmp_path / "out3", classes=classes)


TWO = """
import sys, time
from mmzoo.data.prepare import pipeline, prepare_dataset
def slow(*args):
    print("begun", flush=True)
    time.sleep(60)
pipeline.make_plan = slow
prepare_dataset(sys.argv[1], sys.argv[2])
"""


def test_two_runs_into_one_folder_are_told_apart(tmp_path):
    (tmp_path / "m.csv").write_text("text\na\n")
    command = [sys.executable, "-c", TWO, str(tmp_path / "m.csv"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(PlaceInUseError, match=f"out is being .*process {process.pid}"):
            prepare_dataset(tmp_path / "m.csv", tmp_path / "out")
        assert prepare_dataset(tmp_path / "m.csv", tmp_path / "other")["records"] == 1
        process.kill()
    assert prepare_dataset(tmp_path / "m.csv", tmp_path / "out")["records"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"m.csv", "out", "other"}
