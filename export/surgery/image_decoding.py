"""Pictures from their bytes, inside a SavedModel."""

import tensorflow as tf

from mmzoo.export.surgery.exif_orientation import read_orientation, turn

WHITE = 255.0


def decode_pictures(encoded, size, fit):
    """Decodes JPEG and PNG pictures and brings each to one size.

    Args:
        encoded: String tensor `(batch,)`: the bytes of a picture, or none at all for an absent
            one, which is white.
        size: `(height, width)`, in pixels.
        fit: "stretch", "pad" or "crop": see `mmzoo.data.read_image`.

    Returns:
        uint8 `(batch, height, width, 3)`. A picture of that very size has the pixels that Pillow
        reads, turned as its EXIF data says (`ImageOps.exif_transpose`; of a PNG file that is not
        read); another is scaled bilinearly, antialiased.
    """
    height, width = size

    def decode(picture):
        return tf.cond(tf.strings.length(picture) > 0, lambda: _fit(_decode(picture), size, fit),
                       lambda: tf.fill([height, width, 3], tf.constant(255, tf.uint8)))  # fmt: skip

    spec = tf.TensorSpec([height, width, 3], tf.uint8)
    return tf.map_fn(decode, encoded, fn_output_signature=spec)


def _decode(picture):
    """Float `(height, width, 3)` in [0, 255], upright; transparent parts are white."""

    def png():
        pixels = tf.cast(tf.io.decode_png(picture, channels=4), tf.float32)
        # Of less than 8 bits a channel, TensorFlow gives what has no transparency the alpha of
        # the largest number of so many bits, which would be all but invisible.
        bits = tf.cast(tf.io.decode_raw(tf.strings.substr(picture, 24, 1), tf.uint8), tf.float32)
        alpha, full = pixels[..., 3:], 2.0**bits - 1.0
        opaque = tf.where((bits < 8) & (tf.reduce_max(alpha) == full), 1.0, alpha / 255.0)
        return pixels[..., :3] * opaque + WHITE * (1 - opaque)

    def jpeg():
        # By default TensorFlow decodes faster and otherwise than Pillow and browsers do.
        pixels = tf.io.decode_jpeg(picture, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(turn(pixels, read_orientation(picture)), tf.float32)

    return tf.cond(tf.strings.substr(picture, 0, 4) == b"\x89PNG", png, jpeg)


def _fit(pixels, size, fit):
    if fit == "crop":
        actual = tf.shape(pixels, tf.int64)[:2]
        wanted = tf.constant(size, tf.int64)
        inner = tf.clip_by_value(actual[::-1] * wanted // wanted[::-1], 1, actual)
        first = (actual - inner) // 2
        pixels = pixels[first[0] : first[0] + inner[0], first[1] : first[1] + inner[1]]
    if fit == "pad":
        actual = tf.cast(tf.shape(pixels)[:2], tf.float32)
        scale = tf.reduce_min(tf.constant(size, tf.float32) / actual)
        inner = tf.clip_by_value(tf.cast(tf.round(actual * scale), tf.int32), 1, size)
        pixels = tf.image.resize(pixels, inner, antialias=True)
        before = (size - inner) // 2
        padding = tf.stack([before, size - inner - before], axis=1)
        pixels = tf.pad(pixels, tf.concat([padding, [[0, 0]]], 0), constant_values=WHITE)
    else:
        pixels = tf.image.resize(pixels, size, antialias=True)
    pixels = tf.ensure_shape(pixels, [*size, 3])
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
