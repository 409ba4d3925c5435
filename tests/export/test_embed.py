"""`mmzoo embed`: each id once, the encoders' own vectors, goes on when killed."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import soundfile
from PIL import Image

from mmzoo import encoders, export, fusion
from mmzoo.data import concepts
from mmzoo.data.beam_jobs import JobError
from mmzoo.data.job_folder import JobFolderError
from mmzoo.data.prepare import prepare_dataset
from mmzoo.export.embed import embed_corpus, load_embeddings, vectors

pytest.importorskip("apache_beam", reason="pip install mmzoo[beam]")
ROWS = 30


@pytest.fixture(scope="module")
def model():
    """Pictures and texts, either may be absent; random weights."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    text = keras.Input((None,), dtype="uint8", name="text")
    presence = fusion.presence_inputs(["image", "text"])
    seen = fusion.HideAbsent(name="hide_absent")({"image": image, "text": text}, presence)
    encoded = {
        "image": encoders.image(name="image_encoder")(seen["image"]),
        "text": encoders.text(name="text_encoder")(seen["text"]),
    }
    fused = fusion.Concatenation(name="fusion")(
        {m: encoded[m]["pooled"] for m in encoded}, presence=presence
    )
    joint = keras.layers.Dense(16, name="joint")(fused)
    inputs = {tensor.name: tensor for tensor in (image, text, *presence.values())}
    return keras.Model(inputs, {"joint": joint})


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    return export.export_bundle(model, place, formats=("saved_model", "onnx")).path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Records of real pictures and texts; every fifth lacks its picture, every seventh its text."""
    folder = tmp_path_factory.mktemp("corpus")
    inputs, _ = concepts.draw_samples("test", 1)
    rows = []
    for k in range(ROWS):
        Image.fromarray(inputs["image"][k]).save(folder / f"{k}.png")
        soundfile.write(folder / f"{k}.wav", inputs["audio"][k], 16_000)
        rows.append({"id": f"s{k}", "image": f"{k}.png" if k % 5 else None,
                     "text": f"word {k}" if k % 7 else None, "audio": f"{k}.wav"})  # fmt: skip
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare_dataset(folder / "m.jsonl", folder / "data", rows_per_shard=7)
    return folder / "data"


def tower(model, name, raw):
    """A vector of Keras' own encoder, of unit length."""
    pooled = model.get_layer(f"{name}_encoder")(raw[None])["pooled"].numpy()[0]
    return pooled / np.linalg.norm(pooled)


def test_vectors_are_those_of_the_encoders(model, bundle, corpus, tmp_path):
    made = embed_corpus(bundle, corpus, tmp_path / "out")
    assert made["records"] == ROWS and made["dead"] == 0 and len(made["parts"]) == 5
    assert [c["name"] for c in made["columns"]] == ["image", "text"]  # it takes no sound
    assert [c["output"] for c in made["columns"]] == ["image_pooled", "text_pooled"]
    ids, found = load_embeddings(tmp_path / "out")
    assert ids == [f"s{k}" for k in range(ROWS)]
    inputs, _ = concepts.draw_samples("test", 1)
    for k in range(ROWS):
        if k % 5:
            expected = tower(model, "image", inputs["image"][k])
            np.testing.assert_allclose(found["image"][k], expected, atol=1e-5)
        else:
            assert np.isnan(found["image"][k]).all()
        if k % 7:
            expected = tower(model, "text", np.frombuffer(b"word %d" % k, np.uint8))
            np.testing.assert_allclose(found["text"][k], expected, atol=1e-5)
        else:
            assert np.isnan(found["text"][k]).all()


def test_another_format_gives_the_models_output(model, bundle, corpus, tmp_path):
    embed_corpus(bundle, corpus, tmp_path / "onnx", format="onnx")
    embed_corpus(bundle, corpus, tmp_path / "saved", outputs=["joint"])
    onnx, saved = (load_embeddings(tmp_path / name)[1] for name in ("onnx", "saved"))
    assert list(onnx) == ["joint"] and np.isfinite(onnx["joint"]).all()  # presence stands for both
    np.testing.assert_allclose(np.linalg.norm(onnx["joint"], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(saved["joint"], onnx["joint"], atol=1e-5)
    inputs, _ = concepts.draw_samples("test", 1)
    answer = model({
        "image": inputs["image"][:1], "text": np.zeros((1, 1), "uint8"),
        "image_present": np.array([False]), "text_present": np.array([False]),
    })["joint"].numpy()[0]  # fmt: skip
    np.testing.assert_allclose(onnx["joint"][0], answer / np.linalg.norm(answer), atol=1e-5)


@pytest.mark.parametrize("format", ["saved_model", "onnx"])
def test_vectors_do_not_depend_on_batches_and_workers(bundle, corpus, tmp_path, format):
    found = []
    for k, (batch, workers) in enumerate([(64, 1), (1, 1), (5, 2)]):
        out = tmp_path / str(k)
        embed_corpus(bundle, corpus, out, format=format, batch=batch, workers=workers)
        found.append(load_embeddings(out))
    for ids, values in found[1:]:
        assert ids == found[0][0]
        for name, value in values.items():
            np.testing.assert_allclose(value, found[0][1][name], atol=1e-5)


KILLED = """
import sys, time
from mmzoo.export.embed import embed_corpus, vectors
make = vectors.EmbedShard.__call__
def slow(self, number):
    make(self, number)
    time.sleep(0.5)
vectors.EmbedShard.__call__ = slow
embed_corpus(*sys.argv[1:], format="onnx")
"""


def test_killed_it_goes_on_and_ends_the_same(bundle, corpus, tmp_path):
    embed_corpus(bundle, corpus, tmp_path / "whole", format="onnx")
    command = [sys.executable, "-c", KILLED, str(bundle), str(corpus), str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "cut" / ".work"
    end = time.monotonic() + 90
    while len(list(work.glob("job-*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ready = sorted((tmp_path / "cut").glob("part-*.parquet"))
    assert 2 <= len(ready) < 5 and not (tmp_path / "cut/embeddings.json").exists()
    before = ready[0].stat().st_mtime_ns
    ready[1].write_bytes(b"damaged since")
    embed_corpus(bundle, corpus, tmp_path / "cut", format="onnx")
    assert ready[0].stat().st_mtime_ns == before
    (ids, found), (others, whole) = (load_embeddings(tmp_path / n) for n in ("cut", "whole"))
    assert ids == others
    np.testing.assert_allclose(found["joint"], whole["joint"], atol=1e-6)


def test_nan_and_zero_go_to_the_dead_letter(bundle, corpus, tmp_path, monkeypatch):
    class Broken:
        def run(self, inputs):
            count = len(next(iter(inputs.values())))
            answer = np.ones((count, 16), "float32")
            answer[0], answer[1] = np.nan, 0
            return {"joint": answer}

    monkeypatch.setattr(vectors, "_runtime", lambda *_: Broken())
    made = embed_corpus(bundle, corpus, tmp_path / "out", format="onnx")
    dead = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").open()]
    assert made["dead"] == len(dead) == 10  # two of each of five calls
    assert {row["reason"].rsplit(" ", 1)[1] for row in dead} == {"nan.", "0.0."}
    ids, found = load_embeddings(tmp_path / "out")
    assert len(ids) == ROWS and np.isnan(found["joint"]).all(axis=1).sum() == 10


def test_what_can_not_be_decoded_goes_to_the_dead_letter(bundle, corpus, tmp_path, monkeypatch):
    read = vectors.read_image

    def fussy(content, size):
        if fussy.count == 3:
            fussy.count += 1
            raise ValueError("Expected a whole image.")
        fussy.count += 1
        return read(content, size=size)

    fussy.count = 0
    monkeypatch.setattr(vectors, "read_image", fussy)
    made = embed_corpus(bundle, corpus, tmp_path / "out")
    dead = json.loads((tmp_path / "out/dead_letter.jsonl").read_text())
    assert made["dead"] == 1 and dead["column"] == "image" and dead["id"] == "s4"
    assert np.isnan(load_embeddings(tmp_path / "out")[1]["image"][4]).all()


def test_a_full_disk_leaves_no_half_part(bundle, corpus, tmp_path, monkeypatch):
    import pyarrow.parquet

    def full(table, place):
        place.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(JobError, match="No space left on device"):
        embed_corpus(bundle, corpus, tmp_path / "out", format="onnx")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
    monkeypatch.undo()
    assert embed_corpus(bundle, corpus, tmp_path / "out", format="onnx")["records"] == ROWS


def test_other_input_is_refused(bundle, corpus, tmp_path):
    made = embed_corpus(bundle, corpus, tmp_path / "out", format="onnx")
    assert embed_corpus(bundle, corpus, tmp_path / "out", format="onnx") == made
    with pytest.raises(JobFolderError, match="Name another folder"):
        embed_corpus(bundle, corpus, tmp_path / "out")
    with pytest.raises(ValueError, match=r"Expected one of the bundle's formats \['onnx', 'saved"):
        embed_corpus(bundle, corpus, tmp_path / "other", format="tflite")
    with pytest.raises(ValueError, match=r"Expected outputs of \['joint'\]. Received: 'logits'"):
        embed_corpus(bundle, corpus, tmp_path / "other", outputs=["logits"])
    with pytest.raises(ValueError, match="Expected a data set that `mmzoo data prepare` made"):
        embed_corpus(bundle, tmp_path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_changed_files_are_refused(bundle, corpus, tmp_path):
    import shutil

    shutil.copytree(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle/onnx/model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="Expected the files that were proven"):
        embed_corpus(tmp_path / "bundle", corpus, tmp_path / "out", format="onnx")
    shutil.copytree(corpus, tmp_path / "data")
    first = next((tmp_path / "data").glob("data-*"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(JobError, match="Copy it again"):
        embed_corpus(bundle, tmp_path / "data", tmp_path / "out2", format="onnx")


def test_changed_vectors_are_refused(bundle, corpus, tmp_path):
    embed_corpus(bundle, corpus, tmp_path / "out", format="onnx")
    part = next((tmp_path / "out").glob("part-*"))
    part.write_bytes(b"other")
    with pytest.raises(ValueError, match="Make it again with `mmzoo embed`"):
        load_embeddings(tmp_path / "out")
    with pytest.raises(ValueError, match=r"without embeddings.json"):
        load_embeddings(tmp_path)
