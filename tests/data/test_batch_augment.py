"""Augmentation by key: the same again, and what the papers say."""

import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data.augment.batches import mix_up, spec_augment

DRAW = np.random.default_rng(0)
MELS = DRAW.normal(size=(40, 50, 32)).astype("float32")
KEY = tf.constant([3, 7])


def hidden(made):
    return made != MELS


def test_the_same_key_gives_the_same_and_another_not():
    one, again, other = (spec_augment(MELS, k).numpy() for k in (KEY, KEY, KEY + [0, 100]))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    pairs = [mix_up(MELS, MELS[:, 0], k) for k in (KEY, KEY, KEY + [0, 100])]
    np.testing.assert_array_equal(pairs[0][0], pairs[1][0])
    assert (pairs[0][0].numpy() != pairs[2][0].numpy()).any()


def test_threads_change_nothing():
    def batches(threads):
        steps = tf.data.Dataset.range(20).map(
            lambda step: spec_augment(MELS[:4], tf.stack([0, 10 * tf.cast(step, tf.int32)])),
            num_parallel_calls=threads,
        )
        return np.stack(list(steps.as_numpy_iterator()))

    np.testing.assert_array_equal(batches(1), batches(8))


def test_what_is_hidden_are_whole_bands_of_at_most_the_width():
    made = spec_augment(MELS, KEY, frequency=6, time=9, masks=1).numpy()
    widths = set()
    for sample, before in zip(made, MELS, strict=True):
        gone = sample != before
        np.testing.assert_allclose(sample[gone], before.mean(), rtol=1e-4, atol=1e-6)
        frames, bins = gone.all(axis=1), gone.all(axis=0)
        assert (gone == (frames[:, None] | bins[None])).all()
        for band, widest in ((frames, 9), (bins, 6)):
            places = np.flatnonzero(band)
            assert len(places) <= widest and (np.diff(places) == 1).all()
            widths.add(len(places))
    assert {0, 6, 9} <= widths


def test_bands_reach_both_ends():
    made = np.concatenate([hidden(spec_augment(MELS, KEY + [0, 10 * k])) for k in range(6)])
    assert made[:, 0].any() and made[:, -1].any() and made[:, :, 0].any() and made[:, :, -1].any()


def test_nothing_to_hide_hides_nothing():
    np.testing.assert_array_equal(spec_augment(MELS, KEY, masks=0), MELS)
    np.testing.assert_array_equal(spec_augment(MELS, KEY, frequency=0, time=0), MELS)
    assert spec_augment(MELS[:, :3, :2], KEY).shape == (40, 3, 2)  # narrower than the bands


def test_mixed_samples_and_targets_have_the_same_share():
    images = DRAW.normal(size=(30, 4, 4, 3)).astype("float32")
    targets = np.eye(30, dtype="float32")
    mixed, labels = mix_up({"image": images, "audio": images[:, 0, 0]}, targets, KEY)
    labels = labels.numpy()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    own = np.diag(labels)
    assert (own >= 0.5 - 1e-6).all() and len(np.unique(own.round(4))) > 15
    np.testing.assert_allclose(
        mixed["image"], np.einsum("ij,jhwc->ihwc", labels, images), atol=1e-5
    )
    np.testing.assert_allclose(mixed["audio"], labels @ images[:, 0, 0], atol=1e-5)


def test_the_share_is_of_a_beta_distribution():
    targets = np.eye(2, dtype="float32")[np.arange(20_000) % 2]
    _, labels = mix_up(targets, targets, KEY, alpha=1.0)
    moved = np.abs(labels.numpy() - targets).max(axis=1)
    moved = moved[moved > 0]  # mixed with the other class: uniform from 0 to a half
    assert abs(moved.mean() - 0.25) < 0.01 and abs(moved.std() - 0.5 / 12**0.5) < 0.01


@pytest.mark.parametrize("options", [{"frequency": -1}, {"time": -1}, {"masks": -1}])
def test_negative_widths_are_refused(options):
    with pytest.raises(ValueError, match="must be 0 or more"):
        spec_augment(MELS, KEY, **options)


def test_what_can_not_be_mixed_is_refused():
    with pytest.raises(ValueError, match="`alpha` must be above 0"):
        mix_up(MELS, MELS, KEY, alpha=0)
    with pytest.raises(ValueError, match=r"Expected float tensors to mix. Received: int64"):
        mix_up(MELS, np.arange(40), KEY)
