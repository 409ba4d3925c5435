"""Augmentation of batches as pure functions of a key: resumable, and the same on any threads.

A key is an int32 vector `(2,)`, say `(seed, step)`.

Differs: tensorflow-io's `freq_mask` and `time_mask` draw from TensorFlow's global state, so that
batches made by several threads depend on who comes first, and can't go on where they were.
"""

import tensorflow as tf


def spec_augment(spectrograms, key, *, frequency: int = 10, time: int = 20, masks: int = 2):
    """Hides bands of frequencies and of time, a sample each its own.

    Args:
        spectrograms: Float tensor `(batch, time, frequencies)`.
        key: Int32 vector `(2,)`.
        frequency, time: Widest band, in bins and in frames; a width is drawn from 0 to it.
        masks: How many bands of each kind.

    Returns:
        Tensor of the same shape, with the sample's mean where it is hidden.

    Raises:
        ValueError: If a width or the number of bands is negative.

    Reference:
        Park et al., 2019 (arXiv:1904.08779). Differs: the mean instead of zero, which means
        silence only after normalisation; no time warping.
    """
    if min(frequency, time, masks) < 0:
        raise ValueError(
            "`frequency`, `time` and `masks` must be 0 or more. Received: "
            f"frequency={frequency}, time={time}, masks={masks}."
        )
    shape = tf.shape(spectrograms)
    hidden = tf.zeros(shape, tf.bool)
    for k in range(masks):
        frames = _band(shape[0], shape[1], time, key + [0, 2 * k])
        bins = _band(shape[0], shape[2], frequency, key + [0, 2 * k + 1])
        hidden |= frames[:, :, None] | bins[:, None, :]
    mean = tf.reduce_mean(spectrograms, axis=(1, 2), keepdims=True)
    return tf.where(hidden, mean, spectrograms)


def _band(batch, length, widest, key):
    """Bool `(batch, length)`: a band of a width from 0 to `widest`, at a place where it fits."""
    draw = tf.random.stateless_uniform((2, batch), key)
    width = tf.minimum(tf.cast(draw[0] * (widest + 1), tf.int32), length)
    first = tf.cast(draw[1] * tf.cast(length - width + 1, tf.float32), tf.int32)
    place = tf.range(length)[None]
    return (place >= first[:, None]) & (place < (first + width)[:, None])


def mix_up(inputs, targets, key, *, alpha: float = 0.2):
    """Mixes each sample with another of its batch, and their targets by the same share.

    `x_i = s x_i + (1 - s) x_j` with `j` a permutation and `s` from Beta(alpha, alpha), one a
    sample, the larger part of each being its own.

    Args:
        inputs: Float tensor `(batch, …)`, or a structure of them.
        targets: Float tensor `(batch, classes)`, or a structure of them.
        key: Int32 vector `(2,)`.
        alpha: Float above 0.

    Returns:
        `(inputs, targets)`, mixed.

    Raises:
        ValueError: If `alpha` is not above 0, or something is no float tensor.

    Reference:
        Zhang et al., 2018 (arXiv:1710.09412). Differs: a share a sample, not a batch.
    """
    if not alpha > 0:
        raise ValueError(f"`alpha` must be above 0. Received: alpha={alpha}.")
    leaves = tf.nest.flatten((inputs, targets))
    for leaf in leaves:
        if not tf.as_dtype(leaf.dtype).is_floating:
            raise ValueError(
                f"Expected float tensors to mix. Received: {tf.as_dtype(leaf.dtype).name}. Decode "
                "and scale it first; of labels take one-hot vectors."
            )
    batch = tf.shape(leaves[0])[0]
    gamma = tf.random.stateless_gamma((2, batch), key, alpha=alpha)
    share = gamma[0] / tf.maximum(gamma[0] + gamma[1], 1e-20)
    share = tf.maximum(share, 1 - share)
    other = tf.argsort(tf.random.stateless_uniform((batch,), key + [0, 1]))

    def mixed(value):
        weight = tf.cast(tf.reshape(share, [-1] + [1] * (len(value.shape) - 1)), value.dtype)
        return weight * value + (1 - weight) * tf.gather(value, other)

    return tf.nest.map_structure(mixed, (inputs, targets))


def fade(waveforms, key, *, longest: int = 800, mode: str = "linear"):
    """Fades the beginning and the end of each waveform, over a random number of samples.

    Args:
        waveforms: Float tensor `(batch, time)`.
        key: As in `spec_augment`.
        longest: Positive int. Longest fade, in samples: 800 are 50 ms at 16 kHz.
        mode: "linear", "logarithmic" or "exponential": how loudness grows.

    Returns:
        Tensor like `waveforms`.

    Raises:
        ValueError: If `longest < 1`, or there is no such mode.
    """
    if longest < 1 or mode not in FADES:
        raise ValueError(
            f"`longest` must be a positive int, and `mode` one of {tuple(FADES)}. Received: "
            f"longest={longest}, mode={mode!r}."
        )
    batch, time = tf.shape(waveforms)[0], tf.shape(waveforms)[1]
    widest = tf.minimum(longest, time)
    begin, end = (
        tf.random.stateless_uniform((batch, 1), tf.stack([key[0], key[1] + salt]), 1, widest + 1,
                                    dtype=tf.int32)
        for salt in (0, 1)
    )  # fmt: skip
    return faded(waveforms, begin, end, mode)


FADES = {
    "linear": lambda share: share,
    "logarithmic": lambda share: tf.math.log1p(share) / tf.math.log1p(1.0),
    "exponential": lambda share: tf.math.expm1(share) / tf.math.expm1(1.0),
}


def faded(waveforms, begin, end, mode: str = "linear"):
    """Fades waveforms `(batch, time)` over the first `begin` and the last `end` samples."""
    place = tf.range(tf.shape(waveforms)[1])[None]
    left = tf.shape(waveforms)[1] - 1 - place

    def factor(distance, width):
        steps = tf.cast(tf.maximum(width - 1, 1), tf.float32)
        share = tf.cast(distance, tf.float32) / steps
        return tf.where(distance < width, FADES[mode](tf.minimum(share, 1.0)), 1.0)

    scale = factor(place, begin) * factor(left, end)
    return waveforms * tf.cast(scale, waveforms.dtype)
