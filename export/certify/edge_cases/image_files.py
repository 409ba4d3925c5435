"""Pictures as files of every kind that people send, and what Pillow reads in them."""

import io

import numpy as np
from PIL import Image, ImageOps

ORIENTATION = 274  # EXIF's number of it
# What turns a picture so that turning it as the orientation says gives it back.
INVERSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture_files(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Writes each picture as a file, the kinds in turn.

    The kinds: PNG in colour, grey, with a palette (of 8 and of 4 bits) and with transparency;
    JPEG in each of EXIF's eight orientations, grey, and progressive.

    Args:
        images: uint8 `(count, height, width, 3)`.

    Returns:
        The files, bytes `(count,)`; and what Pillow reads in them, turned upright and on white,
        uint8 `(count, height, width, 3)`: `images` themselves, less what the kind loses.
    """
    kinds = [_png, *(_jpeg(orientation) for orientation in INVERSE), _grey_png, _palette_png(64),
             _palette_png(16), _transparent_png, _grey_jpeg, _progressive_jpeg]  # fmt: skip
    files = [kinds[k % len(kinds)](Image.fromarray(image)) for k, image in enumerate(images)]
    # No kind ends in a zero byte, which numpy's strings would lose.
    return np.array(files, "S"), np.stack([_read(file) for file in files])


def _read(file):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def _save(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _png(picture):
    return _save(picture, "PNG")


def _grey_png(picture):
    return _save(picture.convert("L"), "PNG")


def _palette_png(colours):
    return lambda picture: _save(picture.quantize(colours), "PNG")


def _transparent_png(picture):
    """The left half is not there."""
    picture = picture.convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, picture.width // 2, picture.height))
    return _save(picture, "PNG")


def _jpeg(orientation):
    def save(picture):
        exif, turned = Image.Exif(), INVERSE[orientation]
        exif[ORIENTATION] = orientation
        return _save(picture if turned is None else picture.transpose(turned), "JPEG", exif=exif)

    return save


def _grey_jpeg(picture):
    return _save(picture.convert("L"), "JPEG")


def _progressive_jpeg(picture):
    return _save(picture, "JPEG", progressive=True, quality=90)
