"""Picture files of any common format to the arrays that the models read."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmzoo.data.media.audio import read_audio
from mmzoo.data.media.media_files import MediaError, inside, read_file

__all__ = ["MAX_PIXELS", "MediaError", "check_image", "inside", "read_audio", "read_image"]

Size = int | Sequence[int]
MAX_PIXELS = 200_000_000  # of a picture, in any format
# Larger ones are scaled down while or right after they are decoded, if a size is asked for.
SCALED_FROM = 89_478_485
IMAGE_FITS = ("stretch", "pad", "crop")  # how a picture is brought to a size
IMAGE_FIT = "stretch"  # as `keras.utils.image_dataset_from_directory` does
_ORIENTATION, _TURNED = 274, (5, 6, 7, 8)  # EXIF's number of it; what swaps the sides
_PNG_END = b"IEND\xaeB`\x82"  # the last chunk's name and checksum, the same in every PNG


def read_image(path_or_bytes: str | Path | bytes, size: Size | None = None, fit: str = IMAGE_FIT):
    """Reads a picture of any format that Pillow reads, as RGB.

    EXIF orientation is applied and transparency is composed on white. Palettes, greyscale,
    16-bit and CMYK pictures are converted; an animation gives its first frame.

    Args:
        path_or_bytes: A file's path, or its content.
        size: Pair `(height, width)` in pixels, or one int for a square, to which the picture is
            scaled, bilinear and antialiased. None: the picture's own size.
        fit: "stretch" scales each side by itself; "pad" keeps the proportions and centres the
            picture on white; "crop" cuts it around its middle to the proportions of `size` first.

    Returns:
        uint8 array of shape `(height, width, 3)`, in [0, 255].

    Raises:
        MediaError: If the file is missing, empty, truncated, no picture, above
            `MAX_PIXELS`, or has pixels without a known range (float, 32-bit).
        ValueError: If `size` is not one or two positive ints, or there is no such fit.
    """
    size = None if size is None else as_size(size)
    if fit not in IMAGE_FITS:
        raise ValueError(f"`fit` must be one of {IMAGE_FITS}. Received: fit={fit!r}.")
    image, _ = _load(*read_file(path_or_bytes, "an image"), size)
    return np.array(image if size is None else _to_size(image, *size, fit))


def check_image(content: bytes, name: str) -> tuple[int, int]:
    """Decodes a picture, to see that it is whole; returns its upright `(height, width)`.

    Args:
        content: The file's content.
        name: What it is called in messages.

    Raises:
        MediaError: As `read_image`.
    """
    return _load(name, read_file(content, "an image")[1], (1, 1))[1]


def as_size(size: int | Sequence[int], name: str = "size") -> tuple[int, int]:
    """`(height, width)` of a pair, or of one int for a square.

    Raises:
        ValueError: If it is not one or two positive ints.
    """
    pair = tuple(size) if isinstance(size, Sequence | np.ndarray) else (size, size)
    integers = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in pair)
    if isinstance(size, str) or len(pair) != 2 or not integers or min(pair) < 1:
        raise ValueError(
            f"`{name}` must be two positive ints (height, width), or one for a square. "
            f"Received: {name}={size!r}."
        )
    return int(pair[0]), int(pair[1])


def _load(name, data, size):
    """An upright RGB picture, at least twice as large as `size`, and its own `(height, width)`."""
    from PIL import UnidentifiedImageError

    file = _Whole(data)
    try:
        image = _open(file)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise MediaError(
                f"Expected an image of at most {MAX_PIXELS} pixels. Received {name}: {width} x "
                f"{height} pixels. Scale it down first."
            )
        is_large = size is not None and width * height > SCALED_FROM
        if is_large:
            image.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG is decoded at a fraction
        file.is_decoded = image.format != "JPEG2000"  # its decoder reads ahead
        image.load()
        if not _has_end(image.format, data):
            raise OSError("its end is missing")
        orientation = image.getexif().get(_ORIENTATION, 1)
        factor = min(image.size) // (2 * max(size)) if is_large else 1
        image = _upright(_shrunk(image, max(1, factor), name), orientation)
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(
            f"Expected an image file. Received {name}, which is in no format that Pillow "
            "reads, or is cut in its header. Save it as PNG or JPEG."
        ) from error
    except Exception as error:  # Pillow's decoders raise many types on broken data
        raise MediaError(
            f"Expected a whole image. Received {name}, which is truncated or corrupt "
            f"({error}). Copy or download it again."
        ) from error
    return image, (width, height) if orientation in _TURNED else (height, width)


class _Whole(io.BytesIO):
    """A file in which a decoder that reads on behind the end gets an error.

    Pillow would accept a cut picture where another library has set its global
    `LOAD_TRUNCATED_IMAGES`, which belongs to all threads and is left alone.
    """

    is_decoded = False

    def read(self, size=-1, /):
        data = super().read(size)
        if self.is_decoded and not data and size:
            raise OSError("its end is missing")
        return data


def _open(file):
    """`Image.open` without its check of the size, whose limit is a global of the process."""
    import struct

    from PIL import Image, UnidentifiedImageError

    Image.init()
    start = file.read(16)
    for name in Image.ID:
        factory, accepts = Image.OPEN[name]
        # EPS would be drawn by another program.
        if name == "EPS" or (accepts and accepts(start) is not True):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # it is of another format; this is how the plugins say so
    raise UnidentifiedImageError("no format accepts it")


def _has_end(format_name, data):
    """Whether a picture's end marker is there, in the formats where Pillow doesn't look."""
    if format_name == "PNG":
        return _PNG_END in data
    if format_name == "JPEG2000":
        return b"\xff\xd9" in data  # nothing that is compressed holds this
    if format_name == "GIF":
        return data.rstrip(b"\0\r\n").endswith(b";")
    return True


def _shrunk(image, factor, name):
    """In RGB, `factor` times smaller. In strips: a copy of a large picture takes much memory."""
    from PIL import Image

    if factor == 1:
        return _to_rgb(image, name)
    width, height = image.size
    canvas = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    step = factor * max(1, (1 << 22) // (width * factor))
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(height, top + step)))
        canvas.paste(_to_rgb(strip, name).reduce(factor), (0, top // factor))
    return canvas


def _upright(image, orientation):
    from PIL import Image, ImageOps

    if orientation == 1:
        return image
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    for key in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        image.info.pop(key, None)
    image.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(image)


def _to_rgb(image, name):
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        image = _narrow(image, name)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _narrow(image, name):
    """16-bit greyscale to 8-bit, which Pillow's own conversion clips to white."""
    from PIL import Image

    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
        raise MediaError(
            f"Expected an image of 8 or 16 bits a channel. Received {name}, with 32-bit "
            f"pixels (mode {image.mode!r}). Save it as 8-bit PNG."
        )
    pixels = np.where(pixels == image.info.get("transparency"), 65535, pixels)
    return Image.fromarray(((pixels.astype("int64") + 128) // 257).astype("uint8"))


def _to_size(image, height, width, fit):
    """The picture at that size. The page, the phones' classes and `export.pictures` do the same."""
    from PIL import Image

    if fit == "pad":
        return _letterbox(image, height, width)
    if fit == "crop":
        tall = min(image.height, max(1, image.width * height // width))
        wide = min(image.width, max(1, image.height * width // height))
        left, top = (image.width - wide) // 2, (image.height - tall) // 2
        image = image.crop((left, top, left + wide, top + tall))
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _letterbox(image, height, width):
    from PIL import Image

    scale = min(height / image.height, width / image.width)
    fitted = (
        min(width, max(1, round(image.width * scale))),
        min(height, max(1, round(image.height * scale))),
    )
    canvas = Image.new("RGB", (width, height), "white")
    corner = ((width - fitted[0]) // 2, (height - fitted[1]) // 2)
    canvas.paste(image.resize(fitted, Image.Resampling.BILINEAR), corner)
    return canvas
