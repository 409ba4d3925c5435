"""What each intermediate fusion layer is for, beyond its formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_intermediate_fusion import MAKE

from mmzoo.export.testing.fusion_checks import WIDTHS, call_layer, make_inputs
from mmzoo.export.testing.layer_checks import POLICIES, check_gradients, dtype_policy, randomize
from mmzoo.fusion.bilinear_pooling import BilinearPooling
from mmzoo.fusion.feature_modulation import FeatureModulation
from mmzoo.fusion.gated_fusion import GatedFusion
from mmzoo.fusion.low_rank_fusion import LowRankFusion
from mmzoo.fusion.multiplicative_interaction import MultiplicativeInteraction
from mmzoo.fusion.tensor_fusion import TensorFusion

SIGNS = {"a": np.float32([[-1], [-1], [1], [1]]), "b": np.float32([[-1], [1], [-1], [1]])}
SAME_SIGN = np.float32([[1], [-1], [-1], [1]])  # exclusive or, which no sum of two terms is


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)


def built(layer, inputs):
    call_layer(layer, inputs)
    randomize(layer, 0.5)
    return layer


def named(layer):
    return {weight.name: weight for weight in layer.weights}


@pytest.mark.parametrize("name", MAKE)
def test_every_weight_trains_from_its_first_value(name):
    inputs = make_inputs("vectors", WIDTHS)
    layer = MAKE[name]()
    call_layer(layer, inputs)
    check_gradients(layer.trainable_weights, lambda: call_layer(layer, inputs))


@pytest.mark.parametrize("name", MAKE)
def test_an_empty_batch_stays_one(name):
    inputs = make_inputs("vectors", WIDTHS)
    layer = MAKE[name]()
    width = call_layer(layer, inputs).shape[1]
    assert call_layer(layer, {k: v[:0] for k, v in inputs.items()}).shape == (0, width)


@pytest.mark.parametrize(
    "make",
    [lambda: FeatureModulation(64), lambda: LowRankFusion(64, 1), lambda: LowRankFusion(64, 8)],
)
def test_a_product_of_many_neither_vanishes_nor_explodes(make):
    """By the median too: a mean square of 1 may hide that nearly everything is 0."""
    rng = np.random.default_rng(0)
    vectors = {f"m{k}": rng.standard_normal((64, 32)).astype("float32") for k in range(16)}
    y = np.asarray(make()(vectors))
    assert 0.3 < np.median(np.abs(y)) < 2
    assert 0.5 < np.sqrt((y**2).mean()) < 3
    assert y.std(0).mean() > 0.5, "samples must differ"


# --- gates


def test_an_absent_modality_has_gate_zero():
    inputs = make_inputs("vectors", WIDTHS) | {"audio_present": np.zeros(3, "float32")}
    inputs |= {"image_present": np.ones(3, "float32"), "text_present": np.float32([1, 1, 0])}
    layer = built(GatedFusion(4), inputs)
    before = call_layer(layer, inputs).numpy()
    weights = named(layer)
    weights["audio_bias"].assign_add([9.0, -9.0, 9.0, -9.0])  # what audio would add
    np.testing.assert_array_equal(call_layer(layer, inputs), before)
    # Alone, image has gate 1; beside text it shares, and the gate reads that audio is absent.
    h = np.tanh(inputs["image"] @ weights["image_kernel"] + weights["image_bias"])
    np.testing.assert_allclose(before[2], h[2], rtol=1e-5)
    assert (np.abs(before[:2] - h[:2]) > 1e-3).any()
    weights["audio_absent"].assign_add([1.0, 1.0, 1.0])
    after = call_layer(layer, inputs).numpy()
    assert (np.abs(after[:2] - before[:2]) > 1e-4).any(axis=1).all()
    np.testing.assert_allclose(after[2], h[2], rtol=1e-5)


def test_with_everything_absent_the_learned_vectors_are_fused():
    inputs = make_inputs("vectors", WIDTHS)
    layer = built(GatedFusion(4), inputs)
    gone = inputs | {f"{m}_present": np.zeros(3, "float32") for m in WIDTHS}
    here = {m: np.tile(named(layer)[f"{m}_absent"].numpy(), (3, 1)) for m in WIDTHS}
    here |= {f"{m}_present": np.ones(3, "float32") for m in WIDTHS}
    np.testing.assert_allclose(call_layer(layer, gone), call_layer(layer, here), rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", *POLICIES])
def test_scores_may_be_far_apart(policy):
    """The absent one's score is far above all others, and theirs far from each other."""
    inputs = make_inputs("vectors", WIDTHS) | {"audio_present": np.zeros(3, "float32")}
    inputs |= {"image_present": np.ones(3, "float32"), "text_present": np.ones(3, "float32")}
    with dtype_policy(policy):
        layer = built(GatedFusion(2), inputs)
        weights = named(layer)
        weights["gate_bias"].assign([3e4, 3e4, -3e4, -3e4, -2e4, -3e4 - 2e3])
        with tf.GradientTape() as tape:
            y = call_layer(layer, inputs)
            loss = tf.reduce_sum(tf.cast(y, "float32"))
    image, text = (
        np.tanh(inputs[m] @ weights[f"{m}_kernel"] + weights[f"{m}_bias"])
        for m in ("image", "text")
    )
    expected = np.stack([text[:, 0], image[:, 1]], axis=1)  # the winners take all
    np.testing.assert_allclose(
        np.asarray(y, "float32"), expected, atol=1e-5 if policy == "float32" else 0.02
    )
    for gradient in tape.gradient(loss, [w.value for w in layer.weights]):
        assert np.isfinite(gradient).all()


# --- products


def test_modulation_is_affine_in_the_main_modality_and_no_sum():
    inputs = {m: v for m, v in make_inputs("vectors", WIDTHS).items() if m in WIDTHS}
    layer = built(FeatureModulation(4, main="image"), inputs)

    def at(image, text):
        return np.asarray(layer(inputs | {"image": image, "text": text}))

    x, z = inputs["image"], inputs["text"]
    zero_x, zero_z = np.zeros_like(x), np.zeros_like(z)
    np.testing.assert_allclose(at(3 * x, z) + 2 * at(zero_x, z), 3 * at(x, z), rtol=1e-4, atol=1e-5)
    together = at(x, z) - at(x, zero_z) - at(zero_x, z) + at(zero_x, zero_z)
    assert (np.abs(together).max(axis=1) > 1e-2).all()


def test_outer_product_holds_each_modality_alone():
    x, z = np.float32([[2, 3]]), np.float32([[5, 7, 11]])
    table = np.reshape(TensorFusion()({"b": z, "a": x}), (3, 4))
    np.testing.assert_array_equal(table, np.outer([2, 3, 1], [5, 7, 11, 1]))


def test_low_rank_is_the_full_contraction():
    inputs = {m: v for m, v in make_inputs("vectors", WIDTHS).items() if m in WIDTHS}
    units, rank = 4, 3
    layer = built(LowRankFusion(units, rank), inputs)
    w = {name: weight.numpy().astype("float64") for name, weight in named(layer).items()}
    factors = [
        np.vstack([w[f"{m}_kernel"], w[f"{m}_bias"]]).reshape(-1, rank, units)
        for m in sorted(WIDTHS)
    ]  # [x; 1] -> (rank, units)
    full = np.einsum("r,iru,jru,kru->ijku", w["rank_weights"][:, 0], *factors)
    assert np.linalg.matrix_rank(full[..., 0].reshape(len(full), -1)) == rank
    expected = np.asarray(TensorFusion()(inputs)) @ full.reshape(-1, units) + w["bias"]
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-5, atol=1e-6)


def test_exclusive_or_is_one_bilinear_weight():
    layer = MultiplicativeInteraction(1)
    layer(SIGNS)
    for weight in layer.weights:
        weight.assign(np.full(weight.shape, float(weight.name == "a_b_kernel")))
    np.testing.assert_array_equal(layer(SIGNS), SAME_SIGN)


def test_pairs_with_confusable_names_keep_their_weights():
    """a with b_c, and a_b with c, are both "a_b_c"."""
    widths = {"a": 2, "a_b": 3, "b_c": 4, "c": 5}
    vectors = {m: np.ones((2, width), "float32") for m, width in widths.items()}
    layer = MultiplicativeInteraction(3)
    layer(vectors)
    assert len(layer.weights) == 6 + 4 + 1
    check_gradients(layer.trainable_weights, lambda: layer(vectors))


# --- pooling


def test_pooled_vectors_have_length_one_and_forget_scale():
    inputs = {m: v for m, v in make_inputs("vectors", WIDTHS).items() if m in WIDTHS}
    layer = BilinearPooling(16, 3)
    y, larger = (  # biases start at 0
        np.asarray(layer({m: scale * v for m, v in inputs.items()})) for scale in (10, 20)
    )
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(larger, y, atol=1e-4)


def test_pooled_sign_is_exclusive_or():
    layer = BilinearPooling(1, 1)
    layer(SIGNS)
    for weight in layer.weights:
        weight.assign(np.full(weight.shape, float(weight.name.endswith("kernel"))))
    np.testing.assert_allclose(layer(SIGNS), SAME_SIGN, rtol=1e-5)


@pytest.mark.parametrize("empty", [("image",), ("image", "text")])
@pytest.mark.parametrize("policy", ["float32", *POLICIES])
def test_zeros_have_finite_gradients(policy, empty):
    """Where all products are 0, the slope of root and length is the steepest."""
    inputs = {m: v for m, v in make_inputs("vectors", WIDTHS).items() if m in WIDTHS}
    with dtype_policy(policy):
        layer = BilinearPooling(16, 3)
        layer(inputs)
        tensors = {m: tf.constant(np.zeros_like(v) if m in empty else v)
                   for m, v in inputs.items()}  # fmt: skip
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = layer(tensors)
            loss = tf.reduce_sum(tf.cast(y, "float32"))
    assert (np.asarray(y, "float32") == 0).all()
    wanted = [*tensors.values(), *(w.value for w in layer.weights)]
    gradients = [np.asarray(g, "float32") for g in tape.gradient(loss, wanted)]
    assert all(np.isfinite(g).all() for g in gradients)
    assert (np.abs(gradients[1]).max() > 1) == (len(empty) == 1), "image is steep, not dead"
    assert max(np.abs(g).max() for g in gradients) < 65504


def test_large_products_fit_float16():
    inputs = {m: 100 * v for m, v in make_inputs("vectors", WIDTHS).items() if m in WIDTHS}
    with dtype_policy("mixed_float16"):  # products of three are near 1e6
        y = np.asarray(BilinearPooling(16, 3)(inputs))
    assert y.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(y.astype("float32"), axis=1), 1, rtol=1e-2)
