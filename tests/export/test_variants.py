"""Smaller artifacts and those of fixed size, each with a certificate of its own."""

import json
import re

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from mmzoo import encoders, fusion
from mmzoo.encoders.blocks import AllTrue
from mmzoo.export import ParityError, export_bundle, load_bundle, verify_bundle
from mmzoo.export.bundle.formats import ALL, PATHS, QUANTIZED, VARIANTS
from mmzoo.export.certify.first_divergence import first_wrong
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.quantization import check_choice, quantize_tflite, tower_scopes
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.tensors import Tensor

CLASSES = 4


def tower(name, shape, dtype, body, seed):
    inputs = keras.Input(shape, dtype=dtype, name=f"{name}_raw")
    tokens = body(inputs)
    pooled = layers.GlobalAveragePooling1D(name="mean")(tokens)
    wide = layers.Dense(
        64, "relu", name="wide", kernel_initializer=keras.initializers.GlorotUniform(seed)
    )(pooled)
    pooled = layers.Dense(8, name="pooled")(wide)
    mask = AllTrue(name="mask")(tokens)
    outputs = {"tokens": tokens, "mask": mask, "pooled": pooled}
    return keras.Model(inputs, outputs, name=f"{name}_encoder")


def build():
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    numbers = keras.Input((6,), name="numbers")

    def look(x):
        x = layers.Conv2D(32, 3, 2, "same", activation="relu", name="patches")(
            layers.Rescaling(1 / 255, name="unit")(x)
        )
        return layers.Reshape((-1, 32), name="tokens")(x)

    def count(x):
        return layers.Reshape((1, 6), name="tokens")(x)

    presence = fusion.presence_inputs(["image", "numbers"])
    seen = fusion.HideAbsent(name="hide")({"image": image, "numbers": numbers}, presence)
    made = {
        "image": tower("image", (None, None, 3), "uint8", look, 1)(seen["image"]),
        "numbers": tower("numbers", (6,), "float32", count, 2)(seen["numbers"]),
    }
    logits = {m: layers.Dense(CLASSES, name=f"{m}_logits")(x["pooled"]) for m, x in made.items()}
    fused = fusion.LateFusion(name="experts")(logits, presence=presence)
    taken = {t.name: t for t in (image, numbers, *presence.values())}
    probability = layers.Softmax(name="probability")(fused)
    return keras.Model(taken, {"probability": probability}, name="small")


def samples(model, count=40):
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 256, (count, 8, 10, 3)).astype("uint8"),
        "numbers": (3 * rng.standard_normal((count, 6))).astype("float32"),
    }
    present = {f"{m}_present": np.ones(count, bool) for m in inputs}
    # What the model says is right: then each change is a loss.
    labels = np.asarray(model({**inputs, **present})["probability"]).argmax(1)
    return Samples(inputs, labels)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = build()
    path = tmp_path_factory.mktemp("variants") / "bundle"
    return model, export_bundle(
        model, path, formats=ALL, samples=samples(model), classes=list("abcd"),
        quantize={"image": "int8", "numbers": "float16"}, metric_limit=0.1,
    )  # fmt: skip


def test_every_variant_is_certified_and_smaller_ones_are_smaller(exported):
    _, bundle = exported
    formats = bundle.certificate["formats"]
    assert set(formats) == {*ALL, "tflite-mixed"} and bundle.certificate["holds"]
    assert json.loads((bundle.path / "manifest.json").read_text()) == bundle.manifest
    entries = bundle.manifest["formats"]
    assert entries["tflite-mixed"]["quantized"] == {"image": "int8", "numbers": "float16"}
    assert entries["tflite-int8"]["quantized"] == {
        "image": "int8", "numbers": "int8", "rest": "dynamic",
    }  # fmt: skip
    assert entries["onnx-int8"]["quantized"] == {"rest": "int8"}
    for name in ("onnx-int8", "onnx-dynamic"):
        graph = onnx.load(bundle.path / PATHS[name]).graph
        weights = [onnx.numpy_helper.to_array(t) for t in graph.initializer]
        bytes_ = [w for w in weights if w.dtype == "int8" and w.ndim > 1]
        # Of 8 bits their sums saturate on processors without VNNI.
        assert bytes_ and all(np.abs(w.astype(int)).max() <= 64 for w in bytes_)
    assert {name for name, entry in entries.items() if "metric_limit" in entry} == set(QUANTIZED)
    checks = formats["tflite"]["checks"]
    exact = max(check["max_abs"] for check in checks if " " not in check["sizes"])
    for name in QUANTIZED:
        entry = formats[name]
        assert entry["metric"]["keras"] == 1.0
        assert 1 - entry["metric"]["artifact"] == pytest.approx(
            entry["metric"]["differ"] / 30
        )  # ten calibrate
        assert {"image+numbers", "image", "numbers", "nothing"} == set(entry["subsets"])
        # At the edges little may be left to be off.
        usual = [c for c in entry["checks"] if " " not in c["sizes"] and "probes" not in c["sizes"]]
        off = max(check["max_abs"] for check in usual)
        assert 10 * exact < off < 0.3, name


def weights_of(path, dtype):
    """Bytes of the constants of a TFLite file that have this dtype."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    names = {}
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] == dtype and len(detail["shape"]) > 1:
            names[detail["name"]] = int(np.prod(detail["shape"]))
    return names


def test_each_tower_is_quantised_as_it_was_asked(exported):
    _, bundle = exported
    file = bundle.path / bundle.manifest["formats"]["tflite-mixed"]["path"]
    small, half = weights_of(file, np.int8), weights_of(file, np.float16)
    assert small and all("image_encoder" in name for name in small)
    assert half and all("numbers" in name for name in half)
    file = bundle.path / bundle.manifest["formats"]["tflite-int8"]["path"]
    assert any("numbers_encoder" in name for name in weights_of(file, np.int8))


def test_the_spectrogram_is_left_alone(tmp_path):
    audio = keras.Input((16_000,), name="audio")
    made = encoders.audio(units=16, name="audio_encoder")(audio)["pooled"]
    model = keras.Model({"audio": audio}, {"y": layers.Dense(3, name="head")(made)})
    rng = np.random.default_rng(0)
    given = Samples({"audio": 0.1 * rng.standard_normal((20, 16_000)).astype("float32")})
    source = write_tflite(model, tmp_path / "float.tflite")
    scopes = tower_scopes(model)
    assert list(scopes) == []  # one input: there is nothing to cut
    for kind in ("dynamic", "int8", "float16"):
        target = tmp_path / f"{kind}.tflite"
        quantize_tflite(source, target, {"rest": kind}, scopes, given)
        changed = weights_of(target, np.float16 if kind == "float16" else np.int8)
        assert changed and not any("log_mel" in name for name in changed), kind
        assert target.stat().st_size < 0.8 * source.stat().st_size


def test_a_file_of_fixed_size_takes_one_sample_of_it(exported):
    _, bundle = exported
    entry = bundle.manifest["formats"]["tflite-batch1"]
    shapes = {t["name"]: t["shape"] for t in entry["signatures"]["portable"]["inputs"]}
    assert shapes == {
        "image": [1, 8, 10, 3], "numbers": [1, 6], "image_present": [1], "numbers_present": [1],
    }  # fmt: skip
    checks = bundle.certificate["formats"]["tflite-batch1"]["checks"]
    assert {check["batch"] for check in checks} == {1}
    assert {check["sizes"] for check in checks} == {
        "samples", "probes", "image+numbers", "image", "numbers", "nothing",
    }  # fmt: skip
    assert max(check["max_abs"] for check in checks) < 1e-5


@pytest.mark.parametrize("format", VARIANTS)
def test_predict_runs_a_variant(exported, format, tmp_path):
    from PIL import Image

    _, bundle = exported
    Image.fromarray(np.full((30, 30, 3), 90, "uint8")).save(tmp_path / "grey.png")
    given = {"image": tmp_path / "grey.png"}
    rows, plain = (
        predict_sample(bundle.path, each, given, top=4)["probability"]
        for each in (format, "tflite")
    )
    assert {row["class"] for row in rows} == set("abcd")
    found, expected = ({r["class"]: r["score"] for r in each} for each in (rows, plain))
    assert max(abs(found[name] - expected[name]) for name in expected) < 0.2


def test_a_bundle_of_variants_verifies(exported):
    _, bundle = exported
    assert verify_bundle(bundle.path).certificate["holds"] is True
    assert load_bundle(bundle.path).manifest == bundle.manifest


def test_a_loss_over_the_limit_leaves_nothing(tmp_path):
    """Rounded to eight bits of a wide range, most answers change."""
    model = build()
    layer = model.get_layer("numbers_encoder").get_layer("wide")
    kernel, bias = layer.get_weights()
    kernel[:, 0] = 0
    bias[0] = 3e4  # all activations of the layer share one scale, and this one stretches it
    narrow = model.get_layer("numbers_encoder").get_layer("pooled")
    weights = narrow.get_weights()
    weights[0][0] = 0
    layer.set_weights([kernel, bias])
    narrow.set_weights(weights)
    given = samples(model)
    with pytest.raises(
        ParityError, match="numbers, batch 17.*accuracy .*the tower 'numbers'"
    ) as caught:
        export_bundle(
            model, tmp_path / "bundle", formats=["tflite"], samples=given,
            quantize={"numbers": "int8"},
        )  # fmt: skip
    # The layer with the stretched scale.
    assert re.search(
        r"tflite-mixed: the first operator that goes wrong is '\S*numbers_encoder_1/wide_1/\S+'",
        str(caught.value),
    )
    assert not (tmp_path / "bundle").exists()
    export_bundle(
        model, tmp_path / "bundle", formats=["tflite"], samples=given, quantize={"image": "int8"},
        metric_limit=0.1,
    )  # fmt: skip


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_first_operator_that_goes_wrong_is_named(exported, tmp_path, format):
    model, bundle = exported
    path = bundle.path / PATHS[format]
    given = samples(model).fit([Tensor.from_json(t) for t in bundle.manifest["inputs"]])
    assert "off most is" in first_wrong(path, path, given)
    wrong = build()
    layer = wrong.get_layer("image_encoder").get_layer("wide")
    layer.set_weights([1.4 * value for value in layer.get_weights()])
    other = tmp_path / path.name
    {"tflite": write_tflite, "onnx": write_onnx}[format](wrong, other)
    said = first_wrong(path, other, given)
    assert re.fullmatch(
        r"the first operator that goes wrong is '\S*image_encoder_1/wide_1/\S+', by [34]\d%", said
    )


def test_a_limit_that_says_nothing_is_refused(tmp_path):
    model = build()
    for limit in (float("nan"), 5, -0.1):
        with pytest.raises(ValueError, match="`metric_limit` must be a share"):
            export_bundle(model, tmp_path / "b", samples=samples(model), metric_limit=limit)


def test_towers_that_the_converter_would_mix_up_are_refused():
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    made = []
    for given, name in ((x, "encoder"), (y, "encoder_1")):
        inner = keras.Input((3,))
        made.append(keras.Model(inner, layers.Dense(2)(inner), name=name)(given))
    model = keras.Model({"x": x, "y": y}, {"z": layers.Concatenate()(made)})
    with pytest.raises(ValueError, match="names tell them apart.*encoder_1"):
        tower_scopes(model)


def test_wrong_choices_are_refused(tmp_path):
    model = build()
    scopes = tower_scopes(model)
    assert set(scopes) == {"image", "numbers"}
    with pytest.raises(ValueError, match="Expected towers of the model.*smell"):
        check_choice({"smell": "int8"}, scopes)
    with pytest.raises(ValueError, match="Expected one of .*float32.*int4"):
        check_choice({"image": "int4"}, scopes)
    given = samples(model)
    with pytest.raises(ValueError, match="Expected `quantize` for 'tflite-mixed'"):
        export_bundle(model, tmp_path / "b", formats=["tflite-mixed"], samples=given)
    with pytest.raises(ValueError, match="`quantize` must be a dict .*Received: 'int8'"):
        export_bundle(model, tmp_path / "b", quantize="int8", samples=given)
    with pytest.raises(ValueError, match="`formats` must be some of"):
        export_bundle(model, tmp_path / "b", formats=["tflite-int2"], samples=given)
    with pytest.raises(ValueError, match="Expected towers of the model"):
        export_bundle(model, tmp_path / "b", formats=["tflite"], samples=given,
                      quantize={"audio": "int8"})  # fmt: skip
    assert not list(tmp_path.iterdir())
