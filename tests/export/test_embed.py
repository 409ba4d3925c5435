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
from mmzoo.data import concept128
from mmzoo.data.prepare import prepare_dataset
from mmzoo.export.embed import embed_corpus, load_embeddings

pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")
ROWS = 30


@pytest.fixture(scope="module")
def model():
    """Pictures, texts and sounds, any may be absent; random weights."""
    keras.utils.set_random_seed(0)
    given = {
        "image": keras.Input((None, None, 3), dtype="uint8", name="image"),
        "text": keras.Input((None,), dtype="uint8", name="text"),
        "audio": keras.Input((None,), dtype="float32", name="audio"),
    }
    presence = fusion.presence_inputs(list(given))
    seen = fusion.HideAbsent(name="hide_absent")(given, presence)
    encoded = {m: getattr(encoders, m)(units=24, name=f"{m}_encoder")(seen[m]) for m in given}
    fused = fusion.Concatenation(name="fusion")(
        {m: encoded[m]["pooled"] for m in encoded}, presence=presence
    )
    joint = keras.layers.Dense(16, name="joint")(fused)
    inputs = {tensor.name: tensor for tensor in (*given.values(), *presence.values())}
    return keras.Model(inputs, {"joint": joint})


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    inputs, labels = concept128.draw_samples("test", 1)
    samples = export.Samples({name: value[::6] for name, value in inputs.items()}, labels[::6])
    formats = ("saved_model", "tflite", "onnx")
    return export.export_bundle(model, place, formats=formats, samples=samples).path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Records of real samples, some without a picture, a text or a sound; number 0 without any."""
    folder = tmp_path_factory.mktemp("corpus")
    inputs, _ = concept128.draw_samples("test", 1)
    rows = []
    for k in range(ROWS):
        Image.fromarray(inputs["image"][k]).save(folder / f"{k}.png")
        soundfile.write(folder / f"{k}.wav", sound(inputs, k), 16_000)
        cells = {"image": f"{k}.png", "text": f"word {k}" * k, "audio": f"{k}.wav"}
        rows.append({"id": f"s{k}", **{m: cells[m] for m in EVERY if is_there(m, k)}})
    rows[0]["text"] = "\0"  # there, and no text: NUL is the padding
    write_rows(folder / "m.jsonl", rows)
    prepare_dataset(folder / "m.jsonl", folder / "data", rows_per_shard=7)
    return folder / "data"


EVERY = {"image": 5, "text": 7, "audio": 3}


def is_there(modality, k):
    return k % EVERY[modality] > 0


def sound(inputs, k):
    """A waveform whose length is its own; what a file of 16 bits holds of it."""
    waveform = inputs["audio"][k][: 12_800 - 400 * (k % 11)]
    return np.rint(waveform * 32768).clip(-32768, 32767).astype("int16")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def one(inputs, k):
    """A sample as the encoders take it."""
    return {
        "image": inputs["image"][k],
        "text": np.frombuffer((f"word {k}" * k).encode(), np.uint8),
        "audio": sound(inputs, k).astype("float32") / 32768,
    }


def tower(model, name, raw):
    """A vector of Keras' own encoder, of unit length."""
    pooled = model.get_layer(f"{name}_encoder")(raw[None])["pooled"].numpy()[0]
    return pooled / np.linalg.norm(pooled)


ENCODERS = ["encode_image", "encode_text", "encode_audio"]


def test_vectors_of_the_encoders_are_asked_for(model, bundle, corpus, tmp_path):
    made = embed_corpus(bundle, corpus, tmp_path / "out", signature=ENCODERS)
    assert made["records"] == ROWS and len(made["parts"]) == 5
    assert [c["name"] for c in made["columns"]] == ["image", "text", "audio"]
    assert {(c["output"], c["dim"]) for c in made["columns"]} == {
        ("image_pooled", 24), ("text_pooled", 24), ("audio_pooled", 24),
    }  # fmt: skip
    [dead] = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").open()]
    assert dead["id"] == "s0" and "NUL" in dead["reason"] and made["dead"] == 1
    ids, found = load_embeddings(tmp_path / "out")
    assert ids == [f"s{k}" for k in range(ROWS)]
    inputs, _ = concept128.draw_samples("test", 1)
    for k in range(ROWS):
        for m, raw in one(inputs, k).items():
            if is_there(m, k):
                np.testing.assert_allclose(found[m][k], tower(model, m, raw), atol=1e-5)
            else:
                assert np.isnan(found[m][k]).all()


def answers(model, inputs, k):
    """The whole model's vector, of unit length."""
    raw = {m: value[None] for m, value in one(inputs, k).items()}
    there = {f"{m}_present": np.array([is_there(m, k)]) for m in EVERY}
    joint = model({**raw, **there})["joint"].numpy()[0]
    return joint / np.linalg.norm(joint)


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_the_whole_model_gives_its_own_outputs(model, bundle, corpus, tmp_path, format):
    made = embed_corpus(bundle, corpus, tmp_path / "out", format=format)
    assert [c["name"] for c in made["columns"]] == ["joint"]
    assert {c["signature"] for c in made["columns"]} == {"portable"}
    _, found = load_embeddings(tmp_path / "out")
    assert np.isnan(found["joint"][0]).all()  # it has nothing, of which there is no vector
    inputs, _ = concept128.draw_samples("test", 1)
    for k in range(1, ROWS):
        np.testing.assert_allclose(found["joint"][k], answers(model, inputs, k), atol=1e-5)


def test_a_signature_is_chosen(bundle, corpus, tmp_path):
    made = embed_corpus(bundle, corpus, tmp_path / "one", signature="encode_audio")
    assert [c["name"] for c in made["columns"]] == ["audio"]
    embed_corpus(bundle, corpus, tmp_path / "all", signature=ENCODERS)
    one, every = (load_embeddings(tmp_path / name)[1] for name in ("one", "all"))
    np.testing.assert_allclose(one["audio"], every["audio"], atol=1e-6)
    strings = embed_corpus(bundle, corpus, tmp_path / "strings", signature="serving_default")
    assert strings["columns"][0]["signature"] == "serving_default"
    embed_corpus(bundle, corpus, tmp_path / "bytes", signature="portable")
    strings, ours = (load_embeddings(tmp_path / name)[1] for name in ("strings", "bytes"))
    np.testing.assert_allclose(strings["joint"], ours["joint"], atol=1e-5)


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_vectors_do_not_depend_on_batches_and_workers(bundle, corpus, tmp_path, format):
    found = []
    for k, (batch, workers) in enumerate([(32, 1), (1, 1), (5, 2)]):
        out = tmp_path / str(k)
        embed_corpus(bundle, corpus, out, format=format, batch=batch, workers=workers)
        found.append(load_embeddings(out))
    for ids, values in found[1:]:
        assert ids == found[0][0]
        for name, value in values.items():
            np.testing.assert_allclose(value, found[0][1][name], atol=1e-5)


def test_processes_give_what_threads_give(bundle, corpus, tmp_path):
    options = ["--direct_running_mode=multi_processing"]
    embed_corpus(bundle, corpus, tmp_path / "2", format="onnx", workers=2, options=options)
    embed_corpus(bundle, corpus, tmp_path / "1", format="onnx")
    (ids, found), (others, expected) = (load_embeddings(tmp_path / n) for n in ("2", "1"))
    assert ids == others
    np.testing.assert_allclose(found["joint"], expected["joint"], atol=1e-5)


KILLED = """
import sys, time
from mmzoo.export.embed import embed_corpus, vectors
make = vectors.EmbedPart.__call__
def slow(self, number):
    make(self, number)
    time.sleep(0.5)
vectors.EmbedPart.__call__ = slow
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
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {
        p.name for p in (tmp_path / "whole").iterdir()
    }
