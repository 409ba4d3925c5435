"""What the attention layers say of who read whom, with `return_attention=True`."""

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
    WIDTHS,
    data,
    random_layer,
)

from mmzoo.export.testing.fusion_checks import call_layer, make_inputs
from mmzoo.export.testing.layer_checks import FORMATS, check_layer

PAIR = {"image", "text"}
LABELS = [f"layer_{k}_" for k in range(LAYERS)]
# What of each layer reads what, at once: the rows over these keys sum to 1.
READS = {
    "TokenTransformer": {
        **{("layer_0_", a): {"summary", *PAIR} for a in ("summary", *PAIR)},
        ("layer_1_", "summary"): {"summary", *PAIR},
    },
    "CrossAttention": {("", "image"): {"text"}, ("", "text"): {"image"}},
    "CoAttention": {(k, a, b): {b} for k in LABELS for a in PAIR for b in PAIR},
    "BottleneckFusion": {
        **{(k, a): {a, "bottleneck"} for k in LABELS for a in PAIR},
        **{("layer_0_", f"{a}_bottleneck"): {a, "bottleneck"} for a in PAIR},
    },
    "PerceiverResampler": {(k, "latent"): {"latent", *PAIR} for k in LABELS},
    "MultimodalTransformer": {(k, a, b): {b} for k in LABELS for a in PAIR for b in PAIR},
}
SIZES = {"summary": 1, "bottleneck": OWN, "latent": OWN, **TOKENS}


@pytest.mark.parametrize("name", LAYER)
def test_maps_of_two_modalities(name):
    tokens, masks = data(("image", "text"))
    layer = random_layer(LAYER[name], tokens, masks, return_attention=True)
    result, maps = layer(tokens, masks)
    plain = LAYER[name]()
    plain(tokens, masks)
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(result, plain(tokens, masks))

    expected = {}
    for (label, a, *_), keys in READS[name].items():
        expected |= {f"{label}{a}_reads_{b}": (label, a, b) for b in keys}
    assert set(maps) == set(expected)
    real = {own: np.ones((3, OWN), bool) for own in ("bottleneck", "latent")}
    real |= {"summary": np.ones((3, 1), bool), **masks}
    for key, (_, a, b) in expected.items():
        a = "bottleneck" if a.endswith("_bottleneck") else a
        assert maps[key].shape == (3, HEADS, SIZES[a], SIZES[b]), key
        read = real[a][:, None, :, None] & real[b][:, None, None, :]
        np.testing.assert_array_equal(maps[key].numpy() > 0, read | np.zeros_like(maps[key], bool))
    for (label, a, *_), keys in READS[name].items():
        total = sum(maps[f"{label}{a}_reads_{b}"].numpy().sum(-1) for b in keys)
        mask = real["bottleneck" if a.endswith("_bottleneck") else a]
        np.testing.assert_allclose(total, mask[:, None] * np.ones((1, HEADS, 1)), atol=1e-6)


def test_a_map_holds_the_softmax_of_its_formula():
    tokens, masks = data(MODALITIES[2])
    layer = random_layer(LAYER["CrossAttention"], tokens, masks, return_attention=True)
    _, maps = layer(tokens, masks)
    w = {x.path.partition("/")[2]: x.numpy().astype("float64") for x in layer.weights}

    def normed(m, sample):
        x = tokens[m][sample] @ w[f"{m}_projection/kernel"] + w[f"{m}_projection/bias"]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * w["image_reads/norm/gamma"] + w["image_reads/norm/beta"]

    query, key = (w[f"image_reads/attention/{part}/kernel"] for part in ("query", "key"))
    for sample, head in np.ndindex(3, HEADS):
        exps = {}
        for b in ("audio", "text"):
            scores = normed("image", sample) @ query[:, head] @ (normed(b, sample) @ key[:, head]).T
            exps[b] = np.exp(scores / np.sqrt(UNITS / HEADS)) * masks[b][sample]
        total = sum(e.sum(-1, keepdims=True) for e in exps.values())
        for b, e in exps.items():
            expected = e / total * masks["image"][sample][:, None]
            actual = maps[f"image_reads_{b}"][sample, head]
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_names_of_three_modalities():
    tokens, masks = data(MODALITIES[2])
    _, maps = LAYER["CrossAttention"](return_attention=True)(tokens, masks)
    pairs = {(a, b) for a in tokens for b in tokens if a != b}
    assert set(maps) == {f"{a}_reads_{b}" for a, b in pairs}
    for a, b in pairs:
        assert maps[f"{a}_reads_{b}"].shape == (3, HEADS, TOKENS[a], TOKENS[b])


def test_nothing_real_to_read_is_a_map_of_zeros():
    tokens, masks = data(("image", "text"))
    masks["text"][:] = False
    for name in ("CrossAttention", "CoAttention", "MultimodalTransformer"):
        _, maps = random_layer(LAYER[name], tokens, masks, return_attention=True)(tokens, masks)
        found = [x for key, x in maps.items() if key.endswith("image_reads_text")]
        assert found and all((x.numpy() == 0).all() for x in found)


def test_shapes_are_known_before_the_first_call():
    layer = LAYER["PerceiverResampler"](return_attention=True)
    for number in (5, None):
        shapes = {"image": (None, 16, 6), "text": (None, number, 4)}
        result, maps = layer.compute_output_shape(shapes)
        assert result == (None, OWN, UNITS)
        assert maps["layer_1_latent_reads_text"] == (None, HEADS, OWN, number)


@pytest.mark.parametrize("name", LAYER)
def test_layers_with_maps(tmp_path, name):
    make = ONE_LAYER[name] if name in ("CoAttention", "MultimodalTransformer") else LAYER[name]
    widths = {m: WIDTHS[m] for m in ("image", "text")}
    check_layer(
        lambda: make(name="fusion", return_attention=True),
        call_layer,
        inputs=make_inputs("tokens", widths),
        shapes={m: (None, widths[m]) for m in widths} | {f"{m}_mask": (None,) for m in widths},
        # One function makes all maps; here of queries and of keys of two kinds.
        formats=FORMATS if name == "BottleneckFusion" else (),
        folder=tmp_path,
    )
