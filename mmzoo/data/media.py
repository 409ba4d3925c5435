"""Picture and sound files of any common format to the arrays that the models read."""

import io
from pathlib import Path, PureWindowsPath

import numpy as np

MAX_PIXELS = 89_478_485  # a quarter of a GiB as RGB
IMAGE_FITS = ("stretch", "pad", "crop")  # how a picture is brought to a size
IMAGE_FIT = "stretch"  # as `keras.utils.image_dataset_from_directory` does
_PNG_END = b"IEND\xaeB`\x82"  # the last chunk's name and checksum, the same in every PNG


class MediaError(ValueError):
    """A picture or sound file that can't be read, with its name and the cause."""


def read_image(
    path_or_bytes: str | Path | bytes, size: tuple[int, int] | None = None, fit: str = IMAGE_FIT
):
    """Reads a picture of any format that Pillow reads, as RGB.

    EXIF orientation is applied and transparency is composed on white. Palettes, greyscale,
    16-bit and CMYK pictures are converted; an animation gives its first frame.

    Args:
        path_or_bytes: A file's path, or its content.
        size: Pair `(height, width)` in pixels, to which the picture is scaled, bilinear and
            antialiased. None: the picture's own size.
        fit: "stretch" scales each side by itself; "pad" keeps the proportions and centres the
            picture on white; "crop" cuts it around its middle to the proportions of `size` first.

    Returns:
        uint8 array of shape `(height, width, 3)`, in [0, 255].

    Raises:
        MediaError: If the file is missing, empty, truncated, no picture, above
            `MAX_PIXELS`, or has pixels without a known range (float, 32-bit).
        ValueError: If `size` is not two positive ints, or there is no such fit.
    """
    from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"`size` must be two positive ints. Received: size={size}.")
    if fit not in IMAGE_FITS:
        raise ValueError(f"`fit` must be one of {IMAGE_FITS}. Received: fit={fit!r}.")
    name, file = _open(path_or_bytes, "an image")
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    lenient = ImageFile.LOAD_TRUNCATED_IMAGES  # another library may have set it
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        image = Image.open(file)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        image.load()
        if not _has_end(image.format, file.getvalue()):
            raise OSError("its end is missing")
        image = _to_rgb(ImageOps.exif_transpose(image), name)
    except MediaError:
        raise
    except bombs as error:
        raise MediaError(
            f"Expected an image of at most {MAX_PIXELS} pixels. Received {name}: {error}. "
            "Scale it down first."
        ) from error
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
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
    return np.array(image if size is None else _to_size(image, *size, fit))


def read_audio(path_or_bytes: str | Path | bytes, sample_rate: int = 16_000) -> np.ndarray:
    """Reads sound of any format that soundfile reads, as a mono waveform.

    Channels are averaged. Amplitudes are not normalised, and resampling may overshoot
    [-1, 1] a little at a steep edge.

    Args:
        path_or_bytes: A file's path, or its content.
        sample_rate: Positive int, in Hz. Other rates are resampled to it.

    Returns:
        float32 array of shape `(time,)`, finite.

    Raises:
        MediaError: If the file is missing, empty, of an unsupported format, holds no
            samples or no channels, or holds NaN or infinite samples.
        ValueError: If `sample_rate < 1`.
    """
    import soundfile
    import soxr

    if sample_rate < 1:
        raise ValueError(
            f"`sample_rate` must be a positive int. Received: sample_rate={sample_rate}."
        )
    name, file = _open(path_or_bytes, "an audio")
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except Exception as error:  # soundfile's own errors, and NumPy's on a broken header
        raise MediaError(
            f"Expected an audio file with at least one channel. Received {name}: "
            f"{getattr(error, 'error_string', error)} Convert it to WAV, FLAC or OGG."
        ) from error
    if not np.isfinite(samples).all():
        raise MediaError(
            f"Expected finite audio samples. Received {name}, which holds NaN or infinite "
            "ones. Export it again, or leave it out."
        )
    waveform = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate)
    if not len(waveform):
        raise MediaError(
            f"Expected at least one audio sample at {sample_rate} Hz. Received {name}, "
            f"of zero length ({len(samples)} samples at {rate} Hz). Leave it out."
        )
    return waveform


def inside(root: Path, path: str) -> Path:
    """Joins a relative path to `root`.

    Raises:
        MediaError: If the path is absolute or has a `..`, on this system or on Windows.
    """
    parsed = PureWindowsPath(path)  # splits at / and at \\
    if parsed.anchor or ".." in parsed.parts:
        raise MediaError(
            f"Expected a path relative to the root, without '..'. Received {path!r}. "
            "Move the file under the root."
        )
    return root / path


def _open(path_or_bytes, kind):
    """A name for messages, and the whole content as a file."""
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        name, data = "<bytes>", bytes(path_or_bytes)
    else:
        path = Path(path_or_bytes)
        name, data, cause = repr(str(path)), b"", None
        try:
            if path.is_dir():
                cause = "is a directory"
            elif not path.exists():
                cause = "does not exist"
            elif not path.is_file():  # a pipe or a device may never end
                cause = "is not a regular file"
            else:
                data = path.read_bytes()
        except OSError as error:
            cause = f"can't be opened ({error.strerror})"
        if cause:
            raise MediaError(
                f"Expected {kind} file. Received {name}, which {cause}. Check the path."
            )
    if not data:
        raise MediaError(
            f"Expected {kind} file. Received {name}, which is empty (0 bytes). "
            "Copy or download it again."
        )
    return name, io.BytesIO(data)


def _has_end(format_name, data):
    """Whether a picture's end marker is there, in the formats where Pillow doesn't look."""
    if format_name == "PNG":
        return _PNG_END in data
    if format_name == "GIF":
        return data.rstrip(b"\0\r\n").endswith(b";")
    return True


def _to_rgb(image, name):
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        image = _narrow(image, name)
    if not image.has_transparency_data:
        return image.convert("RGB")
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
