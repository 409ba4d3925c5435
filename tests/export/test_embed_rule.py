"""`mmzoo embed` gives one answer in every format: which outputs, and which are normalised."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from PIL import Image
from two_towers import encoder

from mmzoo import export, fusion
from mmzoo.data.beam.job_folder import JobFolderError
from mmzoo.export.bundle.signatures import describe_signatures
from mmzoo.export.embed import embed_corpus, load_embeddings
from mmzoo.export.embed.output_rule import describe_embedding
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import describe
from mmzoo.tasks import guess_task

pytest.importorskip("apache_beam", reason="pip install mmzoo[beam]")
FORMATS = ("saved_model", "tflite", "onnx")
ROWS = 20


def build():
    """An image and a text, both needed, with projections behind their encoders."""
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    text = keras.Input((None,), dtype="uint8", name="text")

    def look(x):
        x = layers.Conv2D(5, 4, 4, name="patches")(layers.Rescaling(1 / 255, name="unit")(x))
        return layers.Reshape((-1, 5), name="tokens")(x)

    made = {
        "image": encoder("image", (8, 8, 3), "uint8", look)(image),
        "text": encoder("text", (None,), "uint8", layers.Embedding(256, 3, name="table"))(text),
    }
    projected = {
        m: layers.Dense(4, use_bias=False, name=f"{m}_projection")(made[m]["pooled"]) for m in made
    }
    both = layers.Concatenate(name="both")([projected["image"], projected["text"]])
    match = layers.Dense(1, name="match")(both)
    outputs = {
        "image_embedding": projected["image"],
        "text_embedding": projected["text"],
        "match": match,
        "topic": layers.Dense(3, activation="softmax", name="topic")(both),
        "scalar": match[:, 0],
        "rounded": ops.cast(ops.round(match), "int32"),
        "patches": made["image"]["tokens"],
    }
    return keras.Model({"image": image, "text": text}, outputs, name="pair")


def samples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, 8, 8, 3)).astype("uint8")
    return Samples({"image": images, "text": rng.integers(97, 123, (ROWS, 5)).astype("uint8")})


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    return export.export_bundle(model, place, formats=FORMATS, samples=samples())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The samples as rows of a manifest, in a folder with their pictures."""
    folder = tmp_path_factory.mktemp("corpus")
    given = samples().inputs
    for k in range(ROWS):
        Image.fromarray(given["image"][k]).save(folder / f"{k}.png")
    return folder, [
        {"id": f"r{k}", "image": f"{k}.png", "text": bytes(given["text"][k]).decode()}
        for k in range(ROWS)
    ]


def embed(bundle, folder, rows, out, **options):
    """What is in `embeddings.json`, and the columns."""
    data = folder / f"{out.name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = embed_corpus(bundle.path, data, out, **options)
    return made, load_embeddings(out)[1]


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_every_format_gives_the_projected_vectors(model, bundle, rows, tmp_path):
    assert bundle.manifest["embedding"]["default"] == ["image_embedding", "text_embedding"]
    found = {}
    for name in FORMATS:
        made, found[name] = embed(bundle, *rows, tmp_path / name, format=name)
        assert [(c["name"], c["signature"], c["normalize"]) for c in made["columns"]] == [
            ("image_embedding", "portable", True), ("text_embedding", "portable", True),
        ]  # fmt: skip
    answers = {name: value.numpy() for name, value in model(samples().inputs).items()}
    for name in FORMATS:
        for column, values in found[name].items():
            np.testing.assert_allclose(values, unit(answers[column]), atol=1e-5)
        nearest = (found[name]["text_embedding"] @ found[name]["image_embedding"].T).argmax(1)
        expected = (unit(answers["text_embedding"]) @ unit(answers["image_embedding"]).T).argmax(1)
        assert nearest.tolist() == expected.tolist()
    made, inner = embed(bundle, *rows, tmp_path / "inner", signature="encode_image")
    assert inner["image"].shape == (ROWS, 5)  # the encoder's own, where it is asked for


def test_a_corpus_of_one_modality_gives_the_vectors_made_of_it(model, bundle, rows, tmp_path):
    folder, whole = rows
    answers = {name: value.numpy() for name, value in model(samples().inputs).items()}
    for modality, other in (("image", "text"), ("text", "image")):
        for form, more in (("absent", {}), ("empty", {other: ""})):
            alone = [{"id": row["id"], modality: row[modality], **more} for row in whole]
            out = tmp_path / f"{modality}_{form}"
            made, found = embed(bundle, folder, alone, out, format="onnx")
            values = found[f"{modality}_embedding"]
            np.testing.assert_allclose(values, unit(answers[f"{modality}_embedding"]), atol=1e-5)
            if form == "absent":
                assert made["left_out"] == {f"{other}_embedding": [other]}
            else:
                assert np.isnan(found[f"{other}_embedding"]).all()
    mixed = [dict(row) for row in whole]
    for row in mixed[::2]:
        del row["text"]
    made, found = embed(bundle, folder, mixed, tmp_path / "mixed", format="tflite")
    assert np.isnan(found["text_embedding"]).all(1).tolist() == [True, False] * (ROWS // 2)
    np.testing.assert_allclose(
        found["image_embedding"], unit(answers["image_embedding"]), atol=1e-5
    )
    counts = {column["name"]: column["vectors"] for column in made["columns"]}
    assert counts == {"image_embedding": ROWS, "text_embedding": ROWS // 2}


@pytest.mark.parametrize("more", [{}, {"text": ""}])
def test_a_corpus_without_what_the_output_needs_is_an_error(bundle, rows, tmp_path, more):
    folder, whole = rows
    alone = [{"id": row["id"], "image": row["image"], **more} for row in whole]
    with pytest.raises(
        ValueError, match=r"with image text, of .* 'match'|'match' needs image and text"
    ):
        embed(bundle, folder, alone, tmp_path / "out", format="onnx", outputs=["match"])
    assert not (tmp_path / "out").exists()
    broken = [{"id": "a", "image": "m.jsonl", "text": "a"}]
    (folder / "m.jsonl").write_text("no picture")
    options = {"format": "onnx", "outputs": ["image_embedding"]}
    with pytest.raises(ValueError, match=r"none of which has one.*1 faults: a: Expected an image"):
        embed(bundle, folder, broken, tmp_path / "broken", **options)
    assert not (tmp_path / "broken").exists()
    nothing = [{"id": "a", "image": "", "text": ""}]
    with pytest.raises(ValueError, match="No modality"):
        embed(bundle, folder, nothing, tmp_path / "nothing", format="onnx")


def test_scores_and_scalars_are_kept_as_they_are(model, bundle, rows, tmp_path):
    answers = {name: value.numpy() for name, value in model(samples().inputs).items()}
    names = ["match", "topic", "scalar", "text_embedding"]
    for form in ("saved_model", "onnx"):
        made, found = embed(bundle, *rows, tmp_path / form, format=form, outputs=names)
        assert [(c["name"], c["dim"], c["normalize"]) for c in made["columns"]] == [
            ("match", 1, False), ("topic", 3, False), ("scalar", 1, False),
            ("text_embedding", 4, True),
        ]  # fmt: skip
        np.testing.assert_allclose(found["topic"].sum(1), 1, atol=1e-5)
        for name in names[:3]:
            expected = answers[name].reshape(ROWS, -1)
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    assert len(np.unique(found["match"].round(3))) > 10
    for name in ("rounded", "patches"):  # labels, and more than a vector
        with pytest.raises(ValueError, match=f"Expected outputs of .*Received: ..{name}"):
            embed(bundle, *rows, tmp_path / name, format="onnx", outputs=[name])


def test_another_rule_in_the_same_folder_is_refused(bundle, rows, tmp_path, monkeypatch):
    embed(bundle, *rows, tmp_path / "out", format="onnx")
    manifest = json.loads(json.dumps(bundle.manifest))
    manifest["embedding"]["outputs"]["image_embedding"]["normalize"] = False
    changed = export.Bundle(bundle.path, manifest, bundle.certificate)
    monkeypatch.setattr("mmzoo.export.embed.corpus.open_bundle", lambda *_, **__: changed)
    with pytest.raises(JobFolderError, match="Name another folder"):
        embed(bundle, *rows, tmp_path / "out", format="onnx")


def rule(model, classes=None, answers=None):
    inputs, outputs = describe(model)
    manifest = describe_signatures("", inputs, outputs)["portable"]
    return describe_embedding(model, manifest, guess_task(inputs, outputs, classes), answers or {})


def test_what_a_vector_is():
    given = keras.Input((4,), name="text")
    code = layers.Dense(3, name="code")(given)
    inner = keras.Input((3,))
    head = keras.Model(inner, layers.Dense(3, activation="softmax")(inner), name="head")
    outputs = {
        "code": code,
        "image_logits": layers.Dense(3)(code),
        "Probabilities": layers.Dense(3)(code),
        "tags": layers.Dense(3, activation="sigmoid")(code),
        "embedding": layers.Dense(3, activation="sigmoid")(code),
        "shares": layers.Softmax()(code),
        "nested": head(code),
        "sums": ops.abs(code),
        "chain": keras.Sequential([keras.Input((3,)), layers.Dense(2, "sigmoid")])(code),
    }
    model = keras.Model(given, outputs)
    found = rule(model, answers={"sums": np.full((2, 3), 1 / 3), "code": np.ones((2, 3))})
    assert found["default"] == ["code", "embedding"]
    assert set(found["outputs"]) == set(outputs)
    scores = keras.Model(given, layers.Dense(3, name="out")(code))
    assert rule(scores)["default"] == ["out"] and rule(scores)["outputs"]["out"]["normalize"]
    of_classes = rule(scores, ["a", "b", "c"])
    assert of_classes == {
        "default": ["out"], "outputs": {"out": {"normalize": False, "of": ["text"]}},
    }  # fmt: skip


def test_what_a_vector_is_made_of():
    given = {name: keras.Input((4,), name=name) for name in ("image", "text", "audio")}
    presence = fusion.presence_inputs(["image", "text"])
    hidden = fusion.HideAbsent()({m: given[m] for m in presence}, presence)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    inner = keras.Model([a, b], [layers.Dense(2)(b), layers.Dense(2)(a)], name="inner")
    swapped = inner([hidden["image"], given["audio"]])
    outputs = {
        "of_text": layers.Dense(3)(hidden["text"]),
        "of_audio": swapped[0],
        "of_image": swapped[1],
        "of_both": layers.Concatenate()([hidden["text"], swapped[1]]),
    }
    taken = {t.name: t for t in (*given.values(), *presence.values())}
    found = rule(keras.Model(taken, outputs))["outputs"]
    assert {name: entry["of"] for name, entry in found.items()} == {
        "of_text": ["text"], "of_audio": ["audio"], "of_image": ["image"],
        "of_both": ["image", "text"],
    }  # fmt: skip
