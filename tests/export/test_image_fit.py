"""How a picture is brought to size is part of a bundle, and all that reads one follows it."""

import io
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from mmzoo import export
from mmzoo.data import read_image
from mmzoo.data.media.images import IMAGE_FITS
from mmzoo.export.bundle.manifest import load_bundle
from mmzoo.export.bundle.task_choice import choose_fit, choose_task
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.image_decoding import decode_pictures
from mmzoo.tasks import Task, Tensor, features

SIZE = (6, 6)


def build(size=SIZE):
    """A picture to its darkness and brightness, as probabilities, and to a vector."""
    image = keras.Input((*size, 3), dtype="uint8", name="image")
    mean = layers.GlobalAveragePooling2D(name="mean")(layers.Rescaling(1 / 255, name="unit")(image))
    start = keras.initializers.Constant([[-1.0, 1], [-1, 1], [-1, 1]])
    scores = layers.Dense(2, "softmax", kernel_initializer=start, name="scores")(mean)
    return keras.Model(image, {"probability": scores, "colour": mean}, name="light")


def samples(**options):
    rng = np.random.default_rng(0)
    return Samples({"image": rng.integers(0, 256, (20, *SIZE, 3)).astype("uint8")}, **options)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A bundle a fit; that of "stretch" is the default."""
    folder = tmp_path_factory.mktemp("fits")
    made = {}
    for fit in (*IMAGE_FITS, "none"):
        model = build((None, None) if fit == "none" else SIZE)
        made[fit] = export.export_bundle(
            model, folder / fit, formats=("onnx",), samples=samples(), classes=["dark", "bright"],
            image_fit=None if fit == "stretch" else fit,
        )  # fmt: skip
    return made


@pytest.fixture
def wide(tmp_path):
    """Black, with a white middle: 200 x 50 pixels."""
    pixels = np.zeros((50, 200, 3), "uint8")
    pixels[:, 90:110] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def expected(fit, path):
    """What Keras answers to the picture as it should be."""
    pixels = read_image(path) if fit == "none" else read_image(path, SIZE, fit)
    return build(pixels.shape[:2])(pixels[None])


@pytest.mark.parametrize("fit", [*IMAGE_FITS, "none"])
def test_predict_and_embed_do_what_the_manifest_says(bundles, wide, tmp_path, fit):
    bundle = bundles[fit]
    size = None if fit == "none" else [6, 6]
    [image] = bundle.manifest["task"]["features"]
    assert image == {"kind": "image", "name": "image", "size": size, "fit": fit}
    answer = expected(fit, wide)
    rows = predict_sample(bundle.path, "onnx", {"image": wide})["probability"]
    scores = {row["class"]: row["score"] for row in rows}
    dark, bright = answer["probability"].numpy()[0]
    assert scores == pytest.approx({"dark": dark, "bright": bright}, abs=1e-5)
    pytest.importorskip("apache_beam", reason="pip install mmzoo[beam]")
    from mmzoo.export.embed import embed_corpus, load_embeddings

    Image.new("RGB", (30, 7), (250, 20, 9)).save(tmp_path / "small.png")
    lines = [json.dumps({"id": n, "image": n}) for n in ("wide.png", "small.png") * 1]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    made = embed_corpus(bundle.path, tmp_path / "m.jsonl", tmp_path / "out", format="onnx")
    assert made["dead"] == 0
    _, found = load_embeddings(tmp_path / "out")
    for k, name in enumerate(("wide.png", "small.png")):  # of two sizes, in one batch
        colour = expected(fit, tmp_path / name)["colour"].numpy()[0]
        np.testing.assert_allclose(found["colour"][k], colour / np.linalg.norm(colour), atol=1e-5)


def test_a_black_picture_is_black_to_a_model_of_ones_own(bundles, tmp_path):
    Image.new("RGB", (200, 50)).save(tmp_path / "black.png")
    share = {}
    for fit in (*IMAGE_FITS, "none"):
        given = {"image": tmp_path / "black.png"}
        rows = predict_sample(bundles[fit].path, "onnx", given)["probability"]
        share[fit] = {row["class"]: row["score"] for row in rows}["dark"]
    assert share["stretch"] == share["crop"] == share["none"] == pytest.approx(0.5)
    assert share["pad"] < 0.1  # white, most of it


def test_the_card_the_samples_and_the_manifest_say_it(bundles):
    words = {
        "stretch": "`image`: an image, RGB from 0 to 255, one of another size is scaled to 6 x 6",
        "pad": "one of another size is scaled to fit into 6 x 6 in its proportions",
        "crop": "one of another size is cut to the proportions of 6 x 6",
        "none": "`image`: an image, RGB from 0 to 255, taken as it is, in its own size.",
    }
    for fit, bundle in bundles.items():
        assert words[fit] in (bundle.path / "MODEL_CARD.md").read_text()
        assert Task.from_json(load_bundle(bundle.path).manifest["task"]).feature("image").fit == fit


def test_who_says_the_fit():
    assert choose_fit(None, "") == "stretch"
    assert choose_fit(None, "crop") == choose_fit("crop", "") == "crop"
    with pytest.raises(ValueError, match="that of the samples, 'pad'. Received: image_fit='crop'"):
        choose_fit("crop", "pad")
    for given in [("cover", ""), (None, "cover")]:
        with pytest.raises(ValueError, match="must be one of .*'none'.*Received: image_fit='cov"):
            choose_fit(*given)
    fixed = Tensor("image", "uint8", (None, 8, 9, 3), kind="image")
    free = Tensor("photo", "uint8", (None, None, None, 3), kind="image")
    other = Tensor("text", "uint8", (None, None), kind="text")
    given = Samples({
        "image": np.zeros((20, 8, 9, 3), "uint8"), "photo": np.zeros((20, 4, 5, 3), "uint8"),
        "text": np.ones((20, 3), "uint8"),
    })  # fmt: skip
    task = choose_task(None, [fixed, free, other], [], given, image_fit="crop")
    assert task.features == (
        features.Image("image", (8, 9), "crop"), features.Image("photo", (4, 5), "crop"),
        features.Text("text"),
    )  # fmt: skip
    with pytest.raises(ValueError, match="takes pictures of any size. Received: 'image' of shape"):
        choose_task(None, [free, fixed], [], given, image_fit="none")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("task"),
        lambda m: m["task"]["features"].clear(),
        lambda m: m["task"]["features"][0].update(fit="cover"),
        lambda m: m["task"]["features"][0].update(size=[7, 6]),
        lambda m: m["task"]["features"][0].update(size=[6]),
        lambda m: m["task"]["features"][0].update(kind="text"),
        lambda m: m["task"]["features"][0].update(kind="smell"),
        lambda m: m["task"]["features"][0].update(fit="none", size=None),
        lambda m: m["task"]["answers"][0].update(classes=["one"]),
        lambda m: m["task"].update(more=1),
        lambda m: m.pop("embedding"),
        lambda m: m["embedding"].update(default=["other"]),
        lambda m: m["embedding"]["outputs"].pop("colour"),
        lambda m: m["embedding"]["outputs"]["colour"].update(normalize=1),
        lambda m: m["embedding"]["outputs"]["colour"].update(of=["text"]),
    ],
)
def test_a_manifest_that_does_not_fit_the_model_is_refused(bundles, tmp_path, change):
    for name in ("manifest.json", "certificate.json"):
        (tmp_path / name).write_bytes((bundles["crop"].path / name).read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    change(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="Expected a bundle that mmzoo wrote"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("fit", IMAGE_FITS)
def test_the_savedmodel_brings_files_to_size_as_python_does(fit):
    rng = np.random.default_rng(0)
    decode = tf.function(lambda files: decode_pictures(files, (16, 24), fit))
    for height, width in [(50, 37), (16, 24), (9, 90), (1, 1), (40, 3)]:
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (height, width, 3)).astype("uint8")
        Image.fromarray(pixels).save(file, "PNG")
        found = decode(tf.constant([file.getvalue()])).numpy()[0]
        wanted = read_image(file.getvalue(), (16, 24), fit).astype(int)
        assert np.abs(found - wanted).max() <= 1, (height, width)


def test_predict_says_what_is_wrong_with_what_it_is_given(bundles, wide, tmp_path):
    path = bundles["stretch"].path
    assert len(predict_sample(path, "onnx", {"image": wide}, top=500)["probability"]) == 2
    for top in (0, -1):
        with pytest.raises(ValueError, match=f"`top` must be a positive int. Received: top={top}"):
            predict_sample(path, "onnx", {"image": wide}, top=top)
    (tmp_path / "note.png").write_text("no picture")
    for name, words in [("note.png", "in no format that Pillow"), ("none.png", "does not exist"),
                        (".", "is a directory")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"Expected an image file. Received .*{words}"):
            predict_sample(path, "onnx", {"image": tmp_path / name})
    done = subprocess.run(
        [sys.executable, "-m", "mmzoo", "predict", path, "--format", "onnx", "--image",
         tmp_path / "note.png"], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1 and "error: Expected an image file" in done.stderr
    assert "Traceback" not in done.stderr
