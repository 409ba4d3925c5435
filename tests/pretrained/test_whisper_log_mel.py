import numpy as np
import pytest

from mmzoo.export.testing.layer_checks import assert_near, check_layer
from mmzoo.pretrained.whisper_log_mel import WhisperLogMel


def noise(*shape, scale=0.1, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype("float32")


def mel_bank():
    """Slaney's, channel by channel: triangles between neighbours, of area 1 in Hz."""

    def hertz(mel):
        return mel * 200 / 3 if mel < 15 else 1_000 * np.exp((mel - 15) * np.log(6.4) / 27)

    # 8,000 Hz is mel 45.2456 in the table that Whisper was trained with.
    edges = [hertz(mel) for mel in np.linspace(0, 45.245640471924965, 82)]
    bank = np.zeros((201, 80))
    for channel, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        height = 2 / (high - low)
        bank[:, channel] = np.interp(np.arange(201) * 40.0, [low, middle, high], [0, height, 0])
    return bank


def reference(wave, seconds):
    """Whisper's features by NumPy's FFT in float64, and which tokens are heard.

    Frames of 400 samples each 160, centred, mirrored at both ends, periodic Hann window, the
    last frame dropped; `(max(log10(max(mel, 1e-10)), largest - 8) + 4) / 4`.
    """
    samples = round(16_000 * seconds)
    wave = np.pad(
        wave[:, :samples].astype("float64"), [[0, 0], [0, max(0, samples - wave.shape[1])]]
    )
    heard = (wave.reshape(len(wave), -1, 320) != 0).any(-1)
    mirrored = np.pad(wave, [[0, 0], [200, 200]], mode="reflect")
    frames = np.stack([mirrored[:, 160 * k : 160 * k + 400] for k in range(samples // 160 + 1)], 1)
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
    log_mel = np.log10(np.maximum(power[:, :-1] @ mel_bank(), 1e-10))
    log_mel = np.maximum(log_mel, log_mel.max((1, 2), keepdims=True) - 8)
    return (log_mel + 4) / 4, heard


def test_conformance(tmp_path):
    wave = noise(3, 1_500)
    wave[1, 700:] = 0
    check_layer(
        lambda: WhisperLogMel(0.08, name="log_mel"),
        lambda layer, inputs: layer(inputs["audio"]),
        inputs={"audio": wave},
        num_weights=0,
        num_frozen=400 * 402 + 201 * 80,
        output_shape=[(3, 8, 80), (3, 4)],
        shapes={"audio": (None,)},
        folder=tmp_path,
    )


@pytest.mark.parametrize("seconds", [0.1, 1, 2.5])
@pytest.mark.parametrize("time", [1, 399, 1_600, 20_000])
def test_against_numpy(seconds, time):
    wave = noise(4, time)
    wave[1, time // 2 :] = 0
    wave[2] = 0
    wave[3] *= np.float32(1e-3)
    actual, mask = WhisperLogMel(seconds)(wave)
    expected, heard = reference(wave, seconds)
    np.testing.assert_array_equal(mask, heard)
    # The logarithm of what is a 1e-8 of the loudest, summed in float32. Seen: 3e-6.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_against_keras_hub():
    keras_hub = pytest.importorskip(
        "keras_hub", reason="KerasHub is not installed: pip install -e '.[pretrained]'"
    )
    time = np.arange(48_000) / 16_000
    wave = noise(2, 48_000, scale=0.01) + 0.3 * np.sin(2 * np.pi * 800 * time * (1 + time / 5))
    wave = wave.astype("float32")
    expected = keras_hub.layers.WhisperAudioConverter()(wave)
    actual, mask = WhisperLogMel()(wave)
    assert actual.shape == (2, 3_000, 80) and mask.numpy().sum(1).tolist() == [150, 150]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_what_is_longer_is_cut():
    wave = noise(2, 5_000)
    layer = WhisperLogMel(0.2)
    for whole, cut in zip(layer(wave), layer(wave[:, :3_200]), strict=True):
        np.testing.assert_allclose(whole, cut, rtol=1e-5, atol=1e-6)


def test_normalised_sample_by_sample():
    wave = np.concatenate([noise(1, 3_200), noise(1, 3_200, scale=1e-5, seed=1)])
    both = WhisperLogMel(0.2)(wave)[0]
    alone = WhisperLogMel(0.2)(wave[1:])[0]
    assert_near(both[1:], alone, 1e-5)


@pytest.mark.parametrize(
    "seconds", [0, -1, 30.02, 0.01, 0.03, 1.005, 1e-9, None, "2", float("nan")]
)
def test_seconds_error(seconds):
    with pytest.raises(ValueError, match=r"`seconds` must be a multiple of 0.02 up to 30. Rec"):
        WhisperLogMel(seconds)


@pytest.mark.parametrize("seconds", [0.02, 0.58, 1.1, 4.34, 29.98, 30])
def test_seconds(seconds):
    assert WhisperLogMel(seconds)(noise(1, 10))[1].shape == (1, round(50 * seconds))


@pytest.mark.parametrize("shape", [(100,), (2, 100, 1)])
def test_rank_error(shape):
    with pytest.raises(ValueError, match=r"waveform of shape \(batch, time\). Received: input_s"):
        WhisperLogMel(1)(np.zeros(shape, "float32"))
