"""`mmzoo embed`: manifests, and what is broken, lacking, changed or repeated."""

import csv
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from small_model import small_model, small_samples

from mmzoo import export
from mmzoo.data import concept128
from mmzoo.data.beam.job_folder import JobFolderError
from mmzoo.data.beam.jobs import JobError
from mmzoo.data.prepare import prepare_dataset
from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export.embed import embed_corpus, load_embeddings, sources, vectors
from mmzoo.export.embed.stored import repeated_ids

pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")


@pytest.fixture(scope="module")
def model():
    """A picture and a text, both needed, to a vector of both and to one of the text."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    text = keras.Input((None,), dtype="uint8", name="text")
    seen = layers.Rescaling(1 / 255, name="unit")(image)
    ids, mask = ByteTokens(name="bytes")(text)
    read = MaskedPooling(name="pooled")(layers.Embedding(256, 6, name="table")(ids), mask)
    both = layers.Concatenate(name="both")(
        [layers.GlobalMaxPooling2D(name="brightest")(seen), read]
    )
    joint = layers.Dense(4, name="joint")(both)
    return keras.Model({"image": image, "text": text}, {"joint": joint, "read": read})


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    inputs = concept128.Concept128(("image", "text")).samples("test", 1)[0]
    samples = export.Samples({name: value[:24] for name, value in inputs.items()})
    return export.export_bundle(model, place, formats=("onnx",), samples=samples).path


@pytest.fixture
def rows(tmp_path):
    """Cells of nine whole rows, whose pictures are files."""
    inputs, _ = concept128.draw_samples("test", 1)
    for k in range(9):
        Image.fromarray(inputs["image"][k]).save(tmp_path / f"{k}.png")
    return [{"id": f"r{k}", "image": f"{k}.png", "text": f"text {k}"} for k in range(9)]


@pytest.fixture(autouse=True)
def four_rows_a_part(monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 4)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(bundle, data, out, **options):
    made = embed_corpus(bundle, data, out, format="onnx", **options)
    dead = [json.loads(line) for line in (out / "dead_letter.jsonl").open(encoding="utf-8")]
    assert len(dead) == made["dead"]
    return made, dead, load_embeddings(out)


def test_a_manifest_gives_what_its_records_give(model, bundle, rows, tmp_path):
    jsonl(tmp_path / "m.jsonl", rows)
    with (tmp_path / "m.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    import pandas

    pandas.DataFrame(rows).to_parquet(tmp_path / "m.parquet")
    prepare_dataset(tmp_path / "m.jsonl", tmp_path / "data", rows_per_shard=5)
    made, dead, (ids, found) = run(bundle, tmp_path / "data", tmp_path / "records")
    assert ids == [f"r{k}" for k in range(9)] and dead == [] and len(made["parts"]) == 2
    assert [(c["name"], c["dim"]) for c in made["columns"]] == [("joint", 4), ("read", 12)]
    for kind in ("jsonl", "csv", "parquet"):
        made, dead, (others, values) = run(bundle, tmp_path / f"m.{kind}", tmp_path / kind)
        assert others == ids and dead == [] and [p["records"] for p in made["parts"]] == [4, 4, 1]
        assert {p.name for p in (tmp_path / kind).iterdir()} == {
            "dead_letter.jsonl", "embeddings.json", *(part["name"] for part in made["parts"]),
        }  # fmt: skip
        for name in found:
            np.testing.assert_allclose(values[name], found[name], atol=1e-6)
    inputs, _ = concept128.draw_samples("test", 1)
    text = np.frombuffer(b"text 3", "uint8")[None]
    answer = model({"image": inputs["image"][3:4], "text": text})["joint"].numpy()[0]
    np.testing.assert_allclose(found["joint"][3], answer / np.linalg.norm(answer), atol=1e-5)


def test_faults_of_rows_go_to_the_dead_letter(bundle, rows, tmp_path):
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:-20])
    rows[2]["image"] = "none.png"
    rows[3]["image"] = "../3.png"
    rows[4]["text"] = 4
    rows[5]["id"] = "r0"
    rows[6]["text"] = "a\0b"
    del rows[7]["text"]
    rows[8] = {"id": "r8"}
    _, dead, (ids, found) = run(bundle, jsonl(tmp_path / "m.jsonl", rows), tmp_path / "out")
    reasons = {row["id"]: (row["column"], row["reason"]) for row in dead}
    for name, column, reason in [
        ("r1", "image", "truncated or corrupt"), ("r2", "image", "can't be opened (No such file"),
        ("r3", "image", "without '..'"), ("r4", "text", "Received: 4."),
        ("r0", "id", "An earlier row has the id 'r0'"), ("r6", "text", "NUL"),
        ("r8", "image, text, audio", "No modality"),
    ]:  # fmt: skip
        assert reasons[name][0] == column and reason in reasons[name][1], name
    assert len(dead) == 7 and {row["row"] for row in dead if "row" in row} == {5, 6, 9}
    assert ids == ["r0", "r1", "r2", "r3", "r6", "r7"]  # r7 has no text, which is no fault
    whole = {name: np.isfinite(values).all(axis=1).tolist() for name, values in found.items()}
    assert whole == {"joint": [True] + 5 * [False], "read": 4 * [True] + 2 * [False]}  # of texts
    assert all(np.isnan(v[np.logical_not(whole[name])]).all() for name, v in found.items())


def test_nan_goes_to_the_dead_letter_and_zero_stays_zero(bundle, rows, tmp_path, monkeypatch):
    class Broken:
        def run(self, inputs):
            count = len(next(iter(inputs.values())))
            answer = np.ones((count, 4), "float32")
            answer[0], answer[-1] = 0, [1, np.nan, 1, np.inf]
            return {"joint": answer, "read": np.ones((count, 12), "float32")}

    monkeypatch.setattr(vectors, "_runtime", lambda *_: Broken())
    data = jsonl(tmp_path / "m.jsonl", rows)
    _, dead, (ids, found) = run(bundle, data, tmp_path / "out", batch=2)
    # By twos, and one alone at the end.
    assert [row["id"] for row in dead] == ["r1", "r3", "r5", "r7", "r8"]
    assert {row["column"] for row in dead} == {"joint"}
    assert all("Received: NaN or infinity" in row["reason"] for row in dead)
    assert len(ids) == 9 and np.isfinite(found["read"]).all()
    assert (found["joint"][[0, 2, 4, 6]] == 0).all() and np.isnan(found["joint"][1::2]).all()
    import pyarrow.parquet

    for path in (tmp_path / "out").glob("part-*"):
        values = pyarrow.parquet.read_table(path)["joint"].combine_chunks().flatten()
        assert np.isfinite(values.to_numpy()).all()  # no NaN is written


def test_a_full_disk_leaves_no_half_part(bundle, rows, tmp_path, monkeypatch):
    import pyarrow.parquet

    def full(table, place):
        place.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    data = jsonl(tmp_path / "m.jsonl", rows)
    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(JobError, match="No space left on device"):
        run(bundle, data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
    monkeypatch.undo()
    monkeypatch.setattr(sources, "ROWS", 4)
    assert run(bundle, data, tmp_path / "out")[0]["records"] == 9


def test_a_disk_that_fails_is_no_fault_of_a_row(bundle, rows, tmp_path, monkeypatch):
    def broken(path):
        raise OSError(5, "Input/output error")

    data = jsonl(tmp_path / "m.jsonl", rows)
    monkeypatch.setattr(sources.Path, "read_bytes", broken)
    with pytest.raises(JobError, match="Input/output error"):
        run(bundle, data, tmp_path / "out")


def test_other_input_is_refused(bundle, rows, tmp_path):
    data, out, other = jsonl(tmp_path / "m.jsonl", rows), tmp_path / "out", tmp_path / "other"
    made = run(bundle, data, out)[0]
    assert run(bundle, data, out)[0] == made
    for options in ({"outputs": ["read"]}, {"signature": "portable"}):
        with pytest.raises(JobFolderError, match="Name another folder"):
            run(bundle, data, out, **options)
    with pytest.raises(JobFolderError, match="Name another folder"):
        run(bundle, jsonl(tmp_path / "less.jsonl", rows[1:]), out)
    changed = shutil.copytree(bundle, tmp_path / "changed")
    manifest = json.loads((changed / "manifest.json").read_text())
    certificate = json.loads((changed / "certificate.json").read_text())
    (changed / "certificate.json").write_text(json.dumps({**certificate, "holds": False}))
    with pytest.raises(ValueError, match="whose certificate holds"):
        run(changed, data, out)
    (changed / "certificate.json").write_text(json.dumps(certificate))
    (changed / "manifest.json").write_text(json.dumps({**manifest, "model": "another"}))
    with pytest.raises(ValueError, match="whose certificate holds for its manifest"):
        run(changed, data, out)
    with pytest.raises(FileNotFoundError, match="Expected a bundle"):
        run(tmp_path, data, other)
    with pytest.raises(ValueError, match=r"one of the bundle's formats \['onnx'\]. Received: 'tf"):
        embed_corpus(bundle, data, other, format="tflite")
    with pytest.raises(ValueError, match=r"Expected outputs of \['joint', 'read'\]"):
        run(bundle, data, other, outputs=["logits"])
    with pytest.raises(ValueError, match=r"one of the format's signatures \['portable'\]"):
        run(bundle, data, other, signature="encode_image")
    texts = jsonl(tmp_path / "texts.jsonl", [{"text": "a"}])
    with pytest.raises(ValueError, match=r"Expected a corpus with image text, .* one with text\."):
        run(bundle, texts, other, outputs=["read", "joint"])
    made, _, (_, found) = run(bundle, texts, tmp_path / "texts")  # `read` is made of texts alone
    assert list(found) == ["read"] and made["left_out"] == {"joint": ["image", "text"]}
    with pytest.raises(ValueError, match="Expected a data set that `mmzoo data prepare` made"):
        run(bundle, tmp_path, other)
    with pytest.raises(ValueError, match="Expected a manifest, or a folder of records"):
        run(bundle, tmp_path / "none.csv", other)
    kinds = r"Expected a manifest \(.csv, .tsv, .jsonl, .ndjson, .parquet\)"
    with pytest.raises(ValueError, match=kinds):
        run(bundle, tmp_path / "1.png", other)
    assert not other.exists()


def test_a_model_of_other_inputs_is_refused(rows, tmp_path):
    made = export.export_bundle(
        small_model(), tmp_path / "b", formats=("onnx",), samples=small_samples()
    )
    with pytest.raises(ValueError, match="'portable' with the input 'numbers', float32"):
        run(made.path, jsonl(tmp_path / "m.jsonl", rows), tmp_path / "out")


def test_changed_files_are_refused(bundle, rows, tmp_path):
    data = jsonl(tmp_path / "m.jsonl", rows)
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    path = copy / "onnx/model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="Expected the files that were verified"):
        run(copy, data, tmp_path / "out")
    prepare_dataset(data, tmp_path / "data")
    shard = next((tmp_path / "data").glob("data-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(JobError, match="Copy it again"):
        run(bundle, tmp_path / "data", tmp_path / "out")
    run(bundle, data, tmp_path / "made")
    part = next((tmp_path / "made").glob("part-*"))
    part.write_bytes(b"other")
    with pytest.raises(ValueError, match="Make it again with `mmzoo embed`"):
        load_embeddings(tmp_path / "made")
    with pytest.raises(ValueError, match=r"without embeddings.json"):
        load_embeddings(tmp_path)


def test_an_id_in_two_shards_is_refused(bundle, rows, tmp_path):
    prepare_dataset(jsonl(tmp_path / "m.jsonl", rows[:4]), tmp_path / "data", rows_per_shard=2)
    path = tmp_path / "data/dataset.json"
    described = json.loads(path.read_text())
    described["shards"].append(described["shards"][0])
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"2 ids more than once; 'r0' is in part-00000-of-00003.p"):
        run(bundle, tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out/embeddings.json").exists()
    paths = sorted((tmp_path / "out").glob("part-*"))
    assert set(repeated_ids(paths)) == {"r0", "r1"} and repeated_ids(paths[:2]) == {}


def test_a_start_that_was_killed_is_forgotten(bundle, rows, tmp_path):
    data, out = jsonl(tmp_path / "m.jsonl", rows), tmp_path / "out"
    (out / ".work/.source.json.x").mkdir(parents=True)
    run(bundle, data, out)
    (out / ".work").mkdir()
    (out / ".part-00000-of-00003.parquet.abc").mkdir()
    run(bundle, data, out)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_command_says_what_to_do(bundle, rows, tmp_path):
    def mmzoo(*arguments):
        command = [sys.executable, "-m", "mmzoo", "embed", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    data = jsonl(tmp_path / "m.jsonl", [*rows, rows[0]])
    rest = ["--input", data, "--output", tmp_path / "out", "--outputs", "read"]
    done = mmzoo(bundle, *rest, "--format", "onnx", "--", "--job_name=mine")
    assert done.returncode == 0, done.stderr
    assert f"9 records, vectors read (12): {tmp_path / 'out'}\n1 faults: " in done.stdout
    assert "10 of 10 records" in done.stdout
    done = mmzoo(bundle, *rest)
    assert done.returncode == 1 and "Received: 'saved_model'" in done.stderr
    assert mmzoo(bundle, *rest, "--btach", 3).returncode == 2
