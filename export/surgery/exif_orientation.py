"""How a JPEG picture is to be turned, read inside a SavedModel from its EXIF data."""

import tensorflow as tf

HEAD = 2**17  # bytes that are looked at: EXIF data is 64 KiB at most, and stands in front
ORIENTATION = 0x0112
MARKERS = 64  # segments before the EXIF data, at most, and entries of its first directory


def read_orientation(picture):
    """The EXIF orientation of a picture.

    Args:
        picture: Scalar string tensor, the bytes of a picture.

    Returns:
        Scalar int32 tensor, 1 to 8; 1 (as it is stored) where there is none, or none that is
        well-formed, or the picture is no JPEG.

    Reference:
        Exif 2.32 (CIPA DC-008), tag 274; the layout of the segments is ITU-T T.81, annex B.
    """
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(picture, 0, HEAD), tf.uint8), tf.int32)
    size = tf.size(head)
    head = tf.concat([head, [0]], 0)

    def number(place, count, little=False):
        """The number in `count` bytes; those behind the end are 0."""
        places = place[..., None] + tf.range(count)
        found = tf.gather(head, tf.where((places >= 0) & (places < size), places, size))
        found = tf.where(little, found[..., ::-1], found)
        return tf.reduce_sum(found * 256 ** tf.range(count)[::-1], -1)

    def is_exif(place):
        return (number(place, 2) == 0xFFE1) & (number(place + 4, 4) == 0x45786966)  # "Exif"

    def goes_on(place, count):
        marker = number(place, 2)
        # 0xFFDA: what follows is the picture itself.
        segment = (marker > 0xFF00) & (marker != 0xFFDA) & (marker < 0xFFFF)
        return segment & ~is_exif(place) & (count < MARKERS)

    place, _ = tf.while_loop(
        goes_on, lambda place, count: (place + 2 + number(place + 2, 2), count + 1),
        [tf.constant(2), tf.constant(0)],
    )  # fmt: skip
    start = place + 10  # of the TIFF header, from which offsets count
    little = number(start, 2) == 0x4949
    # An offset of more than 2 GiB would be negative, and is no place in the head either way.
    directory = start + number(start + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(MARKERS)
    known = tf.range(MARKERS) < number(directory, 2, little)
    mine = known & (number(entries, 2, little) == ORIENTATION)
    mine &= number(entries + 2, 2, little) == 3  # a 16-bit number
    value = tf.reduce_max(tf.where(mine, number(entries + 8, 2, little), 0))
    good = (number(tf.constant(0), 2) == 0xFFD8) & is_exif(place) & (value >= 1) & (value <= 8)
    return tf.where(good, value, 1)


def turn(pixels, orientation):
    """Turns a picture upright.

    Args:
        pixels: Tensor `(height, width, channels)`.
        orientation: Scalar int32 tensor, 1 to 8.

    Returns:
        Tensor `(height, width, channels)`, or `(width, height, channels)` from 5 on.
    """
    # The corner that is stored first: 1 top left, 2 top right, 3 bottom right, 4 bottom left;
    # 5 to 8 the same, of the picture with rows and columns exchanged.
    pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    across = tf.reduce_any(orientation == [2, 3, 6, 7])
    down = tf.reduce_any(orientation == [3, 4, 7, 8])
    pixels = tf.cond(across, lambda: pixels[:, ::-1], lambda: pixels)
    return tf.cond(down, lambda: pixels[::-1], lambda: pixels)
