"""What a model itself gets wrong is not blamed on its artifacts."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo.export import export_bundle, to_onnx, to_saved_model, to_tflite
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.encoders import split_towers

SAMPLES = Samples({"x": np.random.default_rng(0).standard_normal((20, 6)).astype("float32")})


def model_of(function):
    x = keras.Input((6,), name="x")
    made = layers.Lambda(function, output_shape=lambda shape: (None, *shape[1:]))(x)
    return keras.Model({"x": x}, {"y": made})


NORMALIZE, DROP = layers.BatchNormalization(), layers.Dropout(0.5)
NORMALIZE.build((None, 6))


@pytest.mark.parametrize(
    "function, words",
    [
        (ops.log, r"answers are finite. Received: NaN or infinity in output 'y' on 20 of 20"),
        (lambda x: x / ops.max(x), "'y' of row .* changes with the other rows.*LogMel"),
        (lambda x: x - ops.mean(x, 0), "changes with the other rows of its batch"),
        (lambda x: NORMALIZE(x, training=True), "changes with the other rows"),
        (lambda x: ops.softmax(x, 0), "changes with the other rows"),
        (lambda x: ops.matmul(ops.softmax(x @ ops.transpose(x)), x), "changes with the other rows"),
        (lambda x: ops.cumsum(x, 0), "changes with the other rows"),
        (lambda x: x + 1e-4 * ops.mean(x, 0), "changes with the other rows"),  # below SAME
        (lambda x: x + ops.cast(ops.shape(x)[0] > 16, "float32"), "changes with the other rows"),
        (
            lambda x: x + ops.cast(ops.cumsum(ops.ones_like(x), 0) > 14, "float32"),
            "changes with the other rows",
        ),  # on later rows alone
        (
            lambda x: x + ops.relu(ops.max(ops.abs(x)) - 20.0),
            "of probe row .* changes with the other rows",
        ),  # beside huge rows alone
        (lambda x: ops.cast(x > ops.mean(x, 0), "int32"), "changes with the other rows"),
        (
            lambda x: DROP(x, training=True),
            r"'y' changes from one call to the next on the same inputs \(max difference",
        ),
        (lambda x: x + 1e-3 * keras.random.normal((6,)), "from one call to the next"),
        (lambda x: ops.reshape(x, (-1, 3)), "'y' has 40 rows for 20 samples"),
    ],
)
def test_a_model_that_no_artifact_could_be_true_to_is_refused(tmp_path, function, words):
    with pytest.raises(ValueError, match=words):
        to_onnx(model_of(function), tmp_path / "m.onnx", samples=SAMPLES)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_only_rounds_otherwise_is_not(tmp_path):
    x = keras.Input((6,), name="x")
    model = keras.Model({"x": x}, {"y": layers.LayerNormalization()(1e4 + x)})
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


@pytest.mark.parametrize("export", [to_onnx, to_saved_model, to_tflite, export_bundle])
def test_an_output_that_bears_the_name_of_an_input_is_named(tmp_path, export):
    x = keras.Input((6,), name="x")
    model = keras.Model({"x": x}, {"x": layers.Dense(2)(x), "y": layers.Dense(2)(x)})
    with pytest.raises(ValueError, match="Input and output share the name 'x': rename one"):
        export(model, tmp_path / "m", samples=SAMPLES)
    assert list(tmp_path.iterdir()) == []
