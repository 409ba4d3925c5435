"""Encoded pictures: the pixels that Pillow reads, upright, on white, in one size."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from mmzoo.export.certify.edge_cases.image_files import picture_files
from mmzoo.export.surgery.exif_orientation import read_orientation
from mmzoo.export.surgery.image_decoding import decode_pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype("uint8")


def png(pixels, mode="RGB"):
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "PNG")
    return file.getvalue()


def test_pictures_are_fitted_on_white():
    wide = np.zeros((10, 40, 3), "uint8")  # black
    half = np.zeros((16, 16, 4), "uint8")
    half[:, :8] = [255, 0, 0, 255]  # red, and nothing
    same = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(np.full((64, 32, 3), 100, "uint8")).save(file, "JPEG")
    encoded = [png(wide), png(half, "RGBA"), png(same), file.getvalue(), b""]
    found = decode_pictures(tf.constant(encoded), (16, 16), "pad").numpy()
    assert found.dtype == np.uint8 and found.shape == (5, 16, 16, 3)
    assert (found[0, 6:10] == 0).all() and (found[0, :6] == 255).all()
    assert (found[0, 10:] == 255).all()
    assert (found[1, :, :8] == [255, 0, 0]).all() and (found[1, :, 8:] == 255).all()
    np.testing.assert_array_equal(found[2], same)
    assert np.abs(found[3, :, 4:12].astype(int) - 100).max() <= 2
    assert (found[3, :, :4] == 255).all() and (found[3, :, 12:] == 255).all()
    assert (found[4] == 255).all()


def test_a_large_picture_is_scaled_as_it_is_by_pillow():
    """No aliasing: a fine pattern becomes grey."""
    pixels = np.zeros((128, 128, 3), "uint8")
    pixels[:, ::2] = 255
    found = decode_pictures(tf.constant([png(pixels)]), (16, 16), "pad").numpy()[0]
    assert np.abs(found.astype(int) - 127).max() <= 40
    smooth = np.add.outer(np.arange(96), np.arange(96))[..., None].repeat(3, 2).astype("uint8")
    found = decode_pictures(tf.constant([png(smooth)]), (16, 16), "pad").numpy()[0]
    pillow = np.asarray(Image.fromarray(smooth).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("size", [(24, 40), (7, 5), (1, 1)])
def test_every_kind_of_file_has_the_pixels_that_pillow_reads(size):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (28, *size, 3)).astype("uint8")
    files, expected = picture_files(images)
    found = decode_pictures(tf.constant(files), size, "pad").numpy()
    for k in range(len(images)):
        np.testing.assert_array_equal(found[k], expected[k], err_msg=f"kind {k}")
    np.testing.assert_array_equal(expected[0], images[0])


def jpeg(orientation, maker="maker"):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = maker
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("maker", ["m", "a long name"])
def test_the_orientation_is_the_one_that_pillow_finds(orientation, maker):
    found = read_orientation(tf.constant(jpeg(orientation, maker)))
    assert int(found) == (orientation if 1 <= orientation <= 8 else 1)


def test_big_and_little_endian_and_a_segment_in_front():
    little = jpeg(6)
    start = little.index(b"Exif\0\0") + 6
    assert little[start : start + 2] == b"MM"  # as Pillow writes it
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    plain = io.BytesIO()
    Image.fromarray(PIXELS).save(plain, "JPEG")  # begins with a JFIF segment
    body = plain.getvalue()
    cut = 4 + int.from_bytes(body[4:6], "big")
    length = (len(segment) + 2).to_bytes(2, "big")
    made = body[:cut] + b"\xff\xe1" + length + segment + body[cut:]
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(made))).size == (24, 40)
    assert int(read_orientation(tf.constant(made))) == 8


def test_damaged_exif_data_is_no_error():
    whole = jpeg(6)
    for cut in range(0, 300, 3):
        assert int(read_orientation(tf.constant(whole[:cut]))) in (1, 6)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole[:200])
        for place in rng.integers(0, 120, 6):
            damaged[place] = rng.integers(256)
        assert 1 <= int(read_orientation(tf.constant(bytes(damaged)))) <= 8
    assert int(read_orientation(tf.constant(b""))) == 1
    assert int(read_orientation(tf.constant(png(PIXELS)))) == 1
