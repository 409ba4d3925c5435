"""Pictures that are large, and small files that would become large."""

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmzoo.data.media import images
from mmzoo.data.media.images import MAX_PIXELS, MediaError, as_size, check_image, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(width, height, mode="RGB"):
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image.convert(mode)


def png_of(width, height, rows=b""):
    """A PNG that says its size; of the rows only what is given."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


LARGE = [
    ("JPEG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("TIFF", "RGB"), ("BMP", "RGB"),
    ("JPEG", "CMYK"),
]  # fmt: skip


@pytest.mark.parametrize("kind, mode", LARGE)
def test_large_pictures_are_scaled_on_load(monkeypatch, tmp_path, kind, mode):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter to the right: what is left comes to the top
    options = {"exif": exif} if kind != "BMP" else {}
    data = encode(halves(800, 400, mode), kind, **options)
    path = tmp_path / "a.img"
    path.write_bytes(data)
    expected = read_image(data, (20, 20)).astype(int)
    monkeypatch.setattr(images, "SCALED_FROM", 100_000)
    for source in (data, path):
        assert np.abs(read_image(source, 20) - expected).max() <= 8
        assert check_image(data, "a") == ((800, 400) if options else (400, 800))
    with pytest.raises(MediaError, match="truncated or corrupt|in its header"):
        read_image(data[: len(data) // 2], 20)


def test_16_bit_and_float_pictures_are_scaled_too(monkeypatch):
    monkeypatch.setattr(images, "SCALED_FROM", 100)
    deep = Image.fromarray(np.full((99, 201), 257 * 40, "uint16"))
    assert (read_image(encode(deep, "PNG"), (4, 8)) == 40).all()
    deep = Image.fromarray(np.full((99, 201), 0.5, "float32"))
    with pytest.raises(MediaError, match="32-bit pixels"):
        read_image(encode(deep, "TIFF"), (4, 8))


MEASURED = """
import resource, sys, warnings
warnings.simplefilter("error")
from mmzoo.data.media.images import read_image
from PIL import Image
Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(sys.argv[1], (64, 64))
print(image.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_of_108_megapixels_is_read(tmp_path, kind):
    Image.new("L", (12_000, 9_000), 200).save(tmp_path / "photo", kind, compress_level=1)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "photo")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("(64, 64, 3)") and int(found.stdout.split()[-1]) < 300


def test_one_limit_for_bytes_and_paths(tmp_path, monkeypatch):
    data = png_of(50_000, 50_000)
    (tmp_path / "bomb.png").write_bytes(data)
    sentence = (
        f"Expected an image of at most {MAX_PIXELS} pixels. Received .*: 50000 x 50000 pixels"
    )
    for source in (data, tmp_path / "bomb.png"):
        for size in (None, 64):
            with pytest.raises(MediaError, match=sentence):
                read_image(source, size)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # of another library
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(encode(halves(8, 8), "PNG")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_many_frames_one_is_decoded(kind):
    frames = [Image.new("RGB", (64, 64), (k % 256, 0, 255 if k else 0)) for k in range(200)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert read_image(data)[:, :, 2].max() < 20


def test_a_chunk_that_unpacks_to_much_is_refused():
    bomb = b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    data = encode(halves(4, 4), "PNG")
    with pytest.raises(MediaError, match="too large"):
        read_image(data[:33] + chunk + data[33:])


def test_a_file_above_the_limit_is_not_read(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((1 << 30) + 1)  # takes no place on the disk
    with pytest.raises(MediaError, match="has 1,073,741,825 bytes, more than the limit of"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA",
                                  "JPEG2000", "ICO", "PCX", "AVIF"])  # fmt: skip
def test_the_truncation_flag_of_other_threads_is_left_alone(monkeypatch, kind):
    """With it set or not, whole pictures are read, cut ones refused, and it is never written."""
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow can't write {kind}")
    data = encode(halves(48, 32), kind)
    expected = read_image(data)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    seen, over = [], threading.Event()

    def watch():
        while not over.is_set():
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        np.testing.assert_array_equal(read_image(data), expected)
    with pytest.raises(MediaError):
        read_image(data[: len(data) // 2])
    over.set()
    watcher.join()
    assert set(seen) == {True}


def test_one_number_is_a_square():
    data = encode(halves(8, 8), "PNG")
    for size in (96, np.int64(96), [96, 96], np.array([96, 96])):
        assert read_image(data, size).shape == (96, 96, 3)
    for size in (0, -1, 9.6, True, "96", (1, 2, 3), (1.5, 2), None):
        with pytest.raises(ValueError, match="`image_size` must be two positive ints .*or one"):
            as_size(size, "image_size")
