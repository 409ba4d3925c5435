"""Pictures from their bytes, inside a SavedModel."""

import tensorflow as tf

WHITE = 255.0


def decode_pictures(encoded, size):
    """Decodes JPEG and PNG pictures and fits each into one size, on white.

    Args:
        encoded: String tensor `(batch,)`: the bytes of a picture, or none at all for an absent
            one, which is white.
        size: `(height, width)`, in pixels.

    Returns:
        uint8 `(batch, height, width, 3)`. A picture of that very size is not changed; another
        keeps its proportions, scaled bilinearly, antialiased.
    """
    height, width = size

    def decode(picture):
        return tf.cond(tf.strings.length(picture) > 0, lambda: _fit(_decode(picture), size),
                       lambda: tf.fill([height, width, 3], tf.constant(255, tf.uint8)))  # fmt: skip

    spec = tf.TensorSpec([height, width, 3], tf.uint8)
    return tf.map_fn(decode, encoded, fn_output_signature=spec)


def _decode(picture):
    """Float `(height, width, 3)` in [0, 255]; transparent parts are white."""

    def png():
        pixels = tf.cast(tf.io.decode_png(picture, channels=4), tf.float32)
        opaque = pixels[..., 3:] / 255.0
        return pixels[..., :3] * opaque + WHITE * (1 - opaque)

    def jpeg():
        return tf.cast(tf.io.decode_jpeg(picture, channels=3), tf.float32)

    return tf.cond(tf.strings.substr(picture, 0, 4) == b"\x89PNG", png, jpeg)


def _fit(pixels, size):
    actual = tf.cast(tf.shape(pixels)[:2], tf.float32)
    target = tf.constant(size, tf.float32)
    scale = tf.reduce_min(target / actual)
    inner = tf.clip_by_value(tf.cast(tf.round(actual * scale), tf.int32), 1, size)
    pixels = tf.image.resize(pixels, inner, antialias=True)
    before = (size - inner) // 2
    padding = tf.stack([before, size - inner - before], axis=1)
    pixels = tf.pad(pixels, tf.concat([padding, [[0, 0]]], 0), constant_values=WHITE)
    pixels = tf.ensure_shape(pixels, [*size, 3])
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
