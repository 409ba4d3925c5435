"""Augmentation of whole batches by stateless TensorFlow operators.

Every function is pure: the same batch and seed give the same result, on any number of
threads. `seed` is an int32 tensor of shape `(2,)`.
"""

import math

import tensorflow as tf


def _uniform(seed, salt, shape, low, high):
    return tf.random.stateless_uniform(shape, seed + [0, salt], low, high)


def augment_images(images, seed, *, rotation=0.35, scale=(0.75, 1.3), shift=0.12, grey=0.2):
    """Draws another look of each picture: pose, colours, light, and a hidden patch.

    Args:
        images: uint8 `(batch, H, W, 3)` on a white ground.
        seed: int32 `(2,)`.
        rotation: Largest angle, in radians.
        scale: Smallest and largest factor, drawn for each axis about a common one.
        shift: Largest shift, as a fraction of the side.
        grey: Probability of losing all colour.

    Returns:
        uint8 `(batch, H, W, 3)`.
    """
    batch = tf.shape(images)[0]
    side = tf.cast(tf.shape(images)[1], tf.float32)
    angle = _uniform(seed, 1, [batch], -rotation, rotation)
    zoom = tf.exp(_uniform(seed, 2, [batch], math.log(scale[0]), math.log(scale[1])))
    stretch = _uniform(seed, 3, [2, batch], 0.88, 1.14)
    shear = _uniform(seed, 4, [batch], -0.15, 0.15)
    flip = tf.sign(_uniform(seed, 5, [batch], -1.0, 1.0))
    # Output pixel to input pixel, about the centre: rotation, shear, then scale.
    a = flip * tf.cos(angle) / (zoom * stretch[0])
    b = (shear * tf.cos(angle) - tf.sin(angle)) / (zoom * stretch[0])
    c = flip * tf.sin(angle) / (zoom * stretch[1])
    d = (shear * tf.sin(angle) + tf.cos(angle)) / (zoom * stretch[1])
    middle = (side - 1) / 2
    moved = _uniform(seed, 6, [2, batch], -shift, shift) * side
    e = middle - a * middle - b * middle + moved[0]
    f = middle - c * middle - d * middle + moved[1]
    zero = tf.zeros_like(a)
    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([a, b, e, c, d, f, zero, zero], 1),
        output_shape=tf.shape(images)[1:3],
        fill_value=255.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.cast(_augment_colours(pixels / 255.0, seed, grey) * 255.0, tf.uint8)


def _augment_colours(pixels, seed, grey):
    """Hue, saturation, contrast, light and noise on float `(batch, H, W, 3)` in [0, 1]."""
    batch, height, width = tf.unstack(tf.shape(pixels)[:3])
    # Hue turns the plane that is orthogonal to grey (Rodrigues' rotation about (1, 1, 1)).
    hue = _uniform(seed, 11, [batch, 1, 1], -0.5, 0.5)
    ones = tf.ones([3, 3]) / 3.0
    cross = tf.constant([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    eye = tf.eye(3)
    turn = tf.cos(hue) * eye + tf.sin(hue) * cross + (1 - tf.cos(hue)) * ones
    vivid = _uniform(seed, 12, [batch, 1, 1], 0.4, 1.6)
    vivid *= tf.cast(_uniform(seed, 13, [batch, 1, 1], 0.0, 1.0) > grey, tf.float32)
    colour = tf.matmul(turn, vivid * eye + (1 - vivid) * ones)
    pixels = 1 - tf.einsum("bhwc,bcd->bhwd", 1 - pixels, colour)
    # Light falls from one side: flat icons and glossy ones differ by that.
    rows = tf.linspace(-1.0, 1.0, height)[None, :, None, None]
    columns = tf.linspace(-1.0, 1.0, width)[None, None, :, None]
    slope = _uniform(seed, 14, [2, batch, 1, 1, 3], -0.25, 0.25)
    ink = 1 - tf.reduce_min(pixels, -1, keepdims=True)  # white stays white
    pixels += ink * (slope[0] * rows + slope[1] * columns)
    contrast = _uniform(seed, 15, [batch, 1, 1, 1], 0.7, 1.3)
    offset = _uniform(seed, 16, [batch, 1, 1, 1], -0.12, 0.12)
    pixels = (pixels - 0.5) * contrast + 0.5 + offset
    pixels += 0.03 * tf.random.stateless_normal(tf.shape(pixels), seed + [0, 17])
    size = _uniform(seed, 18, [batch, 1, 1, 1], 0.0, 0.45)
    centre = _uniform(seed, 19, [2, batch, 1, 1, 1], -1.0, 1.0)
    hidden = (tf.abs(rows - centre[0]) < size) & (tf.abs(columns - centre[1]) < size)
    return tf.clip_by_value(tf.where(hidden, 1.0, pixels), 0.0, 1.0)


def augment_texts(texts, seed, *, replace=0.08, drop=0.06):
    """Misspells: small ASCII letters are replaced by others, and bytes dropped.

    Args:
        texts: uint8 `(batch, length)`, zero padded UTF-8 bytes.
        seed: int32 `(2,)`.
        replace: Probability a letter.
        drop: Probability a byte.

    Returns:
        uint8 `(batch, length)`; a text never becomes empty.
    """
    shape = tf.shape(texts)
    letter = tf.random.stateless_uniform(shape, seed + [0, 31], 97, 123, tf.int32)
    is_letter = (texts >= 97) & (texts <= 122)
    swap = is_letter & (_uniform(seed, 32, shape, 0.0, 1.0) < replace)
    texts = tf.where(swap, tf.cast(letter, tf.uint8), texts)
    keep = (_uniform(seed, 33, shape, 0.0, 1.0) >= drop) & (texts > 0)
    keep |= tf.range(shape[1])[None] == 0
    order = tf.argsort(tf.cast(~keep, tf.int32), 1, stable=True)  # kept bytes first
    texts = tf.where(keep, texts, 0)
    return tf.gather(texts, order, batch_dims=1)


def cut_clips(speech, starts, lengths, seed, *, samples, noise_db, rate=(0.84, 1.2)):
    """Cuts clips out of one long recording and says them anew: speed, place, noise.

    A rate r plays a clip r times as fast, which also moves its pitch and formants, as
    another speaker's vocal tract would (vocal tract length perturbation).

    Args:
        speech: int16 `(total,)`.
        starts, lengths: int32 `(batch,)`, in samples.
        seed: int32 `(2,)`.
        samples: Int. Length of the result; longer clips are cut.
        noise_db: `(low, high)`, signal-to-noise ratio of white noise, in dB.
        rate: `(low, high)`.

    Returns:
        float32 `(batch, samples)` in [-1, 1], zeros behind each clip.
    """
    batch = tf.shape(starts)[0]
    speed = _uniform(seed, 51, [batch, 1], *rate)
    lead = _uniform(seed, 52, [batch, 1], 0.0, samples / 10)
    position = (tf.range(samples, dtype=tf.float32)[None] - lead) * speed
    length = tf.cast(lengths, tf.float32)[:, None]
    inside = tf.cast((position >= 0) & (position < length - 1), tf.float32)
    position = tf.clip_by_value(position, 0.0, length - 2)
    whole = tf.floor(position)
    index = starts[:, None] + tf.cast(whole, tf.int32)
    before = tf.cast(tf.gather(speech, index), tf.float32)
    after = tf.cast(tf.gather(speech, index + 1), tf.float32)
    waves = inside * (before + (after - before) * (position - whole)) / 32768.0
    spoken = tf.reduce_sum(inside, 1, keepdims=True)
    power = tf.reduce_sum(waves**2, 1, keepdims=True) / spoken
    ratio = 10 ** (_uniform(seed, 53, [batch, 1], *noise_db) / 10)
    noise = tf.random.stateless_normal([batch, samples], seed + [0, 54])
    tail = _uniform(seed, 55, [batch, 1], 0.0, samples / 10)
    heard = tf.range(samples, dtype=tf.float32)[None] < lead + spoken + tail
    waves = tf.where(heard, waves + tf.sqrt(power / ratio) * noise, 0.0)
    return tf.clip_by_value(waves * _uniform(seed, 56, [batch, 1], 0.5, 1.5), -1.0, 1.0)
