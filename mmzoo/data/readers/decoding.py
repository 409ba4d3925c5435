"""Records to what the models take."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mmzoo.data.media.audio import read_audio
from mmzoo.data.media.images import IMAGE_FIT, IMAGE_FITS, SCALED_FROM, as_size, read_image
from mmzoo.data.readers.sources import MODALITIES

_GROUP, _GROUP_SAMPLES = 64, 1 << 20  # records, and samples of sound, taken together at most
# Names of what may turn a picture (EXIF and XMP, in their places in JPEG and PNG), and of the chunk
# of a PNG that makes a colour transparent.
_SPECIAL = "Exif|eXIf|exif|adobe|tRNS"
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def decode(
    dataset,
    *,
    modalities: Sequence[str] = MODALITIES,
    image_size: int | Sequence[int] = (64, 64),
    text_bytes: int = 48,
    audio_samples: int = 12_800,
    sample_rate: int = 16_000,
    threads: int = tf.data.AUTOTUNE,
    image_fit: str = IMAGE_FIT,
):
    """Decodes records to what the models take, in parallel, in the same order.

    Pictures and sounds are what `read_image` and `read_audio` make of them, so that a model trained
    on records sees what it is given afterwards; scaled pictures may differ by one level of 255.

    Args:
        dataset: What a reader returned.
        modalities: Which to decode; others are left out.
        image_size: Pair `(height, width)` in pixels, or one int for a square.
        text_bytes, audio_samples: Longer texts and sounds are cut, shorter ones zero padded.
        sample_rate: In Hz; sound of another rate is resampled.
        threads: How many records at a time.
        image_fit: How pictures are brought to that size: "stretch", "pad" or "crop", see
            `mmzoo.data.read_image`. Export the model with the same.

    Returns:
        Dataset of `(inputs, label)` a record: `image` uint8 `(height, width, 3)`, `text` uint8
        `(text_bytes,)`, `audio` float32 `(audio_samples,)`, zeros where absent, and
        `<modality>_present`.

    Raises:
        ValueError: If there is no such modality or fit.
    """
    if not modalities or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"Expected some of {MODALITIES}. Received: {tuple(modalities)}.")
    if image_fit not in IMAGE_FITS:
        raise ValueError(f"`image_fit` must be one of {IMAGE_FITS}. Received: {image_fit!r}.")

    image_size = as_size(image_size, "image_size")

    def waveforms(contents):
        found = np.zeros((len(contents), audio_samples), "float32")
        for row, content in zip(found, contents, strict=True):
            if content:
                waveform = read_audio(content, sample_rate)[:audio_samples]
                row[: len(waveform)] = waveform
        return found

    def chosen(records):
        names = [*modalities, *(f"{m}_present" for m in modalities)]
        return {name: records[name] for name in names}, records["label"]

    def many(inputs, label):
        if "text" in modalities:
            inputs["text"] = tf.io.decode_raw(inputs["text"], tf.uint8, fixed_length=text_bytes)
        if "audio" in modalities:
            # soundfile: tensorflow-io's decoders do not load with this TensorFlow.
            sounds = tf.numpy_function(waveforms, [inputs["audio"]], tf.float32, stateful=False)
            inputs["audio"] = tf.ensure_shape(sounds, (None, audio_samples))
        return inputs, label

    def one(inputs, label):
        return {**inputs, "image": _picture(inputs["image"], image_size, image_fit)}, label

    options = {"num_parallel_calls": threads, "deterministic": True}
    if set(modalities) == {"image"}:
        return dataset.map(lambda record: one(*chosen(record)), **options)
    # One by one, the way to Python and back costs as much as a sound, any way more than a text.
    samples = audio_samples if "audio" in modalities else 1
    group = min(_GROUP, max(1, _GROUP_SAMPLES // samples))
    groups = dataset.batch(group).map(lambda records: many(*chosen(records)), **options)
    decoded = groups.unbatch()
    return decoded.map(one, **options) if "image" in modalities else decoded


def _picture(content, size, fit):
    # Each operation of a way not taken costs time as well, so what is common to them comes last.
    image = tf.cond(
        tf.cond(  # the size of what is no picture can't be asked
            _is_simple(content) & _is_plain(content),
            lambda: _is_small(content),
            lambda: tf.constant(False),
        ),
        lambda: _by_tensorflow(content),
        lambda: tf.cond(
            tf.equal(content, ""),
            lambda: tf.zeros((*size, 3), tf.uint8),
            lambda: tf.numpy_function(
                lambda data: read_image(data, size, fit), [content], tf.uint8, stateful=False
            ),
        ),
    )
    return _fitted(tf.ensure_shape(image, (None, None, 3)), size, fit)


def _by_tensorflow(content):
    """Without Python in between it is twice as fast. Accurate is what Pillow takes as well."""
    return tf.cond(
        _starts(content, _JPEG),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )


def _is_plain(content):
    """Whether no word says that more than pixels must be looked at."""
    without = tf.strings.regex_replace(content, _SPECIAL, "", replace_global=False)
    return tf.equal(tf.strings.length(without), tf.strings.length(content))


def _is_simple(content):
    """Whether it is a JPEG, or a PNG of 8 bits in grey, RGB or a palette."""
    depth_and_colours = tf.strings.substr(tf.strings.join([content, bytes(26)]), 24, 2)
    kinds = tf.constant([b"\x08\x00", b"\x08\x02", b"\x08\x03"])
    png = _starts(content, _PNG) & tf.reduce_any(tf.equal(depth_and_colours, kinds))
    return _starts(content, _JPEG) | png


def _is_small(content):
    """Whether `read_image` would not scale it on load; the size is read from the header."""
    sides = tf.cond(
        _starts(content, _JPEG),
        lambda: tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64),
        lambda: tf.cast(
            tf.io.decode_raw(tf.strings.substr(content, 16, 8), tf.int32, little_endian=False),
            tf.int64,
        ),
    )
    return tf.reduce_prod(sides) <= SCALED_FROM


def _starts(content, magic):
    return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)


def _fitted(image, size, fit):
    """The picture at that size, as `read_image` brings it there."""
    height, width = size
    found = tf.shape(image)[:2]

    def resized(picture, wanted):
        return tf.cast(tf.round(tf.image.resize(picture, wanted, antialias=True)), tf.uint8)

    def padded():
        sides = tf.cast(found, tf.float64)
        scale = tf.reduce_min(tf.constant([height, width], tf.float64) / sides)
        inner = tf.clip_by_value(tf.cast(tf.round(sides * scale), tf.int32), 1, [height, width])
        top = (tf.constant([height, width]) - inner) // 2
        bottom = [height, width] - inner - top
        edges = tf.concat([tf.stack([top, bottom], axis=1), [[0, 0]]], axis=0)
        return tf.pad(resized(image, inner), edges, constant_values=255)

    def cropped():
        sides, wanted = tf.cast(found, tf.int64), tf.constant([height, width], tf.int64)
        inner = tf.clip_by_value(sides[::-1] * wanted // wanted[::-1], 1, sides)
        top, left = tf.unstack((sides - inner) // 2)
        middle = image[top : top + inner[0], left : left + inner[1]]
        return resized(middle, (height, width))

    ways = {"pad": padded, "crop": cropped, "stretch": lambda: resized(image, (height, width))}
    right = tf.reduce_all(tf.equal(found, (height, width)))
    return tf.ensure_shape(tf.cond(right, lambda: image, ways[fit]), (height, width, 3))
