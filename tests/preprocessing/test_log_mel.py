import keras
import numpy as np
import pytest

from mmzoo.export.testing.layer_checks import HALF_TOLERANCE, assert_near, check_layer, dtype_policy
from mmzoo.preprocessing import LogMel

# A small bank that keeps a test fast: 64 points of the transform, 33 bins.
SMALL = dict(sample_rate=8_000, frame_length=50, frame_step=20, num_mels=6)


def noise(*shape, scale=0.1, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype("float32")


def mel_bank(num_mels, bins, sample_rate):
    """Triangles that are linear in mel (`1127 ln(1 + f / 700)`), without the DC bin."""
    mel = lambda hertz: 1127 * np.log1p(np.asarray(hertz) / 700)  # noqa: E731
    edges = np.linspace(mel(60), mel(0.475 * sample_rate), num_mels + 2)
    at = mel(np.linspace(0, sample_rate / 2, bins))[:, None]
    up = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(up, down))
    bank[0] = 0
    return bank


def reference(wave, sample_rate=16_000, frame_length=400, frame_step=160, num_mels=64):
    """By NumPy's FFT in float64: `0.5 * (log(S + 1e-4) - mean over heard frames)`.

    S: energy of a frame in a mel channel, one-sided, with `keras.layers.STFTSpectrogram`'s
    symmetric Hann window of unit energy ("density"), times the sample rate.
    """
    size = 1 << (frame_length - 1).bit_length()
    wave = np.pad(wave.astype("float64"), [[0, 0], [0, frame_length]])
    starts = range(0, wave.shape[1] - frame_length + 1, frame_step)
    frames = np.stack([wave[:, start : start + frame_length] for start in starts], 1)
    window = np.hanning(frame_length)
    spectrum = np.fft.rfft(frames * window / np.sqrt((window**2).sum()), size)
    power = np.abs(spectrum) ** 2
    power[..., 1:-1] *= 2  # one-sided
    energy = power @ mel_bank(num_mels, size // 2 + 1, sample_rate) * sample_rate
    heard = (frames != 0).any(-1)
    log_mel, rows = np.log(energy + 1e-4), []
    for row, keep in zip(log_mel, heard, strict=True):
        mean = row[keep].mean(0) if keep.any() else 0
        rows.append(np.where(keep[:, None], 0.5 * (row - mean), 0))
    return np.stack(rows), heard


def test_conformance(tmp_path):
    wave = noise(3, 130)
    wave[1, 70:] = 0
    wave[2] = 0
    check_layer(
        lambda: LogMel(**SMALL, name="log_mel"),
        lambda layer, inputs: layer(inputs["audio"]),
        inputs={"audio": wave},
        num_weights=0,
        num_frozen=2 * 50 * 33 + 33 * 6,  # cosines, sines, mel bank
        output_shape=[(3, 7, 6), (3, 7)],
        shapes={"audio": (None,)},
        folder=tmp_path,
    )


@pytest.mark.parametrize("options", [SMALL, {}, dict(SMALL, frame_length=64, frame_step=64)])
@pytest.mark.parametrize("time", [1, 401, 2_000])
def test_against_numpy(options, time):
    wave = noise(3, time)
    wave[1, time // 2 :] = 0
    wave[2, time // 3 : time // 2] = 0
    actual, mask = LogMel(**options)(wave)
    expected, heard = reference(wave, **options)
    np.testing.assert_array_equal(mask, heard)
    assert actual.shape == expected.shape == (*heard.shape, options.get("num_mels", 64))
    # Fourier kernels are float32: their error is a share of the loudest bin.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-5)


def test_tone_stands_in_its_channel():
    """A rising pair of tones: before the mean is taken off, each is loudest at its place."""
    time = np.arange(4_000) / 16_000
    wave = np.concatenate([np.sin(2 * np.pi * f * time) for f in (500.0, 3_000.0)])
    result = LogMel()(0.3 * wave[None].astype("float32"))[0][0].numpy()
    centre = np.linspace(*(1127 * np.log1p(np.array([60, 7_600]) / 700)), 66)[1:-1]
    for frame, hertz in [(5, 500), (35, 3_000)]:
        channel = np.abs(centre - 1127 * np.log1p(hertz / 700)).argmin()
        assert abs(int(result[frame].argmax()) - channel) <= 1


@pytest.mark.parametrize("gain", [0.25, 0.5, 4.0])
def test_gain_changes_nothing(gain):
    wave = noise(2, 3_000, scale=0.3)
    wave[1, 1_500:] = 0
    layer = LogMel()
    expected, mask = layer(wave)
    actual, same = layer(np.float32(gain) * wave)
    np.testing.assert_array_equal(same, mask)
    # The floor of 1e-4 under the logarithm is all that is left of the gain.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-3)
    assert np.abs(expected).max() > 1


@pytest.mark.parametrize("zeros", [1, 19, 50, 51, 333])
@pytest.mark.parametrize("time", [20, 77, 200])
def test_appended_zeros_change_nothing(time, zeros):
    wave = noise(2, time)
    layer = LogMel(**SMALL)
    expected, mask = layer(wave)
    longer, longer_mask = layer(np.pad(wave, [[0, 0], [0, zeros]]))
    frames = expected.shape[1]
    assert longer.shape[1] == (time + zeros) // 20 + 1
    np.testing.assert_array_equal(longer_mask[:, :frames], mask)
    assert not longer_mask[:, frames:].numpy().any()
    assert_near(longer[:, :frames], expected, 1e-5)
    assert (longer[:, frames:].numpy() == 0).all()


@pytest.mark.parametrize("time", [1, 10, 399])
def test_shorter_than_a_frame(time):
    wave = noise(2, time)
    result, mask = LogMel()(wave)
    assert result.shape == (2, time // 160 + 1, 64) and mask.shape == result.shape[:2]
    assert mask.numpy().all() and np.isfinite(result).all()


@pytest.mark.parametrize("time", [0, 1, 1_000])
def test_silence(time):
    result, mask = LogMel()(np.zeros((2, time), "float32"))
    assert result.shape == (2, time // 160 + 1, 64)
    assert not mask.numpy().any() and (result.numpy() == 0).all()


def test_one_sample_is_heard_in_every_frame_that_holds_it():
    wave = np.zeros((2, 200), "float32")
    wave[0, 100], wave[1, 199] = 1e-7, -1.0
    _, mask = LogMel(**SMALL)(wave)  # frame k holds 20 k to 20 k + 49
    assert np.flatnonzero(mask[0]).tolist() == [3, 4, 5]
    assert np.flatnonzero(mask[1]).tolist() == [8, 9]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("scale", [0.005, 0.05, 0.5])
def test_half_precision_at_any_loudness(policy, scale):
    wave = np.clip(noise(2, 2_000, scale=scale), -1, 1)
    expected, mask = LogMel()(wave)
    with dtype_policy(policy):
        actual, half_mask = LogMel()(wave)
    assert actual.dtype.name == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(half_mask, mask)
    assert_near(actual.numpy().astype("float32"), expected, HALF_TOLERANCE)


def test_mask_is_bool_in_a_model_too():
    symbol = LogMel(**SMALL)(keras.Input((None,)))[1]
    assert symbol.dtype == "bool" and symbol.shape == (None, None)


def test_unfreezing_leaves_the_kernels_fixed():
    layer = LogMel(**SMALL)
    layer(noise(1, 100))
    for trainable in (False, True):  # as when a whole encoder is frozen and released
        layer.trainable = trainable
        assert layer.trainable_weights == []


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("value", [0, -5, 1.5, None])
def test_argument_error(name, value):
    match = f"`{name}` must be a positive int. Received: {name}={value}"
    with pytest.raises(ValueError, match=match):
        LogMel(**{**SMALL, name: value})


@pytest.mark.parametrize("shape", [(100,), (2, 100, 1)])
def test_rank_error(shape):
    match = r"waveform of shape \(batch, time\). Received: input_shape=\(" + str(shape[0])
    with pytest.raises(ValueError, match=match):
        LogMel(**SMALL)(np.zeros(shape, "float32"))
