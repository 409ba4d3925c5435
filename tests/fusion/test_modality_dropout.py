import keras
import numpy as np
import pytest

from mmzoo.export.conformance import check_layer
from mmzoo.fusion import ModalityDropout

NAMES = ("audio", "image", "text")
SAMPLES = 20_000


def masks_of(names=NAMES, batch=SAMPLES, tokens=2):
    return {m: np.ones((batch, tokens + k), bool) for k, m in enumerate(names)}


def drawn(layer, masks):
    """Bool `(samples, modalities)`: what a training call kept. Whole modalities only."""
    output = layer(masks, training=True)
    kept = []
    for name in sorted(masks):
        mask = output[name].numpy()
        assert mask.dtype == bool and mask.shape == masks[name].shape
        assert (mask == mask[:, :1]).all()
        kept.append(mask[:, 0])
    return np.stack(kept, 1)


def call_with_float_masks(layer, inputs):
    """Masks come in and go out as numbers: not every runtime can return a bool input."""
    masks = layer({name: value > 0 for name, value in inputs.items()})
    return {name: keras.ops.cast(mask, layer.compute_dtype) for name, mask in masks.items()}


def test_conformance(tmp_path):
    rng = np.random.default_rng(0)
    inputs = {m: rng.integers(0, 2, (3, 2 + k)).astype("float32") for k, m in enumerate(NAMES)}
    check_layer(
        lambda: ModalityDropout(0.4, seed=3, name="dropout"),
        call_with_float_masks,
        inputs=inputs,
        num_weights=0,
        output_shape=[(3, 2), (3, 3), (3, 4)],
        folder=tmp_path,
    )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("names", [NAMES[:2], NAMES])
def test_rates(rate, names):
    """P(dropped) = rate - rate ** M: where all M would go, all stay."""
    kept = drawn(ModalityDropout(rate, seed=1), masks_of(names))
    assert kept.any(axis=1).all()
    expected = rate - rate ** len(names)
    error = 5 * np.sqrt(expected * (1 - expected) / SAMPLES)  # five standard deviations
    np.testing.assert_allclose(1 - kept.mean(0), expected, rtol=0, atol=error)


def test_modalities_and_samples_are_independent():
    """P(two kept at once), of three: (1 - r) ** 2, and all three where all would go."""
    rate = 0.5
    kept = drawn(ModalityDropout(rate, seed=1), masks_of())
    expected = (1 - rate) ** 2 + rate**3
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert abs((kept[:, a] & kept[:, b]).mean() - expected) < 0.018
    # Eight patterns less "none", each with 1/8, "all" with 2/8; also from row to row.
    codes = kept @ [1, 2, 4]
    share = np.bincount(codes, minlength=8) / SAMPLES
    np.testing.assert_allclose(share, [0, *[1 / 8] * 6, 2 / 8], atol=0.018)
    same = (codes[1:] == codes[:-1]).mean()
    assert abs(same - (share**2).sum()) < 0.02


def test_unchanged_outside_training():
    masks = masks_of(batch=50)
    masks["text"][::2, 0] = False
    layer = ModalityDropout(0.9, seed=1)
    for output in (layer(masks), layer(masks, training=False)):
        for name, mask in masks.items():
            np.testing.assert_array_equal(output[name], mask)


@pytest.mark.parametrize("rate, names", [(0, NAMES), (0.9, ("text",))])
def test_unchanged_at_rate_zero_and_with_one_modality(rate, names):
    assert drawn(ModalityDropout(rate, seed=1), masks_of(names, 200)).all()


def test_masked_tokens_stay_masked():
    masks = masks_of(batch=500)
    masks["text"][:, 1] = False
    masks["audio"][:250] = False
    output = ModalityDropout(0.3, seed=1)(masks, training=True)
    for name, mask in masks.items():
        assert not (output[name].numpy() & ~mask).any()
        assert output[name].numpy().any()


def test_seed():
    first, again, other = (
        drawn(ModalityDropout(0.5, seed=s), masks_of(batch=200)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    layer = ModalityDropout(0.5, seed=1)
    assert (drawn(layer, masks_of(batch=200)) != drawn(layer, masks_of(batch=200))).any()
    clone = ModalityDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(drawn(clone, masks_of(batch=200)), first)


def test_training_reaches_it_through_a_model():
    inputs = {m: keras.Input((2 + k,), name=m) for k, m in enumerate(NAMES)}
    masks = ModalityDropout(0.5, seed=1)({m: x > 0 for m, x in inputs.items()})
    model = keras.Model(inputs, {m: keras.ops.cast(x, "int32") for m, x in masks.items()})
    ones = {m: np.ones((100, 2 + k), "float32") for k, m in enumerate(NAMES)}
    assert all(value.numpy().all() for value in model(ones).values())
    assert not all(value.numpy().all() for value in model(ones, training=True).values())


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_rate_error(rate):
    with pytest.raises(ValueError, match=rf"`rate` must be in \[0, 1\). Received: rate={rate}"):
        ModalityDropout(rate)
