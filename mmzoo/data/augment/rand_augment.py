"""RandAugment of a batch of pictures as a pure function of a key.

Differs from `keras.layers.RandAugment`, which draws from a state that is shared by threads, applies
the same operations to a whole batch, and equalises by one histogram over all of its pictures, so
that what a picture becomes depends on its neighbours.
"""

import math

import tensorflow as tf

STEPS = 30  # of the magnitude
_FILL = 128.0  # grey, where a picture is moved away
_GREY = (19595.0, 38470.0, 7471.0)  # ITU-R BT.601, of 65,536


def rand_augment(images, key, *, operations: int = 2, magnitude: float = 9):
    """Applies some operations, drawn for each picture, one after the other.

    Args:
        images: uint8 tensor `(batch, height, width, 3)`.
        key: Int32 vector `(2,)`, say `(seed, step)`.
        operations: How many.
        magnitude: How strong they are, from 0 to 30. At 30: shears by .3, moves by .45 of the side,
            turns by 30 degrees, blends by .9, keeps 4 bits, inverts all.

    Returns:
        Tensor of the same shape and dtype.

    Raises:
        ValueError: If a number is out of range, or the pictures are no uint8 batch.

    Reference:
        Cubuk et al., 2019 (arXiv:1909.13719): 14 operations, each as likely as the others. Each
        gives what Pillow's `ImageOps` and `ImageEnhance` give.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != 4:
        raise ValueError(
            "Expected uint8 pictures (batch, height, width, 3). Received: "
            f"{images.dtype.name} {images.shape}. Augment before they are scaled."
        )
    if operations < 0 or not 0 <= magnitude <= STEPS:
        raise ValueError(
            f"Expected `operations` of 0 or more and a `magnitude` from 0 to {STEPS}. Received: "
            f"operations={operations}, magnitude={magnitude}."
        )
    batch = tf.shape(images)[0]
    made = tf.cast(images, tf.float32)
    for k in range(operations):
        draw = tf.random.stateless_uniform((2, batch), key + [0, k])
        chosen = tf.cast(draw[0] * len(OPERATIONS), tf.int32)
        sign = tf.where(draw[1] < 0.5, -1.0, 1.0)
        made = _applied(made, chosen, sign * magnitude / STEPS)
    return tf.ensure_shape(tf.cast(made, tf.uint8), images.shape)


def _applied(images, chosen, strength):
    """Each picture by its operation: an operation sees those alone that it was drawn for."""
    count = len(OPERATIONS)
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, count)
    parts = []
    for place, operation in zip(places, OPERATIONS.values(), strict=True):
        part, power = tf.gather(images, place), tf.gather(strength, place)
        # Not of no pictures: TensorFlow's convolution of those has the wrong shape.
        parts.append(
            tf.cond(
                tf.size(place) > 0,
                lambda part=part, power=power, operation=operation: tf.ensure_shape(
                    tf.clip_by_value(tf.round(operation(part, power)), 0, 255), part.shape
                ),
                lambda part=part: part,
            )
        )
    return tf.dynamic_stitch(places, parts)


def _identity(images, strength):
    return images


def _auto_contrast(images, strength):
    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(images, axis=(1, 2), keepdims=True)
    return tf.where(high > low, tf.floor((images - low) * 255 / (high - low) + 1e-4), images)


def _equalize(images, strength):
    shape = tf.shape(images)
    channels = shape[0] * shape[3]  # each with a histogram of its own
    values = tf.reshape(tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2)), (channels, -1))
    offsets = 256 * tf.range(channels)[:, None]
    counts = tf.math.bincount(tf.reshape(values + offsets, [-1]), minlength=256 * channels)
    counts = tf.reshape(counts, (channels, 256))
    brightest = tf.reduce_max(values, axis=1)
    step = (tf.shape(values)[1] - tf.gather(counts, brightest, batch_dims=1)) // 255
    whole = tf.maximum(step, 1)[:, None]
    table = tf.minimum((whole // 2 + tf.cumsum(counts, axis=1, exclusive=True)) // whole, 255)
    table = tf.where(step[:, None] > 0, table, tf.range(256)[None])
    made = tf.gather(tf.reshape(table, [-1]), values + offsets)
    made = tf.transpose(tf.reshape(made, (shape[0], shape[3], shape[1], shape[2])), (0, 2, 3, 1))
    return tf.cast(made, tf.float32)


def _solarize(images, strength):
    return tf.where(images < 255 * (1 - _wide(tf.abs(strength))), images, 255 - images)


def _posterize(images, strength):
    lost = 2 ** tf.round(4 * _wide(tf.abs(strength)))
    return tf.floor(images / lost) * lost


def _color(images, strength):
    return _blended(_grey(images), images, strength)


def _contrast(images, strength):
    mean = tf.reduce_mean(_grey(images), axis=(1, 2, 3), keepdims=True)
    return _blended(tf.floor(mean + 0.5), images, strength)


def _brightness(images, strength):
    return _blended(0.0, images, strength)


def _sharpness(images, strength):
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32)[:, :, None, None] / 13
    kernel = tf.tile(kernel, (1, 1, 3, 1))
    smooth = tf.round(tf.nn.depthwise_conv2d(images, kernel, (1, 1, 1, 1), "SAME"))
    rows, columns = (tf.range(n) for n in tf.unstack(tf.shape(images)[1:3]))
    inside = [(n > 0) & (n < tf.reduce_max(n)) for n in (rows, columns)]
    inside = (inside[0][:, None] & inside[1][None])[None, :, :, None]
    return _blended(tf.where(inside, smooth, images), images, strength)


def _rotate(images, strength):
    angle = strength * (math.pi / 6)
    cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
    y, x = (tf.cast(n - 1, tf.float32) / 2 for n in tf.unstack(tf.shape(images)[1:3]))
    return _moved(
        images, [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero]
    )


def _shear_x(images, strength):
    one, zero = tf.ones_like(strength), tf.zeros_like(strength)
    return _moved(images, [one, 0.3 * strength, zero, zero, one, zero, zero, zero])


def _shear_y(images, strength):
    one, zero = tf.ones_like(strength), tf.zeros_like(strength)
    return _moved(images, [one, zero, zero, 0.3 * strength, one, zero, zero, zero])


def _translate_x(images, strength):
    one, zero = tf.ones_like(strength), tf.zeros_like(strength)
    by = tf.round(0.45 * strength * tf.cast(tf.shape(images)[2], tf.float32))
    return _moved(images, [one, zero, by, zero, one, zero, zero, zero])


def _translate_y(images, strength):
    one, zero = tf.ones_like(strength), tf.zeros_like(strength)
    by = tf.round(0.45 * strength * tf.cast(tf.shape(images)[1], tf.float32))
    return _moved(images, [one, zero, zero, zero, one, by, zero, zero])


OPERATIONS = {
    "identity": _identity, "auto_contrast": _auto_contrast, "equalize": _equalize,
    "rotate": _rotate, "solarize": _solarize, "color": _color, "posterize": _posterize,
    "contrast": _contrast, "brightness": _brightness, "sharpness": _sharpness,
    "shear_x": _shear_x, "shear_y": _shear_y,
    "translate_x": _translate_x, "translate_y": _translate_y,
}  # fmt: skip


def _moved(images, transform):
    """Pixel (x, y) is that of (a x + b y + c, d x + e y + f) before."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(transform, axis=1),
        output_shape=tf.shape(images)[1:3], fill_value=_FILL,
        interpolation="BILINEAR", fill_mode="CONSTANT",
    )  # fmt: skip


def _blended(degenerate, images, strength):
    """1 is as it was, 0 the degenerate picture, more than 1 away from it."""
    return tf.floor(degenerate + (1 + 0.9 * _wide(strength)) * (images - degenerate) + 1e-3)


def _grey(images):
    return tf.floor((tf.reduce_sum(images * _GREY, axis=-1, keepdims=True) + 32768) / 65536)


def _wide(strength):
    return strength[:, None, None, None]
