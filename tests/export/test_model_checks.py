"""What a model itself gets wrong is not blamed on its artifacts."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo.export import export_bundle, to_onnx, to_saved_model
from mmzoo.export.samples import Samples
from mmzoo.export.towers import split_towers

SAMPLES = Samples({"x": np.random.default_rng(0).standard_normal((20, 6)).astype("float32")})


def model_of(function):
    x = keras.Input((6,), name="x")
    return keras.Model({"x": x}, {"y": function(x)})


@pytest.mark.parametrize(
    "function, words",
    [
        (ops.log, r"answers are finite. Received: NaN or infinity in output 'y' on 20 of 20"),
        (lambda x: x / ops.max(x), "does not depend on the others of its batch.*LogMel"),
        (lambda x: x - ops.mean(x, 0), "does not depend on the others of its batch"),
    ],
)
def test_a_model_that_no_artifact_could_be_true_to_is_refused(tmp_path, function, words):
    with pytest.raises(ValueError, match=words):
        to_onnx(model_of(function), tmp_path / "m.onnx", samples=SAMPLES)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_only_rounds_otherwise_is_not(tmp_path):
    model = model_of(lambda x: layers.LayerNormalization()(1e4 + x))
    assert to_onnx(model, tmp_path / "m.onnx", samples=SAMPLES, tolerance=1e-3).exists()


def test_layers_of_one_name_inside_and_outside_a_nested_model_make_no_head():
    """Looked into, the inner model would bring a second layer of the name."""

    def tower(name):
        given = keras.Input((6,), name=f"{name}_raw")
        return keras.Model(given, layers.Dense(4, name="wide")(given), name=f"{name}_encoder")

    def joined(inner):
        left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
        y = layers.Dense(3, name=inner)(layers.Concatenate(name="both")([left, right]))
        head = keras.Model({"left": left, "right": right}, {"y": y}, name="head")
        inputs = {name: keras.Input((6,), name=name) for name in ("x", "z")}
        made = head({"left": tower("x")(inputs["x"]), "right": tower("z")(inputs["z"])})["y"]
        return keras.Model(inputs, {"y": layers.Dense(2, name="last")(made)})

    assert split_towers(joined("last")) is None
    assert set(split_towers(joined("first")).encoders) == {"x", "z"}


def text_model(pooled):
    text = keras.Input((None,), dtype="uint8", name="text")
    tokens = layers.Embedding(256, 3)(text)
    return keras.Model({"text": text}, {"y": pooled(tokens, ops.not_equal(text, 0))})


TEXTS = Samples(
    {"text": np.array([[97 + k, 98, 99 * (k % 2), 0] for k in range(20)], "uint8")}
)  # of two lengths


def test_a_model_that_feels_padding_is_refused_where_texts_are_strings(tmp_path):
    model = text_model(lambda tokens, mask: layers.GlobalAveragePooling1D()(tokens))
    with pytest.raises(ValueError, match="does not feel how far 'text' is padded.*output 'y'"):
        to_saved_model(model, tmp_path / "m", samples=TEXTS)
    with pytest.raises(ValueError, match="does not feel how far 'text' is padded"):
        export_bundle(model, tmp_path / "bundle", formats=("saved_model", "onnx"), samples=TEXTS)
    assert list(tmp_path.iterdir()) == []
    path = to_saved_model(model, tmp_path / "m", samples=TEXTS, signatures=("portable",))
    assert path.exists()


def test_a_model_that_answers_nan_to_no_text_is_told_so(tmp_path):
    model = text_model(lambda tokens, mask: layers.GlobalAveragePooling1D()(tokens, mask=mask))
    with pytest.raises(ValueError, match=r"1 of 1 samples \(text empty\).*a mean over nothing"):
        to_onnx(model, tmp_path / "m.onnx", samples=TEXTS)


def test_a_model_that_masks_its_padding_is_exported(tmp_path):
    def total(tokens, mask):
        return ops.sum(ops.where(mask[..., None], tokens, 0.0), 1)

    assert to_saved_model(text_model(total), tmp_path / "m", samples=TEXTS).exists()
