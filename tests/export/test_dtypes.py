"""Inputs and outputs of every dtype: carried by a format, or refused before it is written."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo.export import to_onnx, to_saved_model, to_tflite
from mmzoo.export.certify.comparison import compare
from mmzoo.export.convert.dtypes import INPUTS, NUMBERS, OUTPUTS
from mmzoo.export.deploy.phones import write_mobile
from mmzoo.io.dtypes import ONNX, TENSORFLOW

WRITERS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}


def model_of(taken, given):
    """Takes one tensor of each dtype, and gives one of each; all values are positive."""
    inputs = [keras.Input((3,), dtype=dtype, name=f"in_{dtype}") for dtype in sorted(taken)]
    x = layers.Concatenate()([ops.abs(ops.cast(each, "float32")) for each in inputs])
    weights = keras.initializers.Constant(0.02)
    y = layers.Dense(2, kernel_initializer=weights, bias_initializer="ones", name="dense")(x)
    outputs = {f"out_{dtype}": ops.cast(y, dtype) for dtype in sorted(given)}
    return keras.Model(inputs, outputs, name="dtypes")


@pytest.mark.parametrize("format", WRITERS)
def test_every_dtype_that_is_promised_is_written_and_answers(tmp_path, format):
    """The certificate compares names, dtypes, shapes and values, or nothing is written."""
    assert len(INPUTS[format] & NUMBERS) >= 11
    model = model_of(INPUTS[format] - {"string"}, OUTPUTS[format])
    assert WRITERS[format](model, tmp_path / "model").exists()


@pytest.mark.parametrize(
    "format, dtype, side, match",
    [
        ("tflite", "uint64", "input", "TFLite can't carry .*'x' of dtype uint64. Use int64"),
        ("tflite", "uint64", "output", "TFLite can't carry .*'y' of dtype uint64. Use int64"),
        ("tflite", "bfloat16", "input", "'x' of dtype bfloat16.*take and give float32"),
        ("onnx", "bfloat16", "output", "'y' of dtype bfloat16.*take and give float32"),
        ("saved_model", "bfloat16", "input", "'x' of dtype bfloat16.*take and give float32"),
        ("saved_model", "bfloat16", "output", "'y' of dtype bfloat16.*take and give float32"),
        ("saved_model", "complex64", "output", "'y' of dtype complex64. Cast it inside"),
        ("onnx", "complex64", "output", "'y' of dtype complex64. Cast it inside"),
        ("saved_model", "float8_e4m3fn", "input", "'x' of dtype float8_e4m3fn. Cast it"),
    ],
)
def test_others_are_refused_by_name_and_nothing_is_written(tmp_path, format, dtype, side, match):
    x = keras.Input((3,), dtype=dtype if side == "input" else "float32", name="x")
    y = ops.cast(layers.Dense(2)(ops.cast(x, "float32")), dtype if side == "output" else "float32")
    with pytest.raises(ValueError, match=match):
        WRITERS[format](keras.Model(x, {"y": y}), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_one_table_has_the_names_of_each_runtime():
    import tensorflow as tf

    for code, name in TENSORFLOW.items():
        assert tf.dtypes.as_dtype(code).name == ("bool" if name == "bool" else name)
    assert ONNX["tensor(float)"] == "float32" and ONNX["tensor(uint16)"] == "uint16"
    assert set(TENSORFLOW.values()) >= NUMBERS


def test_half_precision_may_differ_in_its_last_digit_and_no_more():
    expected = np.array([[1.0, 0.5]], "float16")
    last = np.nextafter(expected, np.float16(2), dtype="float16")
    assert compare(last, expected).holds
    assert not compare(last + np.float16(0.004), expected).holds


def test_code_for_phones_is_left_out_where_its_arrays_have_no_such_dtype(tmp_path):
    tensor = {"name": "x", "dtype": "int16", "shape": [None, 3]}
    manifest = {
        "inputs": [tensor], "outputs": [tensor | {"name": "y", "dtype": "float16"}],
        "formats": {"tflite": {"path": "tflite/model.tflite"}},
    }  # fmt: skip
    write_mobile(tmp_path, manifest)
    assert list(tmp_path.iterdir()) == []
