"""Each operator at values where converters go wrong: what the files answer is what Keras answers.

One model holds them all, so that two exports and a few processes serve every case.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo.export.certify.reference_answers import predict
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.runtimes.process import run_artifact

LARGEST = np.finfo("float32").max
FLOATS = np.array(
    [
        [0, 0, 0, 0], [0, -0.0, 0, -1], [-0.0, 0, -1, -2], [95, 95, 95, 95], [-95, -95, -95, -95],
        [88.8, -88.8, 104, -104], [-20, -1e-4, 1e-5, 3e-8], [1e4, -1e4, 1e30, -1e30],
        [2e-38, 0, 0, 0], [3e-4, -2e-4, 1e-4, 0], [0.3, -1.7, 2.2, 0.9],
        [np.inf, -np.inf, np.nan, 1], [np.inf, np.inf, np.inf, np.inf], [-1, -0.0, -3, -0.0],
        [1e-20, -1e-20, 1, -2e-20], [1e-18, 1e-20, 3e-20, 0],
    ],
    "float32",
)  # fmt: skip
COUNT = len(FLOATS)
INTEGERS = np.resize([-1, 0, 4, 5, -5, -4, -6, 2**31 - 1, 1, 2, 3, -(2**31), 7], (COUNT, 4))
VALUES = {"x": FLOATS, "i": INTEGERS.astype("int32")}
of_floats = {
    "unit normalization": lambda x: layers.UnitNormalization()(x),
    "ops.normalize": lambda x: ops.normalize(x),
    "cosine similarity": lambda x: layers.Dot(1, normalize=True)([x, ops.flip(x, -1)]),
    "norm with epsilon": lambda x: (
        ops.clip(x, -1e15, 1e15)
        / ops.sqrt(ops.sum(ops.square(ops.clip(x, -1e15, 1e15)), -1, keepdims=True) + 1e-6)
    ),
    "rsqrt, then clamped": lambda x: ops.minimum(ops.rsqrt(ops.abs(x)), 1e3),
    "quotient by a root": lambda x: ops.minimum(1.0 / ops.sqrt(ops.abs(x)), 1e3),
    "NaN after exp": lambda x: ops.cast(ops.isnan(ops.exp(0.5 * x)), "int32"),
    "NaN and infinity after log": lambda x: ops.nan_to_num(
        ops.log(ops.abs(x)), nan=5.0, posinf=6.0, neginf=-9.0
    ),
    "softplus": lambda x: ops.softplus(x),
    "log of softplus": lambda x: ops.log(ops.softplus(ops.clip(x, -30, 30))),
    "log_sigmoid": lambda x: ops.log_sigmoid(x),
    "mish": lambda x: ops.multiply(x, ops.tanh(ops.softplus(x))),
    "logaddexp": lambda x: ops.logaddexp(ops.clip(x, -1e4, 1e4), 1.0),
    "log1p": lambda x: ops.log1p(ops.clip(x, -0.9, 1e9)),
    "expm1": lambda x: ops.expm1(ops.minimum(x, 80.0)),
    "logsumexp": lambda x: ops.logsumexp(x, -1),
    "log_softmax": lambda x: ops.log_softmax(x),
    "selu": lambda x: ops.selu(x),
    "celu": lambda x: ops.celu(x),
    "sigmoid": lambda x: ops.sigmoid(x),
    "layer normalization": lambda x: layers.LayerNormalization()(ops.clip(x, -1e4, 1e4)),
    "cross-entropy": lambda x: ops.binary_crossentropy(
        ops.sigmoid(x), ops.clip(x, -1e4, 1e4), from_logits=True
    ),
    "isinf": lambda x: ops.cast(ops.isinf(x), "int32"),
    "isfinite": lambda x: ops.cast(ops.isfinite(x), "int32"),
    "isnan": lambda x: ops.cast(ops.isnan(x), "int32"),
    "isposinf": lambda x: ops.cast(ops.isposinf(x), "int32"),
    "isneginf": lambda x: ops.cast(ops.isneginf(x), "int32"),
    "nan_to_num": lambda x: ops.nan_to_num(x, nan=7.0, posinf=8.0, neginf=9.0),
    "nan_to_num of a logarithm": lambda x: ops.nan_to_num(
        ops.log(ops.clip(ops.nan_to_num(x), 0, 1e30))
    ),
    "signbit": lambda x: ops.cast(ops.signbit(x), "int32"),
    "argmax": lambda x: ops.argmax(ops.nan_to_num(x), -1),
    "argmin": lambda x: ops.argmin(ops.nan_to_num(x), -1, keepdims=True),
    "equal": lambda x: ops.cast(ops.equal(x, ops.flip(x, -1)), "int32"),
    # Squares of 1e-20 are subnormal, which Keras takes for 0.
    "divide_no_nan": lambda x: ops.divide_no_nan(small(x), ops.square(small(x))),
    "divide_no_nan of one sign": lambda x: ops.divide_no_nan(1.0, -ops.square(small(x))),
    "sign": lambda x: ops.sign(x * ops.abs(x)),
    "above 0": lambda x: ops.cast(ops.square(small(x)) > 0, "int32"),
    "0 is below": lambda x: ops.cast(ops.less(0.0, ops.square(small(x))), "int32"),
    "other than 0": lambda x: ops.where(ops.square(small(x)) != 0, 1.0, 2.0),
    "count_nonzero": lambda x: ops.count_nonzero(ops.square(small(x)), -1),
    "logical_not": lambda x: ops.cast(ops.logical_not(ops.square(small(x))), "int32"),
    "cast to bool": lambda x: ops.cast(ops.cast(ops.square(small(x)), "bool"), "int32"),
    "any": lambda x: ops.cast(ops.any(ops.square(small(x)) >= 1e-37, -1), "int32"),
    "relu6 and hard_sigmoid": lambda x: ops.relu6(x) + ops.hard_sigmoid(x),
}


def small(x):
    return ops.clip(ops.nan_to_num(x), -9.0, 9.0)


of_integers = {
    "one_hot": lambda i: ops.one_hot(i, 5),
    "one_hot, axis 1": lambda i: ops.one_hot(i, 5, axis=1),
    "one_hot of integers": lambda i: ops.one_hot(i, 5, dtype="int32"),
    "one_hot of bools": lambda i: ops.cast(ops.one_hot(i, 5, dtype="bool"), "int32"),
    "one_hot of int64": lambda i: ops.one_hot(ops.cast(i, "int64"), 5),
    "one_hot of bytes": lambda i: ops.one_hot(ops.cast(ops.clip(i, 0, 9), "uint8"), 5),
    "multi_hot": lambda i: ops.multi_hot(i, 5),
}
CASES = [*of_floats, *of_integers]
READERS = {
    "tflite": write_tflite,
    "tflite without XNNPACK": write_tflite,
    "onnx": write_onnx,
    "onnx by OpenVINO": write_onnx,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    x, i = keras.Input((4,), name="x"), keras.Input((4,), dtype="int32", name="i")
    made = [of_floats[case](x) for case in of_floats]
    made += [of_integers[case](i) for case in of_integers]
    names = [f"case_{k}" for k in range(len(made))]
    model = keras.Model({"x": x, "i": i}, dict(zip(names, made, strict=True)))
    found = {"keras": predict(model, VALUES)}
    paths = {}
    for reader, write in READERS.items():
        if reader.endswith("OpenVINO"):
            pytest.importorskip("openvino", reason="OpenVINO is an extra")
        if write not in paths:
            paths[write] = write(model, tmp_path_factory.mktemp("edge") / "model")
        found[reader] = run_artifact(reader, paths[write], VALUES, [(3, COUNT)]).outputs[0]
    return {
        reader: dict(zip(CASES, (outputs[name] for name in names), strict=True))
        for reader, outputs in found.items()
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_keras(answers, case, reader):
    wanted, found = answers["keras"][case], answers[reader][case]
    assert found.shape == wanted.shape
    rows = np.ones(COUNT, bool)
    if wanted.dtype.kind == "f":
        rows = np.isfinite(wanted).reshape(COUNT, -1).all(1)
        assert rows.sum() >= 9  # of finite inputs Keras gives finite answers
    absolute = 1e-7
    if reader == "onnx by OpenVINO":
        absolute = 1e-4  # its own softplus is off by 4e-6 at -20
        rows &= case not in ("log of softplus", "NaN after exp")  # which is 0 there
    wrong = ~np.isclose(found, wanted, rtol=2e-5, atol=absolute).reshape(COUNT, -1).all(1) & rows
    assert not wrong.any(), (FLOATS[wrong], INTEGERS[wrong], found[wrong], wanted[wrong])


def test_float64_of_tflite_stays_as_it_is(tmp_path):
    """TFLite has a sign of float64, and nothing to compare it with 0."""
    x = keras.Input((3,), dtype="float64", name="x")
    model = keras.Model({"x": x}, {"y": ops.sign(x)})
    values = {"x": np.array([[1e-20, -2.0, 0.0]])}
    path = write_tflite(model, tmp_path / "model.tflite")
    [found] = run_artifact("tflite", path, values, [(1, 1)]).outputs
    assert found["y"].tolist() == [[1.0, -1.0, 0.0]]
