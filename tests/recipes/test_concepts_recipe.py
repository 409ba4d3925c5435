"""The recipe: each fusion learns, a seed reproduces, a short run leaves what it promises."""

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data import concepts, stream
from mmzoo.recipes import concepts as recipe

SHORT = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4}


@pytest.mark.parametrize("kind", recipe.FUSIONS)
@pytest.mark.parametrize("modalities", [("text",), ("image", "audio"), recipe.MODALITIES])
def test_every_fusion_builds_for_every_number_of_modalities(kind, modalities):
    to_train, model = recipe.build_model(kind, modalities, units=8)
    assert set(to_train.output) == {"fused", *(f"{m}_logits" for m in modalities)}
    inputs, _ = concepts.draw_samples("test", 1)
    probability = model.predict({m: inputs[m][:3] for m in modalities}, verbose=0)["probability"]
    assert probability.shape == (3, 128)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", recipe.FUSIONS)
def test_gradients_reach_every_weight(kind):
    to_train, model = recipe.build_model(kind, units=8)
    # "together" starts at zero, which hides the layers before it on the very first step.
    if kind == "interactive":
        kernel = model.get_layer("together").kernel
        kernel.assign(keras.random.normal(kernel.shape))
    inputs, labels = next(iter(stream.training_stream(concepts.load_sources("train"), 8)))
    with tf.GradientTape() as tape:
        losses = [
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            for logits in to_train(inputs, training=True).values()
        ]
        loss = tf.add_n(losses)
    gradients = tape.gradient(loss, to_train.trainable_variables)
    silent = [
        variable.path
        for variable, gradient in zip(to_train.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]
    # Early and late fusion read pooled vectors; of image and text these pass the tokens by.
    unread = [] if kind == "interactive" else 2 * ["tokens/bias", "tokens/kernel"]
    assert sorted(silent) == sorted(unread)


def test_a_seed_reproduces_the_result():
    losses = []
    for seed in (3, 3, 4):
        model, history, _ = recipe.train("interactive", ("text", "audio"), seed=seed, **SHORT)
        losses.append((history["loss"][0], float(np.sum(model.get_weights()[0]))))
        keras.backend.clear_session()
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_short_run_leaves_what_it_promises(tmp_path):
    metrics = recipe.main(
        ["--fusion", "late", "--modalities", "text,image", "--subsets", "all", "--epochs", "1",
         "--steps-per-epoch", "2", "--batch-size", "4", "--formats", "tflite",
         "--out", str(tmp_path)]
    )  # fmt: skip
    assert metrics["modalities"] == ["image", "text"]
    assert list(metrics["test"]["accuracy"]) == ["image", "text", "image+text"]
    assert metrics["test"]["samples"] == 1024
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["data"]["sha256"] == concepts.checksum()
    certificate = json.loads((tmp_path / "bundle" / "certificate.json").read_text())
    assert certificate["holds"] is True
    assert list(certificate["formats"]) == ["tflite"]
    page = (tmp_path / "report.html").read_text()
    assert "image+text" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle", "metrics.json", "model.keras", "report.html",
    ]  # fmt: skip
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.output["probability"].shape == (None, 128)


@pytest.mark.slow
def test_the_recipe_reaches_what_it_expects(tmp_path):
    """The recipe's own "Expect" line, from scratch. Its time is printed, not asserted."""
    start = time.perf_counter()
    metrics = recipe.main(["--out", str(tmp_path)])
    print(f"{time.perf_counter() - start:.0f} s in all, {metrics['train_seconds']:.0f} s training")
    assert metrics["test"]["accuracy"]["image+text+audio"] >= 0.88
    certificate = json.loads((tmp_path / "bundle" / "certificate.json").read_text())
    assert certificate["holds"] is True
    assert set(certificate["formats"]) == {"saved_model", "tflite", "onnx"}
