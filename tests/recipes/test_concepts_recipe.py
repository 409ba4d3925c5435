"""The recipe: each fusion learns, a seed reproduces, a short run leaves what it promises."""

import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub.modules import function_module
from keras import layers

from mmzoo import encoders, hub, training
from mmzoo.data import concept128
from mmzoo.data.concept128 import stream
from mmzoo.export.bundle.formats import ALL
from mmzoo.hub.towers import tower_contract
from mmzoo.io.keras_files import load_keras
from mmzoo.recipes import concepts as recipe
from mmzoo.training.launch.devices import Devices

SHORT = {
    "epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "devices": Devices(training.strategy("one")),
}


@pytest.fixture
def few(monkeypatch):
    """One sample a class to validate and test on, instead of eight."""
    draw = concept128.draw_samples
    monkeypatch.setattr(concept128.dataset, "draw_samples", lambda split, *_, **__: draw(split, 1))


@pytest.mark.parametrize("fusion", recipe.FUSIONS)
@pytest.mark.parametrize(
    "kind, modalities",
    [("scratch", ("text",)), ("shipped", ("image", "audio")), ("shipped", recipe.MODALITIES)],
)
def test_every_fusion_builds_for_every_number_of_modalities(fusion, kind, modalities):
    to_train, model = recipe.build_model(fusion, modalities, kind)
    heads = {"fused", *(f"{m}_logits" for m in modalities)}
    assert set(to_train.output) == heads | ({"together"} if fusion != "late" else set())
    inputs, _ = concept128.draw_samples("test", 1)
    inputs = {m: inputs[m][:3] for m in modalities}
    predict = recipe.predictor(model, modalities)
    probability = predict(inputs, None)["probability"]
    assert probability.shape == (3, 128)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    nothing = predict(inputs, ())["probability"]
    np.testing.assert_allclose(nothing, 1 / 128, rtol=1e-5)


@pytest.mark.parametrize("fusion", recipe.FUSIONS)
def test_each_modality_is_felt_where_it_is_present_and_nowhere_else(fusion):
    _, model = recipe.build_model(fusion, kind="scratch")
    predict = recipe.predictor(model, recipe.MODALITIES)
    inputs, _ = concept128.draw_samples("test", 1)
    inputs = {m: value[:4] for m, value in inputs.items()}
    other = {"image": 255 - inputs["image"], "text": inputs["text"][::-1]}
    other["audio"] = np.full_like(inputs["audio"], np.nan)
    for present in recipe.subsets_of(recipe.MODALITIES):
        seen = predict(inputs, present)["probability"]
        for m in recipe.MODALITIES:
            again = predict(inputs | {m: other[m]}, present)["probability"]
            assert np.array_equal(again, seen) == (m not in present), (present, m)


def silent_weights(to_train):
    """Paths of the trainable weights that a step leaves as they are."""
    keras.utils.set_random_seed(0)  # some modality of some sample is dropped
    inputs, labels = next(iter(stream.training_stream(concept128.load_sources("train"), 64)))
    inputs = recipe.as_taken(inputs, recipe.MODALITIES)
    with tf.GradientTape() as tape:
        losses = [
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            for logits in to_train(inputs, training=True).values()
        ]
        loss = tf.add_n(losses)
    weights = to_train.trainable_weights
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    return [
        weight.path
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is None or not np.any(tf.convert_to_tensor(gradient))
    ]


@pytest.mark.parametrize("fusion", recipe.FUSIONS)
def test_gradients_reach_every_weight(fusion):
    """Those of the encoders' tokens too: the pooled vector is read from them."""
    to_train, _ = recipe.build_model(fusion, kind="scratch")
    assert len(to_train.trainable_weights) > 60
    assert silent_weights(to_train) == []


def test_modules_stay_as_they_are_until_they_are_thawed():
    to_train, _ = recipe.build_model("interactive")
    assert silent_weights(to_train) == []
    frozen = len(to_train.trainable_weights)
    fine_tuned = 0
    for modality in recipe.MODALITIES:
        module = to_train.get_layer(f"{modality}_encoder").get_layer("module")
        assert module.handle == f"mmzoo/concept128-{modality}/1"
        module.trainable = True
        fine_tuned += len(module.trainable_weights)
    assert fine_tuned > 40 and len(to_train.trainable_weights) == frozen + fine_tuned
    assert silent_weights(to_train) == []


def test_a_seed_reproduces_the_result(few):
    losses = []
    for seed in (3, 3, 4):
        model, tokenizer, history, _ = recipe.train(
            "interactive", ("text",), "scratch", seed=seed, **SHORT
        )
        assert tokenizer is None and len(history["loss"]) == 1
        kernel = model.get_layer("together").kernel
        losses.append((history["loss"][0], float(np.sum(kernel))))
        keras.backend.clear_session()
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_short_run_leaves_what_it_promises(few, tmp_path):
    metrics = recipe.main(
        ["--fusion", "late", "--modalities", "text,image", "--subsets", "all", "--epochs", "1",
         "--steps-per-epoch", "2", "--batch-size", "4", "--formats", "tflite",
         "--out", str(tmp_path)]
    )  # fmt: skip
    assert metrics["features"] == ["image", "text"] and metrics["encoders"] == "shipped"
    assert list(metrics["test"]["subsets"]) == ["image", "text", "image+text"]
    assert list(metrics["trained"]) == list(metrics["test"]["subsets"])
    for name, figures in metrics["trained"].items():
        assert figures["steps"] == 2 and 0 <= figures["test"] <= 1, name
    whole = metrics["trained"]["image+text"]
    for split in ("validation", "test"):
        found = metrics[split]["metrics"]["accuracy"]
        assert whole[split] == found["value"]
        assert found == metrics[split]["subsets"]["image+text"]["accuracy"]
        assert found["interval"][0] <= found["value"] <= found["interval"][1]
    assert metrics["primary"] == "accuracy" and metrics["test"]["baseline"]["accuracy"] < 0.02
    assert metrics["test"]["samples"] == 128
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["data"]["sha256"] == concept128.checksum()
    certificate = json.loads((tmp_path / "bundle" / "certificate.json").read_text())
    assert certificate["holds"] is True
    assert list(certificate["formats"]) == ["tflite"]
    assert list(certificate["formats"]["tflite"]["subsets"]) == [
        "image+text", "image", "text", "nothing",
    ]  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "image+text" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle", "metrics.json", "model.keras", "report.html",
    ]  # fmt: skip
    loaded = load_keras(tmp_path / "model.keras")  # shipped modules need no trust
    assert loaded.output["probability"].shape == (None, 128)


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """Small modules of the kinds that `mmzoo hub build` makes, in their place."""

    def image(x):
        x = layers.Rescaling(1 / 255, name="rescale")(x)
        return layers.Conv2D(6, 32, 32, name="patches")(x)

    def audio(x):
        x = layers.Reshape((-1, 3200), name="frames")(x)
        return layers.Dense(6, name="frames_hidden")(x)

    kinds = {"image": ((64, 64, 3), "uint8", image), "audio": ((12_800,), "float32", audio)}
    handles = {}
    for name, (shape, dtype, body) in kinds.items():
        inputs = keras.Input(shape, dtype=dtype, name=name)
        tokens = layers.Reshape((-1, 6), name="tokens")(body(inputs))
        mask = encoders.blocks.AllTrue(name="mask")(tokens)
        pooled = layers.GlobalAveragePooling1D(name="pooled")(tokens)
        tower = keras.Model(inputs, {"tokens": tokens, "mask": mask, "pooled": pooled})
        handles[name] = hub.publish(tower, tmp_path / name, contract=tower_contract(tower))

    def words(sentences):
        return tf.cast(tf.io.decode_raw(sentences, tf.uint8, fixed_length=6), "int32")

    before = function_module(tmp_path / "before", words, tf.TensorSpec([None], tf.string))
    ids = keras.Input((None,), dtype="int32", name="text")
    tokens = layers.Embedding(256, 6, name="embedding")(ids)
    mask = encoders.blocks.AllTrue(name="mask")(tokens)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(tokens)
    tower = keras.Model(ids, {"tokens": tokens, "mask": mask, "pooled": pooled})
    takes = hub.Input("token_ids", "int32", preprocessor=str(before))
    contract = hub.Contract("text", takes, hub.Outputs(6, "pooled", "tokens", "mask"), True)
    handles["text"] = hub.publish(tower, tmp_path / "text", contract=contract)
    monkeypatch.setitem(recipe.ENCODERS, "pretrained", handles)
    return handles


def test_pretrained_encoders_are_trained_on_in_a_second_stage(few, pretrained, tmp_path):
    metrics = recipe.main(
        ["--encoders", "pretrained", "--epochs", "1", "--steps-per-epoch", "2", "--batch-size",
         "4", "--fusion", "late", "--formats", "tflite", "--out", str(tmp_path / "run")]
    )  # fmt: skip
    assert metrics["encoders"] == "pretrained" and len(metrics["history"]["loss"]) == 2
    assert metrics["trained"]["image+text+audio"]["steps"] == 4
    model = load_keras(tmp_path / "run" / "model.keras", trust=True)
    assert {t.name: t.dtype for t in model.inputs}["text"] == "string"
    inner = model.get_layer("concepts")
    for modality, folder in pretrained.items():
        module = inner.get_layer(f"{modality}_encoder").get_layer("module")
        before = hub.HubLayer(folder).module_weights
        weights = module.module_weights.items()
        assert all((weight.numpy() != before[n].numpy()).any() for n, weight in weights), modality
    certificate = json.loads((tmp_path / "run/bundle/certificate.json").read_text())
    assert certificate["holds"] is True


def test_texts_reach_a_tokenizer_as_they_were():
    texts = ["red apple", "clé à molette", "ウサギ", ""]
    taken = recipe.as_taken({"text": stream_bytes(texts)}, ("text",), lambda strings: strings)
    assert [text.decode() for text in taken["text"].numpy()] == texts
    taken = recipe.as_taken({"image": np.ones(2), "text": 2}, ("image",), str)
    assert sorted(taken) == ["image", "image_present"]


def test_presence_is_given_with_the_inputs():
    inputs = {"image": np.ones((3, 2)), "text": np.ones((3, 4))}
    taken = recipe.as_taken(inputs, ("image", "text"), present=("text",))
    assert taken["image_present"].numpy().tolist() == [False] * 3
    assert taken["text_present"].numpy().tolist() == [True] * 3


def stream_bytes(texts):
    length = max(len(text.encode()) for text in texts) + 3
    return np.array([list(text.encode().ljust(length, b"\0")) for text in texts], "uint8")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--encoders", "huge"], "invalid choice: 'huge'"),
        (["--modalities", "image,smell"], "expected some of image,text,audio"),
        (["--epochs", "0"], "expected a positive int"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    with pytest.raises(SystemExit):
        recipe.parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_recipe_reaches_what_it_expects(tmp_path):
    """What `make demo` runs. Its time is printed, not asserted."""
    start = time.perf_counter()
    metrics = recipe.main(["--fusion", "interactive", "--formats", "all", "--out", str(tmp_path)])
    print(f"{time.perf_counter() - start:.0f} s in all, {metrics['train_seconds']:.0f} s training")
    assert metrics["encoders"] == "shipped" and metrics["test"]["samples"] == 1024
    assert metrics["test"]["metrics"]["accuracy"]["value"] >= 0.92
    certificate = json.loads((tmp_path / "bundle" / "certificate.json").read_text())
    assert certificate["holds"] is True
    assert set(certificate["formats"]) == set(ALL)
    for entry in certificate["formats"].values():
        assert entry["holds"] is True
        assert len(entry["subsets"]) == 8
        assert entry["subsets"]["audio"]["artifact"] > 0.7  # alone, of a model of three
