import itertools

import numpy as np
import pytest
import tensorflow as tf

from mmzoo.export.testing.layer_checks import check_layer, dtype_policy, randomize
from mmzoo.fusion import InteractiveAttention

UNITS = 5
WIDTHS = {"audio": 3, "image": 6, "text": 4}  # D_m
TOKENS = {"audio": 7, "image": 2, "text": 5}  # N_m
MODALITIES = [("text",), ("image", "text"), ("audio", "image", "text")]


def data(names, batch=3, seed=0):
    """Random tokens, and masks with holes in them; every sample keeps its first token."""
    rng = np.random.default_rng(seed)
    tokens = {
        m: rng.standard_normal((batch, TOKENS[m], WIDTHS[m])).astype("float32") for m in names
    }
    masks = {m: rng.random((batch, TOKENS[m])) < 0.6 for m in names}
    for mask in masks.values():
        mask[:, 0] = True
        mask[0, 1] = False
    return tokens, masks


def layer_for(tokens, masks, units=UNITS):
    layer = InteractiveAttention(units, name="attention")
    layer(tokens, masks)
    randomize(layer, 0.7)
    return layer


def reference(layer, tokens, masks):
    """The docstring's formula in float64, one token pair at a time."""
    weights = {w.name: w.numpy().astype("float64") for w in layer.weights}
    names, rows = sorted(tokens), []
    for sample in range(len(tokens[names[0]])):
        real = {m: tokens[m][sample][masks[m][sample]].astype("float64") for m in names}
        parts = [real[m].mean(0) if len(real[m]) else np.zeros(tokens[m].shape[-1]) for m in names]
        for a, b in itertools.permutations(names, 2):
            w1, w2, v = (weights[f"{a}_reads_{b}_{part}"] for part in ("w1", "w2", "v"))
            contexts = []
            for a_i in real[a]:
                score = [(np.tanh(a_i @ w1 + b_j @ w2) @ v).item() for b_j in real[b]]
                weight = np.exp(score) / np.exp(score).sum()
                contexts.append(
                    sum((w * b_j for w, b_j in zip(weight, real[b], strict=True)),
                        np.zeros(tokens[b].shape[-1]))
                )  # fmt: skip
            parts.append(np.mean(contexts, 0) if contexts else np.zeros(tokens[b].shape[-1]))
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def call_with_float_masks(layer, inputs):
    names = [name for name in inputs if not name.endswith("_mask")]
    masks = {name: inputs[f"{name}_mask"] > 0 for name in names}
    return layer({name: inputs[name] for name in names}, masks)


@pytest.mark.parametrize("names", MODALITIES)
def test_conformance(tmp_path, names):
    tokens, masks = data(names)
    inputs = {**tokens, **{f"{m}_mask": mask.astype("float32") for m, mask in masks.items()}}
    if len(names) > 1:
        inputs["text_mask"][2] = 0  # an empty modality, in every runtime
    pairs = list(itertools.permutations(names, 2))
    check_layer(
        lambda: InteractiveAttention(UNITS, name="attention"),
        call_with_float_masks,
        inputs=inputs,
        # W1, W2 and v of each ordered pair.
        num_weights=sum((WIDTHS[a] + WIDTHS[b] + 1) * UNITS for a, b in pairs),
        output_shape=(3, sum(WIDTHS[m] for m in names) + sum(WIDTHS[b] for _, b in pairs)),
        shapes={m: (None, WIDTHS[m]) for m in names} | {f"{m}_mask": (None,) for m in names},
        formats=("saved_model", "tflite", "onnx") if len(names) == 3 else (),
        folder=tmp_path,
    )


@pytest.mark.parametrize("names", MODALITIES)
def test_against_the_formula(names):
    tokens, masks = data(names, batch=6)
    masks["text"][3] = False
    for mask in masks.values():
        mask[4] = False
    masks["text"][5] = True
    layer = layer_for(tokens, masks)
    expected = reference(layer, tokens, masks)
    np.testing.assert_allclose(layer(tokens, masks), expected, rtol=1e-5, atol=1e-6)


def test_order_of_the_dictionaries_is_nothing():
    tokens, masks = data(MODALITIES[2])
    layer = layer_for(tokens, masks)
    turned = layer(dict(reversed(tokens.items())), masks)
    np.testing.assert_array_equal(turned, layer(tokens, masks))


@pytest.mark.parametrize("content", [0.0, -7.0, 1e4, 1e30, -3e38])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_masked_content_has_no_influence(modality, content):
    tokens, masks = data(("image", "text"))
    layer = layer_for(tokens, masks)
    gradients = []
    for fill in (None, content):
        filled = {m: value.copy() for m, value in tokens.items()}
        if fill is not None:
            filled[modality][~masks[modality]] = fill
        with tf.GradientTape() as tape:
            output = layer(filled, masks)
            loss = tf.reduce_sum(output**2)
        gradients.append([output, *tape.gradient(loss, [w.value for w in layer.weights])])
    assert not masks[modality].all()
    for actual, expected in zip(*reversed(gradients), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_unmasked_content_has_influence():
    tokens, masks = data(("image", "text"))
    layer = layer_for(tokens, masks)
    before = layer(tokens, masks).numpy()
    for modality in tokens:
        changed = {m: value.copy() for m, value in tokens.items()}
        changed[modality][:, 0] += 1.0  # never masked
        assert (np.abs(layer(changed, masks) - before).max(1) > 1e-3).all()


@pytest.mark.parametrize("modality", ["audio", "image", "text"])
def test_permuting_tokens_changes_nothing(modality):
    tokens, masks = data(MODALITIES[2])
    layer = layer_for(tokens, masks)
    expected = layer(tokens, masks)
    order = np.roll(np.arange(TOKENS[modality]), 1)
    tokens[modality], masks[modality] = tokens[modality][:, order], masks[modality][:, order]
    np.testing.assert_allclose(layer(tokens, masks), expected, rtol=1e-5, atol=1e-6)


def gradients_with_empty(names, empty):
    tokens, masks = data(names)
    for name in empty:
        masks[name][:] = False
    layer = layer_for(tokens, masks)
    variables = {m: tf.Variable(value) for m, value in tokens.items()}
    with tf.GradientTape() as tape:
        output = layer({m: tf.convert_to_tensor(v) for m, v in variables.items()}, masks)
        loss = tf.reduce_sum(tf.cast(output, "float32"))
    found = tape.gradient(loss, [*variables.values(), *(w.value for w in layer.weights)])
    labels = [*variables, *(w.name for w in layer.weights)]
    return output.numpy(), dict(zip(labels, found, strict=True))


@pytest.mark.parametrize("empty", [("text",), ("image",), ("image", "text")])
def test_empty_modality_gives_zeros(empty):
    """F = [mean image 6 | mean text 4 | image reads text 4 | text reads image 6]."""
    places = {"text": [slice(6, 10), slice(10, 14)], "image": [slice(0, 6), slice(14, 20)]}
    # Contexts of the other modality need a token that reads it.
    readers = {"text": slice(14, 20), "image": slice(10, 14)}
    output, gradients = gradients_with_empty(("image", "text"), empty)
    zero = np.zeros(20, bool)
    for name in empty:
        for place in [*places[name], readers[name]]:
            zero[place] = True
    assert (output[:, zero] == 0).all() and (output[:, ~zero] != 0).all()
    for label, gradient in gradients.items():
        assert np.isfinite(gradient).all(), label
    for name in empty:
        assert (gradients[name].numpy() == 0).all()


def test_empty_modality_has_finite_gradients_in_float16():
    with dtype_policy("mixed_float16"):
        output, gradients = gradients_with_empty(("image", "text"), ("text",))
    assert np.isfinite(output).all()
    for label, gradient in gradients.items():
        assert np.isfinite(gradient).all(), label


def test_masked_content_has_no_influence_in_float16():
    tokens, masks = data(("image", "text"))
    with dtype_policy("mixed_float16"):
        layer = layer_for(tokens, masks)
        expected = layer(tokens, masks)
        tokens["text"][~masks["text"]] = 1e30
        np.testing.assert_array_equal(layer(tokens, masks), expected)


@pytest.mark.parametrize("units", [0, -3, 2.5, "4", None])
def test_units_error(units):
    with pytest.raises(ValueError, match=r"`units` must be a positive int. Received: units="):
        InteractiveAttention(units)


def test_modalities_error():
    tokens, masks = data(("image", "text"))
    masks["audio"] = masks.pop("image")
    match = r"same modalities. Received: \['image', 'text'\] and \['audio', 'text'\]"
    with pytest.raises(ValueError, match=match):
        InteractiveAttention(2)(tokens, masks)


def test_rank_error():
    tokens, masks = data(("image", "text"))
    tokens["text"] = tokens["text"][:, 0]
    match = r"shape \(batch, tokens, width\) for every modality. Received: text of shape \(3, 4\)"
    with pytest.raises(ValueError, match=match):
        InteractiveAttention(2)(tokens, masks)


def test_each_head_is_a_layer_of_its_own_units():
    """A layer of two heads is two layers of half the units, side by side."""
    tokens, masks = data(("image", "text"))
    both = InteractiveAttention(6, num_heads=2, return_attention=True)
    both(tokens, masks)
    randomize(both, 0.7)
    vector, maps = both(tokens, masks)
    start = sum(WIDTHS[m] for m in tokens)
    found = np.split(np.asarray(vector)[:, start:], [8], axis=1)  # two heads read text, then image
    found = [np.split(part, 2, axis=1) for part in found]
    for head in range(2):
        one = InteractiveAttention(3, return_attention=True)
        one(tokens, masks)
        for whole, part in zip(both.weights, one.weights, strict=True):
            axis = 0 if whole.name.endswith("_v") else 1
            part.assign(np.split(whole.numpy(), 2, axis=axis)[head])
        expected, expected_maps = one(tokens, masks)
        actual = np.concatenate([pair[head] for pair in found], axis=1)
        np.testing.assert_allclose(actual, expected[:, start:], rtol=1e-5, atol=1e-6)
        for name, weights in expected_maps.items():
            np.testing.assert_allclose(maps[name][:, head], weights[:, 0], rtol=1e-5, atol=1e-6)


def test_maps_are_weights_over_real_tokens():
    tokens, masks = data(MODALITIES[2])
    layer = InteractiveAttention(4, num_heads=2, return_attention=True)
    vector, maps = layer(tokens, masks)
    assert sorted(maps) == sorted(f"{a}_reads_{b}" for a, b in itertools.permutations(tokens, 2))
    for name, weights in maps.items():
        a, b = name.split("_reads_")
        assert weights.shape == (3, 2, TOKENS[a], TOKENS[b])
        sums = np.asarray(weights).sum(-1)
        np.testing.assert_allclose(sums, np.repeat(masks[a][:, None], 2, 1), rtol=1e-5, atol=1e-6)
        hidden = np.broadcast_to(~masks[b][:, None, None], weights.shape)
        assert (np.asarray(weights)[hidden] == 0).all()
    # The vector is made of just these weights.
    context = np.einsum("bij,bjd->bid", maps["audio_reads_image"][:, 0], tokens["image"])
    mean = context.sum(1) / masks["audio"].sum(1)[:, None]
    first = sum(WIDTHS.values())
    np.testing.assert_allclose(vector[:, first : first + 6], mean, rtol=1e-5, atol=1e-6)


def test_heads_error():
    with pytest.raises(ValueError, match="multiple of `num_heads`. Received: units=5, num_heads=2"):
        InteractiveAttention(5, num_heads=2)
