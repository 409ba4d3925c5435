"""Our audio operators against those of tensorflow-io, which another project wrote.

Its masks draw from the global random state, so a run that is interrupted could not go on with the
same batches: ours take a key. What both compute is the same.
"""

import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data.augment.batches import FADES, fade, faded, spec_augment
from mmzoo.preprocessing import LogMel

tfio = pytest.importorskip("tensorflow_io", reason="no wheel for this platform or Python")
RATE, FRAME, STEP, MELS = 16_000, 400, 160, 64


@pytest.mark.parametrize("mode", FADES)
def test_a_fade(mode):
    wave = np.random.default_rng(0).standard_normal(2_000).astype("float32")
    expected = tfio.audio.fade(wave, fade_in=300, fade_out=700, mode=mode)
    found = faded(wave[None], tf.constant([[300]]), tf.constant([[700]]), mode)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fades_of_a_batch_are_a_function_of_the_key():
    waves = tf.ones((50, 400))
    one, two, other = (fade(waves, tf.constant([k, 0]), longest=100) for k in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert np.any(one != other)
    assert np.all(one[:, 100:300] == 1) and np.all(one[:, 0] == 0) and np.all(one <= 1)
    begins = np.argmax(np.asarray(one) == 1, axis=1)
    assert len(set(begins)) > 20 and begins.max() < 100
    with pytest.raises(ValueError, match="`longest` must be a positive int.*longest=0"):
        fade(waves, tf.constant([0, 0]), longest=0)


def test_the_log_mel_spectrogram():
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(8_000) * np.linspace(0.01, 0.3, 8_000)).astype("float32")
    power = tfio.audio.spectrogram(wave, nfft=512, window=FRAME, stride=STEP) ** 2
    mel = tfio.audio.melscale(power, rate=RATE, mels=MELS, fmin=60, fmax=0.475 * RATE)
    window = tf.signal.hann_window(FRAME).numpy()
    log_mel = np.log(2 * RATE * np.asarray(mel) / np.sum(window**2) + 1e-4)
    expected = 0.5 * (log_mel - log_mel.mean(axis=0))
    found, heard = LogMel(RATE, FRAME, STEP, MELS)(wave[None])
    frames = 8_000 // STEP - FRAME // STEP  # those that lie in the sound with both
    assert np.all(heard[0, :frames])
    # Each subtracts the mean of its own frames: compare what differs from frame to frame. Keras'
    # Hann window is symmetric, that of tf.signal periodic.
    a, b = (np.asarray(each)[:frames] for each in (found[0], expected))
    np.testing.assert_allclose(a - a.mean(0), b - b.mean(0), atol=0.05)


def test_masks_are_bands_no_wider_than_asked_for():
    """Ours hide with the sample's mean, which means silence after normalisation too."""
    noise = np.random.default_rng(0).standard_normal((40, 30, 20)).astype("float32") + 5
    ours = np.asarray(spec_augment(noise, tf.constant([5, 0]), frequency=6, time=0, masks=1))
    theirs = [np.asarray(tfio.audio.freq_mask(each, param=7)) for each in noise]
    widths = {"ours": set(), "theirs": set()}
    for name, masked in (("ours", ours), ("theirs", theirs)):
        for before, after in zip(noise, masked, strict=True):
            gone = np.flatnonzero((before != after).all(axis=0))
            assert len(gone) <= 6 and np.all(np.diff(gone) == 1)
            np.testing.assert_array_equal(np.delete(after, gone, 1), np.delete(before, gone, 1))
            hidden = 0.0 if name == "theirs" else before.mean()
            np.testing.assert_allclose(after[:, gone], hidden, rtol=1e-5)
            widths[name].add(len(gone))
    assert widths["ours"] == widths["theirs"] == set(range(7))
