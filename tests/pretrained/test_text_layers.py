import numpy as np
import pytest

from mmzoo.encoders.blocks import MaskedSum
from mmzoo.export.testing.layer_checks import check_layer
from mmzoo.pretrained.text_layers import PaddingMask, QuantizedEmbedding, UnitLength


def test_padding_mask(tmp_path):
    ids = np.array([[1, 0, 3, 0, 0], [0] * 5, [0, 0, 0, 0, 7]], "int32")
    expected = [[True, True, True, False, False], [False] * 5, [True] * 5]
    np.testing.assert_array_equal(PaddingMask()(ids), expected)
    check_layer(
        lambda: PaddingMask(name="mask"),
        lambda layer, x: layer(x["ids"]),
        inputs={"ids": ids},
        num_weights=0,
        output_shape=(3, 5),
        shapes={"ids": (None,)},
        folder=tmp_path,
    )


def test_quantized_embedding(tmp_path):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (11, 4), dtype="uint8")
    scale, offset = rng.random((2, 11, 1)).astype("float32")
    layer = QuantizedEmbedding(11, 4, name="embedding")
    ids = np.array([[0, 10, 3], [5, 5, 1], [2, 7, 9]], "int32")
    layer(ids)
    for weight, value in zip(layer.weights, (codes, scale, offset), strict=True):
        weight.assign(value)
    expected = (codes * scale + offset)[ids]
    np.testing.assert_allclose(layer(ids), expected, rtol=1e-5, atol=1e-6)
    assert layer.codes.dtype == "uint8"
    check_layer(
        lambda: QuantizedEmbedding(11, 4, name="embedding"),
        lambda layer, x: layer(x["ids"]),
        inputs={"ids": ids},
        num_weights=0,
        num_frozen=11 * 6,
        output_shape=(3, 3, 4),
        policies=(),  # its table stays bytes; the encoder's own test runs them
        folder=tmp_path,
    )


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_masked_sum(tmp_path, exponent):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((3, 6, 4)).astype("float32")
    mask = np.array([[1, 0, 1, 1, 0, 0], [0] * 6, [1] * 6], "float32")
    expected = np.zeros((3, 4))
    for row in (0, 2):
        kept = tokens[row][mask[row] > 0].astype("float64")
        expected[row] = kept.sum(0) / len(kept) ** exponent
    layer = MaskedSum(exponent)
    np.testing.assert_allclose(layer(tokens, mask > 0), expected, rtol=1e-5, atol=1e-6)
    check_layer(
        lambda: MaskedSum(exponent, name="sum"),
        lambda layer, x: layer(x["tokens"], x["mask"] > 0),
        inputs={"tokens": tokens, "mask": mask},
        num_weights=0,
        output_shape=(3, 4),
        shapes={"tokens": (None, 4), "mask": (None,)},
        folder=tmp_path,
    )


def test_unit_length(tmp_path):
    vectors = np.array([[3, -4, 0], [0, 0, 0], [1e3, 1e3, 0]], "float32")
    expected = [[0.6, -0.8, 0], [0, 0, 0], [0.5**0.5, 0.5**0.5, 0]]
    np.testing.assert_allclose(UnitLength()(vectors), expected, rtol=1e-5, atol=1e-6)
    check_layer(
        lambda: UnitLength(name="unit"),
        lambda layer, x: layer(x["vectors"]),
        inputs={"vectors": vectors},
        num_weights=0,
        output_shape=(3, 3),
        folder=tmp_path,
    )


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (True, 4), (4, 2.0)])
def test_sizes_of_an_embedding(sizes):
    name = "input_dim" if sizes[0] in (0, True) else "output_dim"
    with pytest.raises(ValueError, match=f"`{name}` must be a positive int. Received"):
        QuantizedEmbedding(*sizes)


@pytest.mark.parametrize("exponent", [-0.1, 1.1, float("nan")])
def test_exponent(exponent):
    with pytest.raises(ValueError, match=r"`exponent` must be in \[0, 1\]. Received"):
        MaskedSum(exponent)
