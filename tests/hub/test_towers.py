"""A tower of a model, from a `.keras` file to a module, in Python and at the command line."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from typer.testing import CliRunner

from mmzoo import encoders, hub
from mmzoo.cli.app import app
from mmzoo.hub.cache import find_fault
from mmzoo.hub.towers import find_tower, tower_contract
from mmzoo.recipes.concepts import build_model

TEXTS = np.array([[97, 112, 0], [255, 1, 2]], "uint8")
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype="uint8")
WAVES = (0.1 * np.random.default_rng(0).standard_normal((2, 1_600))).astype("float32")
SAMPLES = {"image": PICTURES, "text": TEXTS, "audio": WAVES}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    return build_model("late", kind="scratch")[1]


@pytest.fixture(scope="module")
def archive(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.keras"
    model.save(path)
    return path


def mmzoo(*arguments):
    return CliRunner().invoke(app, ["hub", *map(str, arguments)])


def test_a_tower_by_its_modality_or_its_name(model):
    tower = find_tower(model, "text")
    assert tower is model.get_layer("text_encoder") is find_tower(model, "text_encoder")
    inputs = keras.Input((3,), name="x")
    inner = keras.Model(inputs, layers.Dense(2, name="y")(inputs), name="text")
    assert find_tower(keras.Model(inputs, inner(inputs)), "text") is inner


@pytest.mark.parametrize("name", ["video", "probability", "", "text_logits"])
def test_no_such_tower(model, name):
    message = (
        f"named {name}_encoder or {name}. Received a model with the towers "
        r"\['audio_encoder', 'image_encoder', 'text_encoder'\]"
    )
    with pytest.raises(ValueError, match=message):
        find_tower(model, name)


@pytest.mark.parametrize(
    "modality, kind, dtype, value_range, rate",
    [
        ("image", "image", "uint8", (0, 255), None),
        ("text", "bytes", "uint8", None, None),
        ("audio", "waveform", "float32", (-1, 1), 16_000),
    ],
)
def test_contracts_of_our_towers(model, modality, kind, dtype, value_range, rate):
    contract = tower_contract(find_tower(model, modality), "CC0-1.0")
    takes = hub.Input(kind, dtype, value_range=value_range, sample_rate=rate)
    outputs = hub.Outputs(128, "pooled", "tokens", "mask")
    assert contract == hub.Contract(modality, takes, outputs, True, "CC0-1.0")


def tower_of(shape, dtype, name, **outputs):
    inputs = keras.Input(shape, dtype=dtype, name=name)
    x = layers.Flatten(name="flat")(inputs) if dtype != "string" else inputs
    return keras.Model(inputs, {key: layers.Identity(name=key)(x) for key in outputs})


def test_what_a_tower_fixes_is_in_its_contract():
    contract = tower_contract(tower_of((32, 48, 3), "uint8", "image", pooled=1))
    assert contract.input.size == (32, 48) and contract.input.max_length is None
    assert contract.outputs == hub.Outputs(32 * 48 * 3, "pooled", None, None)
    assert contract.fine_tunable is False and contract.licence == ""
    contract = tower_contract(tower_of((16_000,), "float32", "audio", pooled=1))
    assert contract.input.max_length == 16_000 and contract.input.size is None
    assert tower_contract(tower_of((9,), "uint8", "text", pooled=1)).input.max_length == 9


@pytest.mark.parametrize(
    "shape, dtype, name, output, received",
    [
        ((None,), "float32", "speech", "pooled", r"\('speech', 'float32', 2\)"),
        ((4, 4, 3), "float32", "image", "pooled", r"\('image', 'float32', 4\)"),
        ((4, 4), "uint8", "text", "pooled", r"\('text', 'uint8', 3\)"),
        ((4,), "uint8", "text", "vector", r"\['vector'\]"),
    ],
)
def test_what_is_no_tower(shape, dtype, name, output, received):
    tower = tower_of(shape, dtype, name, **{output: 1})
    with pytest.raises(
        ValueError, match=f"Expected a tower with one input .*Received:.*{received}"
    ):
        tower_contract(tower)


def test_towers_have_one_input_and_named_outputs(model):
    with pytest.raises(ValueError, match="Expected a tower with one input"):
        tower_contract(model)
    inputs = keras.Input((3,), dtype="uint8", name="text")
    with pytest.raises(ValueError, match="an output 'pooled'. Received:"):
        tower_contract(keras.Model(inputs, layers.Flatten(name="pooled")(inputs)))


@pytest.mark.parametrize("modality", SAMPLES)
def test_published_at_the_command_line(model, archive, tmp_path, modality):
    (tmp_path / "card.md").write_text("# Ours: é\n", encoding="utf-8")
    done = mmzoo(
        "publish", archive, "--tower", modality, "--out", tmp_path / "m",
        "--card", tmp_path / "card.md", "--licence", "CC0-1.0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    tower, folder = find_tower(model, modality), tmp_path / "m"
    lines = {tuple(line.split(maxsplit=1)) for line in done.output.splitlines()}
    assert ("folder", str(folder)) in lines
    trainable = len(tower.trainable_weights)
    assert " values; reusable" in done.output
    assert len(tf.saved_model.load(str(folder)).trainable_variables) == trainable
    assert find_fault(folder) == ""
    assert (folder / "assets.extra/README.md").read_text(encoding="utf-8") == "# Ours: é\n"
    assert hub.read_contract(folder) == tower_contract(tower, "CC0-1.0")
    build = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}[modality]
    again = build(folder, trainable=True)
    assert len(again.trainable_weights) == trainable
    expected, found = (each(SAMPLES[modality], training=False) for each in (tower, again))
    for name in ("tokens", "mask", "pooled"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert "of any size" in mmzoo("info", folder).output or modality != "image"


def test_a_foreign_module_needs_trust(tmp_path):
    contract = hub.Contract(
        "text", hub.Input("string", "string"), hub.Outputs(512), fine_tunable=True
    )
    encoder = encoders.text(modules.sentence_encoder(tmp_path / "foreign"), contract=contract)
    text = keras.Input((), dtype="string", name="text")
    model = keras.Model(text, encoder(text)["pooled"])
    model.save(tmp_path / "model.keras")
    command = ("publish", tmp_path / "model.keras", "--tower", "text", "--out", tmp_path / "m")
    done = mmzoo(*command)
    assert done.exit_code != 0 and not (tmp_path / "m").exists()
    assert "a module is a program" in str(done.exception)
    done = mmzoo(*command, "--trust")
    assert done.exit_code == 0, done.output
    words = np.array(["red apple", "tree"], object)
    layer = hub.HubLayer(tmp_path / "m", output_key="pooled")
    expected = encoder(keras.ops.convert_to_tensor(words))["pooled"]
    np.testing.assert_array_equal(layer(keras.ops.convert_to_tensor(words)), expected)


def test_a_shipped_module_published_again_needs_no_trust(tmp_path):
    picture = keras.Input((None, None, 3), dtype="uint8", name="image")
    encoder = encoders.image("mmzoo/concept128-image/1", units=6)
    keras.Model(picture, encoder(picture)["pooled"]).save(tmp_path / "model.keras")
    done = mmzoo("publish", tmp_path / "model.keras", "--tower", "image", "--out", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert hub.read_contract(tmp_path / "m").outputs.units == 6
    again = encoders.image(tmp_path / "m", trainable=True)
    np.testing.assert_allclose(again(PICTURES)["pooled"], encoder(PICTURES)["pooled"], atol=1e-5)
    fine_tunable = [weight.path for weight in encoder.weights if "moving" not in weight.path]
    assert len(again.trainable_weights) == len(fine_tunable)


def test_out_that_holds_something_else(archive, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = mmzoo("publish", archive, "--tower", "text", "--out", tmp_path)
    assert done.exit_code != 0 and "which holds something else" in str(done.exception)
    assert (tmp_path / "mine.txt").read_text() == "precious"
