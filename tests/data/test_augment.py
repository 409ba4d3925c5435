import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data import decode_text, encode_text
from mmzoo.data.augment import operators

SEED, OTHER = tf.constant([3, 5], tf.int32), tf.constant([3, 6], tf.int32)


def pictures(batch=4, side=16):
    """A dark blot on white: pose and colour both show."""
    images = np.full((batch, side, side, 3), 255, "uint8")
    images[:, 4:11, 5:9] = (180, 40, 90)
    return images


def tone(samples=4_000, hertz=440, rate=16_000, loudness=0.2):
    wave = loudness * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)
    return np.int16(wave * 32_767)


def cut(seed=SEED, batch=1, samples=6_000, noise_db=(20.0, 20.0), length=4_000, **options):
    starts, lengths = np.zeros(batch, "int32"), np.full(batch, length, "int32")
    return operators.cut_clips(
        tone(), starts, lengths, seed, samples=samples, noise_db=noise_db, **options
    ).numpy()


ALL = {
    "images": lambda seed: operators.augment_images(pictures(), seed).numpy(),
    "texts": lambda seed: operators.augment_texts(
        encode_text(["a plain and rather long phrase of letters"] * 4), seed
    ).numpy(),
    "clips": lambda seed: cut(seed, 4),
}


# As in `tf.data`, where the functions run.
ALL_IN_GRAPH = {
    "images": lambda seed: operators.augment_images(tf.constant(pictures()), seed),
    "texts": lambda seed: operators.augment_texts(
        tf.constant(encode_text(["a plain and rather long phrase of letters"] * 4)), seed
    ),
    "clips": lambda seed: operators.cut_clips(
        tf.constant(tone()), tf.zeros(4, tf.int32), tf.fill([4], 4_000), seed,
        samples=6_000, noise_db=(20.0, 20.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_a_function_of_the_seed(kind):
    first = ALL[kind](SEED)
    np.testing.assert_array_equal(ALL[kind](SEED), first)
    graph = tf.function(ALL_IN_GRAPH[kind])
    np.testing.assert_array_equal(graph(SEED), graph(SEED))
    # Eagerly and in a graph, sums may be taken in another order.
    difference = np.abs(graph(SEED).numpy().astype(float) - first)
    assert difference.max() <= (1e-6 if kind == "clips" else 1)
    assert (difference > 1e-6).mean() < 0.01
    for other in (OTHER, tf.constant([4, 5], tf.int32)):
        assert (ALL[kind](other) != first).any()


def test_every_draw_depends_on_the_seed(monkeypatch):
    """Not only the noise, the letters and the colours, which differ anyway."""
    texts = encode_text(["a plain and rather long phrase of letters"] * 4)
    silent = dict(batch=4, noise_db=(200.0, 200.0))
    alone = {
        "drop": lambda seed: operators.augment_texts(texts, seed, replace=0.0, drop=0.3),
        "replace": lambda seed: (
            operators.augment_texts(texts, seed, drop=0.0, replace=0.3) == texts
        ),
        "clip": lambda seed: cut(seed, rate=(1.0, 1.0), **silent),
        "rate": lambda seed: (cut(seed, **silent) != 0).sum(1),
        "pose": lambda seed: operators.augment_images(pictures(), seed),
    }
    monkeypatch.setattr(operators, "_augment_colours", lambda pixels, seed, grey: pixels)
    for name, draw in alone.items():
        first, *others = (np.asarray(draw(tf.constant(s))) for s in ([3, 5], [3, 6], [4, 5]))
        assert all((other != first).any() for other in others), name


@pytest.mark.parametrize("kind", ALL)
def test_samples_of_a_batch_differ(kind):
    """The four inputs are equal."""
    rows = ALL[kind](SEED)
    assert len(np.unique(rows.reshape(4, -1), axis=0)) == 4


# Pictures.


def test_images_keep_shape_dtype_and_range():
    images = operators.augment_images(pictures(64), SEED)
    assert images.dtype == tf.uint8 and images.shape == (64, 16, 16, 3)
    values = images.numpy()
    assert values.min() < 40 and values.max() > 240  # no change of scale by 255
    # A blot is still there, and still on light ground, in nearly every picture.
    spread = values.reshape(64, -1).astype(float).std(1)
    assert (spread > 10).mean() > 0.9


def moments(monkeypatch, batch=300, **options):
    """Area, and the centre's and the long side's place, of a bar whose colours are kept."""
    monkeypatch.setattr(operators, "_augment_colours", lambda pixels, seed, grey: pixels)
    bar = np.full((batch, 64, 64, 3), 255, "uint8")
    bar[:, 30:34, 22:42] = 0  # in the middle, 4 high and 20 wide
    options = dict(rotation=1e-6, scale=(1.0, 1.0), shift=1e-6) | options
    ink = 1 - operators.augment_images(bar, SEED, **options).numpy()[..., 0] / 255.0
    area = ink.sum((1, 2))
    y, x = np.mgrid[:64, :64] - 31.5
    centre = np.stack([(ink * axis).sum((1, 2)) / area for axis in (y, x)])
    y, x = (a - c[:, None, None] for a, c in zip((y, x), centre, strict=True))
    yy, xy, xx = ((ink * m).sum((1, 2)) / area for m in (y * y, x * y, x * x))
    return area, centre, 0.5 * np.arctan2(2 * xy, xx - yy)


def test_pose_without_freedom(monkeypatch):
    """Stretch by 0.88 to 1.14 an axis and a small shear are always drawn."""
    area, centre, angle = moments(monkeypatch)
    assert np.abs(centre).max() < 0.3
    assert 80 * 0.88**2 - 6 < area.min() < area.max() < 80 * 1.14**2 + 6
    assert np.abs(angle).max() < 0.25


def test_rotation_scale_and_shift(monkeypatch):
    for rotation in (0.5, 1.0):
        area, centre, angle = moments(monkeypatch, rotation=rotation)
        assert 80 * 0.88**2 - 6 < area.min() < area.max() < 80 * 1.14**2 + 6
        assert 0.8 * rotation < np.abs(angle).max() < rotation + 0.25
        assert angle.min() < -0.8 * rotation and np.abs(centre).max() < 0.3
    area, _, _ = moments(monkeypatch, scale=(0.5, 2.0))
    assert 80 * 0.25 * 0.75 < area.min() < 30 and 230 < area.max() < 80 * 4 * 1.35
    _, centre, _ = moments(monkeypatch, shift=0.1)
    assert np.abs(centre).max(1).min() > 5 and np.abs(centre).max() < 6.4 * 1.4
    assert np.abs(centre.mean(1)).max() < 1


def test_half_of_the_pictures_are_mirrored(monkeypatch):
    monkeypatch.setattr(operators, "_augment_colours", lambda pixels, seed, grey: pixels)
    left = np.full((400, 16, 16, 3), 255, "uint8")
    left[:, 5:11, :6] = 0
    images = operators.augment_images(left, SEED, rotation=0.01, shift=0.01).numpy()
    mirrored = images[:, :, :8].mean((1, 2, 3)) > images[:, :, 8:].mean((1, 2, 3))
    assert abs(mirrored.mean() - 0.5) < 0.125  # five standard deviations


def test_grey():
    """`grey=1` takes all colour, save for the light from one side: in the mean, no hue."""
    coloured = operators.augment_images(pictures(64), SEED, grey=0.0).numpy().astype(float)
    greyed = operators.augment_images(pictures(64), SEED, grey=1.0).numpy().astype(float)
    ink = [images[:, 6:9, 6:8].mean((1, 2)) for images in (coloured, greyed)]
    vivid, dull = (np.ptp(colour, axis=1).mean() for colour in ink)
    assert dull < 0.5 * vivid


# Texts.


def test_texts_keep_shape_and_dtype_and_are_never_empty():
    texts = encode_text(["a", "ab", "clé à molette", "ウサギ", "long phrase, with words"], 30)
    for k in range(20):
        result = operators.augment_texts(texts, tf.constant([0, k]), drop=0.95)
        assert result.dtype == tf.uint8 and result.shape == texts.shape
        values = result.numpy()
        assert (values[:, 0] > 0).all()
        assert not ((values[:, :-1] == 0) & (values[:, 1:] > 0)).any()  # zeros only behind
        assert ((values > 0).sum(1) <= (texts > 0).sum(1)).all()


def test_texts_unchanged_at_rate_zero():
    texts = encode_text(["a plain phrase", "clé à molette", "ウサギ", ""], 20)
    result = operators.augment_texts(texts, SEED, replace=0.0, drop=0.0)
    np.testing.assert_array_equal(result, texts)


def test_rates_of_misspelling():
    """Ten thousand letters: five standard deviations are 0.015 and less."""
    texts = encode_text(["m" * 100] * 100)
    replaced = operators.augment_texts(texts, SEED, replace=0.08, drop=0.0).numpy()
    share = (replaced != ord("m")).mean()
    assert abs(share - 0.08 * 25 / 26) < 0.015  # one in 26 draws is the letter itself
    assert set(replaced.ravel()) == set(range(ord("a"), ord("z") + 1))
    dropped = operators.augment_texts(texts, SEED, replace=0.0, drop=0.06).numpy()
    # The first byte always stays.
    assert abs((dropped == 0).mean() - 0.06 * 0.99) < 0.015


def test_only_ascii_letters_are_replaced():
    texts = encode_text(["42 clés, ウサギ!"] * 50)
    result = operators.augment_texts(texts, SEED, replace=1.0, drop=0.0).numpy()
    letters = np.isin(texts, list(b"cls"))
    np.testing.assert_array_equal(result[~letters], texts[~letters])
    assert (result[letters] != texts[letters]).mean() > 0.9


def test_kept_bytes_keep_their_order():
    [text] = decode_text(operators.augment_texts(encode_text(["abcdefgh" * 3]), SEED, drop=0.3,
                                               replace=0.0))  # fmt: skip
    rest = iter("abcdefgh" * 3)
    assert 5 < len(text) < 24 and all(letter in rest for letter in text)


# Clips.


def test_clips_keep_shape_dtype_and_range():
    for noise_db in [(40.0, 40.0), (-20.0, -20.0)]:
        waves = cut(batch=8, noise_db=noise_db)
        assert waves.dtype == np.float32 and waves.shape == (8, 6_000)
        assert np.isfinite(waves).all() and np.abs(waves).max() <= 1
        assert ((waves != 0).sum(1) > 3_000).all() and (waves[:, -200:] == 0).all()


def parts(noise_db, batch=64, **options):
    """Clean clips and the noise on them: the noise's level moves no other draw."""
    options = dict(batch=batch, **options)
    clean = cut(noise_db=(200.0, 200.0), **options).astype("float64")
    noise = cut(noise_db=noise_db, **options) - clean
    return clean, noise


def ratios(noise_db):
    clean, noise = parts(noise_db)
    spoken, heard = np.abs(clean) > 1e-4, noise != 0
    power = [(row[keep] ** 2).mean() for row, keep in zip(clean, spoken, strict=True)]
    level = [(row[keep] ** 2).mean() for row, keep in zip(noise, heard, strict=True)]
    return 10 * np.log10(np.divide(power, level))


def test_noise_is_within_its_range():
    found = ratios((3.0, 9.0))
    assert found.min() > 2.5 and found.max() < 9.5
    assert found.min() < 4 and found.max() > 8  # all of the range
    assert np.abs(ratios((6.0, 6.0)) - 6).max() < 0.5


def test_noise_stands_before_under_and_behind_the_word():
    clean, noise = parts((0.0, 0.0))
    leads, tails = [], []
    for word, row in zip(np.abs(clean) > 1e-4, noise, strict=True):
        first, last = np.flatnonzero(word)[[0, -1]]
        end = np.flatnonzero(row)[-1]
        assert 0 <= first <= 600 + 2 and last - 2 <= end <= last + 600 + 2
        assert (row[:end] != 0).mean() > 0.99 and (row[end + 1 :] == 0).all()
        leads.append(first)
        tails.append(end - last)
    for margin in (leads, tails):  # both are drawn from all of 0 to a tenth
        assert min(margin) < 100 and max(margin) > 500


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_rate_shortens_and_raises(rate):
    wave = cut(noise_db=(200.0, 200.0), rate=(rate, rate), samples=10_000)[0].astype("float64")
    spoken = np.flatnonzero(np.abs(wave) > 1e-4)
    assert abs((spoken[-1] - spoken[0]) - 4_000 / rate) < 20
    peak = np.abs(np.fft.rfft(wave, 1 << 16)).argmax() * 16_000 / (1 << 16)
    assert abs(peak - 440 * rate) < 6


def test_rates_are_within_their_range():
    clean, _ = parts((0.0, 0.0), rate=(0.8, 1.25), batch=200, samples=6_000)
    length = [np.ptp(np.flatnonzero(np.abs(row) > 1e-4)) for row in clean]
    speed = 4_000 / np.array(length)
    assert speed.min() > 0.79 and speed.max() < 1.27
    assert speed.min() < 0.85 and speed.max() > 1.2


def test_gain_is_within_its_range():
    clean, _ = parts((0.0, 0.0), batch=200)
    loudness = np.abs(clean).max(1) / 0.2
    assert loudness.min() > 0.49 and loudness.max() < 1.51
    assert loudness.min() < 0.6 and loudness.max() > 1.4


def test_longer_clips_are_cut():
    wave = cut(samples=1_000)
    assert wave.shape == (1, 1_000) and (wave[0, -300:] != 0).all()


def test_each_clip_comes_from_its_place():
    speech = np.repeat(np.int16([1_000, 8_000, 16_000]), 2_000)
    starts, lengths = np.int32([0, 2_000, 4_000]), np.int32([2_000, 2_000, 2_000])
    clean = operators.cut_clips(
        speech, starts, lengths, SEED, samples=3_000, noise_db=(200.0, 200.0), rate=(1.0, 1.0)
    ).numpy()
    for row, level in zip(clean, (1_000, 8_000, 16_000), strict=True):
        inside = row[np.abs(row) > 1e-4]
        assert 1_990 < len(inside) <= 2_000
        gain = np.median(inside) / (level / 32_768)
        assert 0.5 <= gain <= 1.5
        np.testing.assert_allclose(inside, np.median(inside), rtol=1e-4)
