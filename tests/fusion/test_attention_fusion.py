"""The attention layers against the contract of all fusion layers, and their formulas."""

import numpy as np
import pytest
from attention_formulas import (
    HEADS,
    LAYER,
    LAYERS,
    MODALITIES,
    ONE_LAYER,
    OWN,
    TOKENS,
    UNITS,
    data,
    random_layer,
    reference,
)
from quick import QUICK

from mmzoo.export.testing.fusion_checks import check_fusion
from mmzoo.export.testing.layer_checks import check_gradients, dtype_policy

OWN_TOKENS = {"TokenTransformer": "summary", "BottleneckFusion": "bottleneck",
              "PerceiverResampler": "latent"}  # fmt: skip


def block(units):
    """Attention has 4 matrices, the network 4 times the width; two norms and two biases."""
    return 4 * units**2 + 2 * 4 * units**2 + (2 + 2) * units + (4 + 1) * units


def inside(name, count, layers=LAYERS, units=UNITS):
    """Trainable parameters past the projections, for so many modalities."""
    norm, merged = 2 * units, max(count - 1, 1) * units
    return {
        "TokenTransformer": units + layers * block(units) + norm,
        "CrossAttention": count * (block(units) + norm),
        "CoAttention": layers * count**2 * block(units) + count * norm,
        "BottleneckFusion": OWN * units + count * (layers * block(units) + norm),
        "PerceiverResampler": OWN * units + layers * block(units) + norm,
        "MultimodalTransformer": count * (count - 1) * (layers * block(units) + norm)
        + count * (layers * block(merged) + 2 * merged),
    }[name]


@pytest.mark.parametrize("name", LAYER)
def test_contract(tmp_path, name):
    # A block a pair. Two such layers of width 4 round bfloat16 to 0.07 of scale, over its 0.05.
    large = name in ("CoAttention", "MultimodalTransformer")
    make, layers = (ONE_LAYER[name], 1) if large else (LAYER[name], LAYERS)
    check_fusion(
        lambda: make(name="fusion"),
        num_weights=lambda widths: (
            sum(width * UNITS + UNITS + width for width in widths.values())
            + inside(name, len(widths), layers)
        ),
        folder=tmp_path,
        formats=QUICK,
    )


@pytest.mark.parametrize("names", MODALITIES)
@pytest.mark.parametrize("name", LAYER)
def test_against_the_formula(name, names):
    tokens, masks = data(names, batch=5)
    masks["text"][3] = False
    for mask in masks.values():
        mask[4] = False
    layer = random_layer(LAYER[name], tokens, masks)
    expected = reference(name, layer, tokens, masks)
    np.testing.assert_allclose(layer(tokens, masks), expected, rtol=1e-5, atol=1e-5)
    check_gradients(layer.trainable_weights, lambda: layer(tokens, masks))


@pytest.mark.parametrize("name", LAYER)
def test_against_the_formula_with_absent_modalities(name):
    tokens, masks = data(MODALITIES[2], batch=8)
    here = [[bool(sample >> k & 1) for sample in range(8)] for k in range(3)]
    presence = {m: np.array(x) for m, x in zip(tokens, here, strict=True)}
    layer = random_layer(LAYER[name], tokens, masks, presence)
    expected = reference(name, layer, tokens, masks, presence)
    actual = layer(tokens, masks, presence)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYER)
def test_tokens_are_a_set(name):
    tokens, masks = data(MODALITIES[2])
    layer = random_layer(LAYER[name], tokens, masks)
    expected = layer(tokens, masks)
    for m in tokens:
        order = np.roll(np.arange(TOKENS[m]), 1)
        tokens[m], masks[m] = tokens[m][:, order], masks[m][:, order]
    np.testing.assert_allclose(layer(tokens, masks), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYER)
def test_padding_changes_nothing(name):
    tokens, masks = data(MODALITIES[2])
    layer = random_layer(LAYER[name], tokens, masks)
    expected = layer(tokens, masks)
    for m in tokens:
        tokens[m] = np.pad(tokens[m], [(0, 0), (0, 3), (0, 0)], constant_values=np.nan)
        masks[m] = np.pad(masks[m], [(0, 0), (0, 3)])
    np.testing.assert_allclose(layer(tokens, masks), expected, rtol=1e-5, atol=1e-5)


def felt(layer, tokens, masks, modality):
    """How much each value of a result moves with the first token of a modality."""
    changed = {m: x.copy() for m, x in tokens.items()}
    changed[modality][:, 0] += 1.0  # never masked
    return np.abs(layer(changed, masks) - layer(tokens, masks)).max(0)


@pytest.mark.parametrize("names", MODALITIES)
@pytest.mark.parametrize("name", LAYER)
def test_every_modality_is_felt_in_every_value(name, names):
    tokens, masks = data(names)
    layer = random_layer(LAYER[name], tokens, masks)
    for m in names:
        assert (felt(layer, tokens, masks, m) > 1e-4).all(), m


def test_a_bottleneck_lets_nothing_pass_in_its_first_layer():
    tokens, masks = data(MODALITIES[2])
    layer = random_layer(ONE_LAYER["BottleneckFusion"], tokens, masks)
    for k, m in enumerate(tokens):
        own = np.arange(12) // 4 == k
        change = felt(layer, tokens, masks, m)
        assert (change[own] > 1e-4).all() and (change[~own] == 0).all(), m


def test_absent_modalities_have_no_part_in_the_bottleneck():
    tokens, masks = data(MODALITIES[2])
    presence = {"audio": np.zeros(3, bool), "image": np.ones(3, bool), "text": np.ones(3, bool)}
    layer = random_layer(LAYER["BottleneckFusion"], tokens, masks, presence)
    before = layer(tokens, masks, presence).numpy()
    absent = next(w for w in layer.weights if w.name == "audio_absent")
    absent.assign(absent + 1.0)
    after = layer(tokens, masks, presence).numpy()
    assert (np.abs(after - before)[:, :UNITS] > 1e-4).any()  # its own part
    np.testing.assert_array_equal(after[:, UNITS:], before[:, UNITS:])


def test_each_learned_token_starts_as_another():
    tokens, masks = data(MODALITIES[2])
    layer = LAYER["PerceiverResampler"]()
    layer(tokens, masks)
    learned = [w.numpy() for w in layer.weights if w.name in ("latent", "bias")][:4]
    rows = np.concatenate([x.reshape(-1, UNITS) for x in learned])  # 3 embeddings, 3 latents
    assert len(rows) == 6 and len(np.unique(rows, axis=0)) == 6


@pytest.mark.parametrize("name", LAYER)
def test_large_tokens_are_finite_in_float16(name):
    tokens, masks = data(MODALITIES[2])
    masks["text"][:] = False
    tokens = {m: 100 * x for m, x in tokens.items()}
    with dtype_policy("mixed_float16"):
        layer = random_layer(LAYER[name], tokens, masks)
    half = layer(tokens, masks).numpy()
    assert half.dtype == "float16" and np.isfinite(half).all()
    expected = reference(name, layer, tokens, masks)
    assert np.abs(half - expected).max() < 0.05 * np.abs(expected).max()


def test_a_dtype_given_to_the_layer_reaches_all_of_it():
    tokens, masks = data(MODALITIES[1])
    for make in LAYER.values():
        layer = make(dtype="mixed_bfloat16")
        assert layer(tokens, masks).dtype == "bfloat16"
        parts = list(layer._flatten_layers())
        assert len(parts) > 10 and {part.compute_dtype for part in parts} == {"bfloat16"}


def type_of(name):
    return type(LAYER[name]())


@pytest.mark.parametrize("name", LAYER)
def test_number_errors(name):
    config = {k: v for k, v in LAYER[name]().get_config().items() if isinstance(v, int)}
    numbers = {k: v for k, v in config.items() if not isinstance(v, bool)}
    assert len(numbers) == 2 + (name != "CrossAttention") + (name in list(OWN_TOKENS)[1:])
    for argument in numbers:
        for value in (0, -1, 2.0, "2", True, None):
            match = f"`{argument}` must be a positive int. Received: {argument}={value!r}"
            with pytest.raises(ValueError, match=match):
                type_of(name)(**(numbers | {argument: value}))


@pytest.mark.parametrize("name", LAYER)
def test_heads_error(name):
    config = LAYER[name]().get_config() | {"units": 5}
    match = f"`units` must be a multiple of `num_heads`. Received: units=5, num_heads={HEADS}."
    with pytest.raises(ValueError, match=match):
        type_of(name)(**config)


@pytest.mark.parametrize("name", OWN_TOKENS)
def test_modality_name_error(name):
    tokens, _ = data(("image", "text"))
    own = OWN_TOKENS[name]
    match = f"no modality named '{own}': {name} has tokens of that name. Received: .*'text'"
    with pytest.raises(ValueError, match=match):
        LAYER[name]()({own: tokens["image"], "text": tokens["text"]})


@pytest.mark.parametrize("name", LAYER)
def test_rank_error(name):
    tokens, masks = data(("image", "text"))
    match = r"shape \(batch, tokens, width\) for every modality. Received: text of shape \(3, 4\)"
    with pytest.raises(ValueError, match=match):
        LAYER[name]()({"image": tokens["image"], "text": tokens["text"][:, 0]}, masks)
