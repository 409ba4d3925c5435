"""What takes part in the bake-off, and what it takes part in."""

import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data import concept128, synthetic
from mmzoo.recipes.comparison import contenders, encoded_tasks, imbalance


def test_what_is_absent_is_no_word_of_the_string(monkeypatch, small_task):
    kind = contenders.AsText(small_task)
    names = concept128.class_names()
    read = {}
    monkeypatch.setattr(kind.encoder, "predict", lambda rows, **_: read.update(rows=rows) or {
        "pooled": np.zeros((len(rows), 128))})  # fmt: skip
    here = np.array([True, False] * 8)
    kind.read("test", {"image": here, "audio": np.ones(16, bool), "text": np.ones(16, bool)})
    strings = [bytes(row).rstrip(b"\0").decode() for row in read["rows"]]
    taken = kind.task.test.inputs_of(kind.recognisers)
    said = kind.recognisers.predict(taken, verbose=0)
    seen, heard = (said[f"{m}_logits"].argmax(1) for m in ("image", "audio"))
    assert strings[0] == f"{names[seen[0]]} {names[heard[0]]} clé"
    assert strings[1] == f"{names[heard[1]]} cat"
    kind.read("test", dict.fromkeys(("image", "text", "audio"), np.zeros(16, bool)))
    assert not read["rows"].any()


def test_all_three_classifiers_are_in_its_cost(small_task):
    kind = contenders.AsText(small_task)
    assert set(kind.model.output) == {"logits", "image_logits", "audio_logits"}
    assert set(kind.model.input) == {"image", "text", "audio"}
    trained = kind.recognisers.trainable_weights + kind.reader.trainable_weights
    assert len(kind.model.trainable_weights) == len(trained) == 18


@pytest.mark.parametrize("kind", ["LateFusion", "WeightedFusion", "MeanFusion probabilities"])
def test_late_kinds_are_calibrated_on_validation_data(kind, monkeypatch, small_task):
    called = []
    for module, name in (
        (contenders.training, "calibrate_temperatures"),
        (contenders.training, "calibrate_experts"),
        (contenders, "calibrate_mixture"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name: called.append(name))
    contenders.Classifier(kind, small_task).fit(0)
    assert (
        called
        == {
            "LateFusion": ["calibrate_experts"],
            "WeightedFusion": ["calibrate_temperatures", "calibrate_mixture"],
            "MeanFusion probabilities": ["calibrate_temperatures"],
        }[kind]
    )


def test_a_seed_reproduces_a_kind(small_task):
    contender = contenders.Classifier("GatedFusion", small_task)
    found = []
    for seed in (3, 4, 3):
        contender.fit(seed)
        found.append(contender.model.get_weights())
    for one, other in zip(found[0], found[2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(found[0], found[1], strict=True))


def test_a_probe_of_a_projection_does_not_train_it():
    model = imbalance.build_joint({"image": 6, "text": 5}, 4)
    kernel = model.get_layer("image_projection").kernel.value
    inputs = {"image": np.ones((2, 6)), "text": np.ones((2, 5))}
    for output, reached in (("logits", True), ("image_logits", False)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs)[output] ** 2)
        assert (tape.gradient(loss, kernel) is not None) == reached


def test_louder_noise_changes_nothing_but_the_noise():
    """As loud as was asked for, on the same clips, pictures and phrases."""
    quiet, labels = concept128.draw_samples("test", per_class=1, noise_db=60.0)
    loud, same = concept128.draw_samples("test", per_class=1, noise_db=-6.0)
    np.testing.assert_array_equal(labels, same)
    for m in ("image", "text"):
        np.testing.assert_array_equal(quiet[m], loud[m])
    heard = loud["audio"] != 0
    np.testing.assert_array_equal(heard, quiet["audio"] != 0)
    inside = (np.abs(loud["audio"]) < 1) & heard  # nothing was cut off
    noise = (loud["audio"] - quiet["audio"])[inside]
    share = np.mean(noise**2) / np.mean(quiet["audio"][inside] ** 2)
    # The power of a clip is without the silence around it, so that its noise is louder than 6 dB
    # over the whole.
    assert 6 < 10 * np.log10(share) < 10
    split, _ = concept128.draw_samples("test", per_class=1)
    [db] = set(concept128.load_sources("test").noise_db)
    asked, _ = concept128.draw_samples("test", per_class=1, noise_db=db)
    np.testing.assert_array_equal(split["audio"], asked["audio"])


def test_tokens_are_averaged_over_those_that_are_real():
    encoder = encoded_tasks.build_encoder()
    inputs, _ = concept128.draw_samples("test", per_class=1)
    inputs = {m: x[:5] for m, x in inputs.items()}
    found = {name: np.asarray(value) for name, value in encoder(inputs).items()}
    for m, windows in (("image", 4), ("text", 12), ("audio", 6)):
        whole = encoder.get_layer(f"{m}_encoder")(inputs[m])
        tokens, mask = (np.asarray(whole[part]) for part in ("tokens", "mask"))
        assert found[f"{m}_tokens"].shape == (5, 1 + windows, 128)
        np.testing.assert_array_equal(found[f"{m}_tokens"][:, 0], found[f"{m}_pooled"])
        before = (-tokens.shape[1] % 4) // 2  # "same" padding stands on both sides
        for k in range(windows):
            part = slice(max(4 * k - before, 0), 4 * k - before + 4)
            kept = mask[:, part, None]
            count = kept.sum(1)
            mean = (tokens[:, part] * kept).sum(1) / np.maximum(count, 1)
            np.testing.assert_allclose(found[f"{m}_tokens"][:, 1 + k], mean, atol=1e-5)
            np.testing.assert_array_equal(found[f"{m}_mask"][:, 1 + k], count[:, 0] > 0)
        assert found[f"{m}_mask"][:, 0].all()


class Arguments:
    parameters, steps, batch_size = 150_000, 800, 64


@pytest.mark.parametrize("name", synthetic.TASKS)
def test_synthetic_vectors_are_the_means_of_the_tokens(name):
    task = encoded_tasks.draw_synthetic(name, Arguments)
    assert task.classes == synthetic.expected(name)["classes"]
    assert task.parameters == 20_000 and task.budget == {"steps": 300, "batch_size": 64}
    assert len(task.train) == 300 * 64  # every sample once
    for part in (task.train, task.validation, task.test):
        for m in part.modalities:
            np.testing.assert_allclose(part.vectors[m], part.tokens[m].mean(1), atol=1e-6)
            assert part.masks[m].all()
    assert (task.validation.vectors["text"] != task.test.vectors["text"]).all()
