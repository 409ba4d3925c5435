"""What a format can't carry is refused with its layer, or written another way."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mmzoo.export import export_bundle, to_onnx, to_tflite
from mmzoo.export.convert.unsupported_operators import explain_refusal, layer_of
from mmzoo.export.samples.samples import Samples

RNG = np.random.default_rng(0)
DATA = {
    "image": RNG.integers(0, 256, (20, 16, 16, 3)).astype("uint8"),
    "signal": RNG.standard_normal((20, 10, 4)).astype("float32"),
    "ids": RNG.integers(0, 50, (20, 3)).astype("int32"),
    "wide": RNG.standard_normal((20, 4)),
}


def model_of(name, function, shape):
    keras.utils.set_random_seed(0)
    given = keras.Input(shape, dtype=DATA[name].dtype.name, name=name)
    return keras.Model({name: given}, {"y": function(given)})


def of_image(*stack):
    return model_of("image", lambda x: _pooled(layers.Rescaling(1 / 255)(x), stack), (16, 16, 3))


def _pooled(x, stack):
    for layer in stack:
        x = layer(x)
    return layers.GlobalAveragePooling2D()(x)


def of_signal(function, length=None):
    return model_of("signal", function, (length, 4))


def of_ids(function):
    return model_of("ids", lambda x: ops.cast(function(x), "float32"), (3,))


def averaged(layer, **options):
    return of_signal(lambda x: layers.GlobalAveragePooling1D()(layer(x, **options)))


def resizing(**options):
    return of_image(layers.Resizing(12, 12, name="resize", **options))


REFUSED = {
    "area": ("tflite onnx", lambda: resizing(interpolation="area"), "ResizeArea.*'resize'.*biline"),
    "bicubic": ("tflite onnx", lambda: resizing(interpolation="bicubic"), "Bicubic.*'resize'"),
    "lanczos": ("tflite onnx", lambda: resizing(interpolation="lanczos3"), "ScaleAnd.*'resize'"),
    "antialias": ("tflite onnx", lambda: resizing(antialias=True), "ScaleAndTr.*antialias=False"),
    "hashing": (
        "tflite onnx", lambda: of_ids(layers.Hashing(7, name="hash")), "'hash'.*ids % bins",
    ),
    "lookup": (
        "tflite onnx",
        lambda: of_ids(layers.IntegerLookup(vocabulary=[3, 5, 7], name="lookup")),
        "'lookup'.*Gather from a table",
    ),
    "count": (
        "tflite",
        lambda: of_ids(layers.CategoryEncoding(50, output_mode="count", name="counts")),
        "DenseBincount.*'counts'.*one_hot",
    ),
    "buckets": (
        "onnx",
        lambda: of_signal(
            lambda x: ops.cast(layers.Discretization([0.0], name="bins")(x), "float32")
        ),
        "Bucketize.*'bins'.*boundaries",
    ),
    "spectrum": (
        "onnx",
        lambda: of_signal(lambda x: ops.mean(ops.abs(ops.rfft(x[:, :8, 0])[0]), 1, keepdims=True)),
        "RFFT.*LogMel",
    ),
    "recurrent": (
        "tflite", lambda: of_signal(layers.LSTM(5, name="memory")),
        "TensorListReserve.*'memory'.*unroll=True.*tflite-batch1",
    ),
    "bfloat16": (
        "tflite onnx",
        lambda: averaged(layers.Dense(5, dtype="bfloat16", name="half")),
        "MatMul in layer 'half'.*float32",
    ),
    "float16": (
        "tflite", lambda: averaged(layers.Dense(5, dtype="float16", name="half")), "tflite-float16",
    ),
    "float64": (
        "tflite",
        lambda: model_of("wide", layers.Dense(3, dtype="float64", name="wide_dense"), (4,)),
        "'wide_dense'.*float32",
    ),
    "erf": ("tflite", lambda: of_signal(lambda x: ops.mean(ops.erf(x), 1)), "Erf in .*ops.tanh"),
    "inverse": (
        "tflite onnx", lambda: of_signal(lambda x: ops.mean(ops.erfinv(ops.tanh(x)), 1)), "Erfinv",
    ),
    "loop": (
        "onnx",
        lambda: of_signal(Looped(name="looped"), 10),
        "(Gather|Concat) in layer 'looped'",
    ),
}  # fmt: skip
MENDED = {
    "grouped convolution": ("onnx tflite", lambda: of_image(
        layers.Conv2D(4, 3), layers.Conv2D(8, 3, groups=2, name="grouped"))),
    "exact gelu": ("onnx", lambda: averaged(layers.Dense(
        5, activation=lambda x: keras.activations.gelu(x, approximate=False)))),
    "causal attention": ("tflite onnx", lambda: of_signal(lambda x: layers.GlobalAveragePooling1D()(
        layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)))),
    "remainder": ("onnx", lambda: of_ids(lambda x: ops.mod(x - 25, 7))),
    "remainder of a negative": ("onnx", lambda: of_ids(lambda x: ops.mod(x - 25, -7))),
    "remainder of floats": ("onnx", lambda: of_signal(lambda x: ops.mod(ops.max(x, 1), 0.7))),
    "quotient": ("onnx", lambda: of_ids(lambda x: ops.floor_divide(x - 25, 7))),
    "quotient by a negative": ("onnx", lambda: of_ids(lambda x: ops.floor_divide(x - 25, -7))),
    "quotient of floats": ("onnx", lambda: of_signal(
        lambda x: ops.floor_divide(ops.max(x, 1), 0.7))),
    "new axes": ("tflite onnx", lambda: of_signal(NewAxes(name="axes"))),
}  # fmt: skip


@keras.saving.register_keras_serializable("test")
class Looped(layers.Layer):
    """What tf2onnx carries no part of, and logs."""

    def call(self, x):
        return ops.mean(ops.associative_scan(ops.add, x, axis=1), 1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[2])


@keras.saving.register_keras_serializable("test")
class NewAxes(layers.Layer):
    """Bools and floats sliced with new axes at every place."""

    def call(self, x):
        here = x > 0  # (batch, length, 4)
        masks = here[:, None] & here[:, None, :, :]  # (batch, 1, length, 4)
        masks = masks[..., None] & here[:, None, ..., None]  # (batch, 1, length, 4, 1)
        scaled = x[:, tf.newaxis, :, :, tf.newaxis] * ops.cast(masks, x.dtype)
        return ops.mean(scaled[:, 0, :, :, 0] + x[..., None, :][:, :, 0, :], 1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[2])


def cases(table):
    return [(name, format) for name, entry in table.items() for format in entry[0].split()]


def convert(format, model, path):
    name = model.inputs[0].name
    return {"tflite": to_tflite, "onnx": to_onnx}[format](
        model, path, samples=Samples({name: DATA[name]})
    )


@pytest.mark.parametrize("name, format", cases(REFUSED))
def test_what_a_format_lacks_is_refused_with_its_layer_and_a_way_out(tmp_path, name, format):
    _, build, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        convert(format, build(), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_it_is_refused_before_the_conversion(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.lite.TFLiteConverter, "convert", lambda self: 1 / 0)
    with pytest.raises(ValueError, match="ResizeArea in layer 'resize'"):
        convert("tflite", resizing(interpolation="area"), tmp_path / "file")


@pytest.mark.parametrize("name, format", cases(MENDED))
def test_what_can_be_written_another_way_is(tmp_path, name, format):
    _, build = MENDED[name]
    assert convert(format, build(), tmp_path / "file").stat().st_size > 0


def test_a_loop_of_fixed_batch_is_carried(tmp_path):
    model = of_signal(lambda x: layers.Dense(3)(layers.GRU(5, name="memory")(x)), 10)
    samples = Samples({"signal": DATA["signal"]})
    bundle = export_bundle(model, tmp_path / "b", formats=["tflite-batch1"], samples=samples)
    assert bundle.certificate["holds"]


def test_a_model_that_is_no_graph_is_refused(tmp_path):
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(
        layers.Rescaling(1 / 255)(image)
    )
    model = keras.Model({"image": image}, {"y": layers.GlobalAveragePooling2D()(x)})
    with pytest.raises(
        ValueError, match="runs as a graph.*Keras answered: .*Give that input a fixed"
    ):
        convert("onnx", model, tmp_path / "file")


def test_layers_are_found_inside_layers():
    inner = keras.Sequential([layers.Dense(4, name="dense"), layers.Dense(4, name="dense_2")])
    inner.name = "encoder"
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, {"y": layers.Dense(3, name="dense")(inner(x))}, name="whole")
    assert layer_of("whole_1/encoder_1/dense_1/MatMul", model) == "encoder/dense"
    assert layer_of("whole_1/encoder_1/dense_2_1/MatMul", model) == "encoder/dense_2"
    assert layer_of("PartitionedCall/whole_1/dense_1/Add", model) == "dense"
    assert layer_of("somewhere/else", model) == ""


def test_other_words_of_a_converter_are_passed_on():
    model = of_signal(lambda x: ops.mean(x, 1))
    said = explain_refusal("it is\n too late", model, "onnx")
    assert "converter to onnx" in said and "It said: it is too late" in said
