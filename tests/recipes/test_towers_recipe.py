"""The recipe: modules that load, cards that are true, streams that do not meddle."""

import numpy as np
import pytest
import tensorflow as tf

from mmzoo import encoders, hub, training
from mmzoo.data import concept128
from mmzoo.data.concept128 import stream
from mmzoo.hub.cache import find_fault
from mmzoo.recipes import towers
from mmzoo.training.launch.devices import Devices

ONE = Devices(training.strategy("one"))
BUILDERS = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}


@pytest.fixture
def few(monkeypatch):
    """One sample a class to validate and test on, instead of eight."""
    draw = concept128.draw_samples
    monkeypatch.setattr(concept128, "draw_samples", lambda split, *rest: draw(split, 1))


@pytest.fixture
def models(monkeypatch):
    """What the recipe builds, by modality: towers and the classifiers they are trained in."""
    built = {}
    build = towers.build_model

    def remember(modality, **rest):
        built[modality] = build(modality, **rest)
        return built[modality]

    monkeypatch.setattr(towers, "build_model", remember)
    return built


def test_a_short_run_publishes_what_its_cards_say(few, models, tmp_path):
    found = towers.main(
        ["--modalities", "text,image", "--steps", "3", "--batch-size", "8", "--seed", "5",
         "--out", str(tmp_path)]
    )  # fmt: skip
    assert list(found) == ["image", "text"]
    assert {path.name for path in tmp_path.iterdir()} == {"concept128-image", "concept128-text"}
    for modality, figures in found.items():
        folder = tmp_path / f"concept128-{modality}" / "1"
        assert figures["path"] == str(folder) and find_fault(folder) == ""
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert figures["bytes"] == sum(path.stat().st_size for path in files) <= 3_000_000
        tower, classifier = models[modality]
        encoder = BUILDERS[modality](folder)
        card = (folder / "assets.extra/README.md").read_text(encoding="utf-8")
        assert (figures["steps"], figures["batch_size"], figures["seed"]) == (3, 8, 5)
        assert "(3 steps of 8, seed 5)" in card and figures["seconds"] > 0
        assert f"{encoder.count_params():,} parameters" in card
        for split in ("validation", "test"):
            inputs, labels = concept128.draw_samples(split)
            # The published module, with the linear classifier of the run behind it.
            kernel, bias = classifier.get_layer("logits").get_weights()
            pooled = encoder.predict(inputs[modality], verbose=0)["pooled"]
            expected = (np.argmax(pooled @ kernel + bias, 1) == labels).mean()
            assert figures[split] == pytest.approx(expected, abs=2e-3)
            assert f"{figures[split]:.3f} on {split}" in card
        for sources in concept128.split_sources().values():
            assert ", ".join(sources[modality]) in card
        assert hub.read_contract(folder) == hub.towers.tower_contract(tower, "Apache-2.0")


@pytest.mark.parametrize("steps, ran", [(1, 1), (249, 249), (250, 250), (501, 500), (2400, 2394)])
def test_the_steps_on_the_card_are_those_that_ran(few, monkeypatch, steps, ran):
    counted = []

    def fit(model, data, epochs, steps_per_epoch, **rest):
        counted.append(epochs * steps_per_epoch)

    monkeypatch.setattr(training, "fit_resumable", fit)
    *_, figures = towers.train("text", seed=0, steps=steps, batch_size=4, devices=ONE)
    assert counted == [ran] == [figures["steps"]]


def test_a_seed_reproduces_a_tower(few):
    found = []
    for seed in (3, 3, 4):
        tower, *_ = towers.train("text", seed=seed, steps=2, batch_size=4, devices=ONE)
        found.append(tower.get_weights())
    for one, other in zip(found[0], found[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(found[1], found[2], strict=True))


@pytest.mark.parametrize("modality", BUILDERS)
def test_gradients_reach_every_weight(modality):
    _, model = towers.build_model(modality)
    data, _ = towers.make_data(modality, 8, seed=1)
    inputs, labels = next(iter(data(0)))
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.any(tf.convert_to_tensor(gradient)), weight.path


def test_a_stream_of_one_modality_is_that_of_all():
    """So that towers trained one by one see what a model of all three would."""
    sources = concept128.load_sources("train")
    whole = list(stream.training_stream(sources, 5, seed=2).take(3).as_numpy_iterator())
    for subset in (["image"], ["text"], ["audio"], ["audio", "image"]):
        one = stream.training_stream(sources, 5, seed=2, modalities=subset)
        for (inputs, labels), (others, other_labels) in zip(
            one.take(3).as_numpy_iterator(), whole, strict=True
        ):
            assert list(inputs) == sorted(subset)
            np.testing.assert_array_equal(labels, other_labels)
            for name in subset:
                np.testing.assert_array_equal(inputs[name], others[name])


@pytest.mark.parametrize("text", ["smell", "image,smell", ""])
def test_unknown_modalities(capsys, text):
    with pytest.raises(SystemExit):
        towers.parse(["--modalities", text])
    assert "expected some of image,text,audio" in capsys.readouterr().err


def test_modalities_come_in_their_order():
    assert towers.parse(["--modalities", "audio,image,audio"]).modalities == ("image", "audio")
    assert towers.parse([]).modalities == towers.MODALITIES
