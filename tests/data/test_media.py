import io
import struct

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageFile

from mmzoo.data.media.images import IMAGE_FITS, MediaError, inside, read_audio, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height=24, width=32):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")
    return Image.fromarray(pixels)


def tone(rate, channels=1, seconds=1.0, hertz=440):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave] * channels, axis=1)


def encode_sound(samples, rate=16_000, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(tmp_path, kind):
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(encode(noise(), kind))
    for source in (path, str(path), path.read_bytes()):
        image = read_image(source)
        assert image.dtype == np.uint8 and image.flags.writeable
        np.testing.assert_array_equal(image, np.asarray(noise()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_keep_a_flat_colour(kind):
    image = read_image(encode(Image.new("RGB", (32, 24), (200, 60, 20)), kind))
    assert image.shape == (24, 32, 3)
    assert np.abs(image.astype(int) - (200, 60, 20)).max() <= 4


def test_16_bit_greyscale_is_scaled_not_clipped():
    values = np.array([[0, 128, 129, 256, 32768, 65535]], "uint16")
    image = read_image(encode(Image.fromarray(values), "PNG"))
    assert image[0].tolist() == [[v] * 3 for v in (0, 0, 1, 1, 128, 255)]  # round(v / 257)


def test_16_bit_transparent_value_is_white():
    values = np.array([[0, 1000]], "uint16")
    image = read_image(encode(Image.fromarray(values), "PNG", transparency=1000))
    assert image[0, :, 0].tolist() == [0, 255]


def test_transparency_is_composed_on_white():
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 51))  # 255 * (1 - 51 / 255)
    expected = [[255, 255, 255], [255, 0, 0], [204, 204, 204]]
    assert read_image(encode(image, "PNG"))[0].tolist() == expected


def test_palette_with_transparency_greyscale_and_cmyk():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    image = read_image(encode(palette, "PNG", transparency=0))
    assert image[0].tolist() == [[255, 255, 255], list(BLUE)]
    assert read_image(encode(Image.new("L", (1, 1), 77), "PNG")).tolist() == [[[77] * 3]]
    cmyk = read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(cmyk.astype(int) - RED).max() <= 4


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_image(data) == RED).all()


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (16, 0, 32, 16))  # red left, blue right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: red on top
    turned = read_image(encode(image, "JPEG", exif=exif, quality=95))
    assert turned.shape == (32, 16, 3)
    assert np.abs(turned[4].astype(int) - RED).max() <= 4
    assert np.abs(turned[-4].astype(int) - BLUE).max() <= 4


def test_a_wide_picture_is_letterboxed_on_white():
    image = read_image(encode(Image.new("RGB", (40, 20), RED), "PNG"), size=(64, 64), fit="pad")
    assert image.shape == (64, 64, 3)
    assert (image[:16] == 255).all() and (image[48:] == 255).all()
    assert (image[16:48] == RED).all()
    image = read_image(encode(Image.new("RGB", (10, 40), RED), "PNG"), size=(8, 20), fit="pad")
    assert [tuple(pixel) == RED for pixel in image[3]] == [False] * 9 + [True] * 2 + [False] * 9
    line = read_image(encode(Image.new("RGB", (1000, 1), RED), "PNG"), size=(4, 4), fit="pad")
    assert (line == RED).all(-1).sum() == 4  # never thinner than a pixel


def test_a_picture_is_stretched_or_cut_around_its_middle():
    wide = np.zeros((50, 200, 3), "uint8")
    wide[:, 75:125] = RED
    file = encode(Image.fromarray(wide), "PNG")
    stretched = read_image(file, (8, 8))
    assert (stretched == read_image(file, (8, 8), "stretch")).all()
    assert (stretched[:, [0, 7]] == 0).all() and stretched.shape == (8, 8, 3)
    assert (read_image(file, (8, 8), "crop") == RED).all()  # nothing but the middle
    tall = encode(Image.fromarray(wide.transpose(1, 0, 2)), "PNG")
    assert (read_image(tall, (8, 8), "crop") == RED).all()
    black = encode(Image.new("RGB", (200, 50)), "PNG")
    white = {fit: (read_image(black, (50, 50), fit) == 255).mean() for fit in IMAGE_FITS}
    assert white["stretch"] == white["crop"] == 0 and 0.7 < white["pad"] < 0.8
    for fit in IMAGE_FITS:  # extremes keep a pixel
        assert read_image(encode(Image.new("RGB", (1000, 1), RED), "PNG"), (4, 4), fit).shape
    with pytest.raises(ValueError, match="`fit` must be one of .*Received: fit='cover'"):
        read_image(file, (8, 8), "cover")


def test_scaling_is_bilinear():
    image = Image.new("L", (2, 1), 0)
    image.putpixel((1, 0), 200)
    assert read_image(encode(image, "PNG"), size=(2, 4))[0, :, 0].tolist() == [0, 50, 150, 200]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("lenient", [False, True])
def test_truncated_images_are_refused(tmp_path, monkeypatch, kind, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = encode(noise(), kind)
    path = tmp_path / "cut.img"
    for length in (len(data) // 2, len(data) - 1 if kind != "PNG" else len(data) - 12):
        path.write_bytes(data[:length])
        with pytest.raises(MediaError, match=r"cut\.img', which is (truncated|in no format)"):
            read_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


@pytest.mark.parametrize("read, kind", [(read_image, "an image"), (read_audio, "an audio")])
def test_missing_directory_and_empty_files(tmp_path, read, kind):
    with pytest.raises(MediaError, match=f"Expected {kind} file.*gone.x', which does not exist"):
        read(tmp_path / "gone.x")
    with pytest.raises(MediaError, match=f"Expected {kind} file.*which is a directory. Check"):
        read(tmp_path)
    (tmp_path / "empty.x").touch()
    with pytest.raises(MediaError, match=r"empty.x', which is empty \(0 bytes\). Copy"):
        read(tmp_path / "empty.x")
    with pytest.raises(MediaError, match="<bytes>, which is empty"):
        read(b"")
    with pytest.raises(MediaError, match="can't be opened"):
        read(tmp_path / ("long" * 200))


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    with pytest.raises(
        MediaError, match="note.png', which is in no format that Pillow reads, or.* Save"
    ):
        read_image(tmp_path / "note.png")
    with pytest.raises(MediaError, match="in no format that Pillow reads"):
        read_image(encode_sound(tone(16_000)))


@pytest.mark.parametrize(
    "value", [np.full((2, 2), 0.5, "float32"), np.full((2, 2), 70_000, "int32")]
)
def test_pixels_of_unknown_range_are_refused(value):
    with pytest.raises(MediaError, match="Expected an image of 8 or 16 bits.*32-bit pixels"):
        read_image(encode(Image.fromarray(value), "TIFF"))


def test_decompression_bombs_are_refused(monkeypatch):
    data = bytearray(encode(Image.new("L", (8, 8)), "BMP"))
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    with pytest.raises(MediaError, match="at most 200000000 pixels.*Scale it down first"):
        read_image(bytes(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some libraries do
    with pytest.raises(MediaError, match="60000 x 60000 pixels"):
        read_image(bytes(data))


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, -1)])
def test_size_is_checked(size):
    with pytest.raises(ValueError, match=r"`size` must be two positive ints .*Received: size="):
        read_image(b"", size)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_stereo_44100_hz_is_resampled_to_mono_16000_hz(tmp_path, kind):
    path = tmp_path / f"tone.{kind.lower()}"
    path.write_bytes(encode_sound(tone(44_100, channels=2), 44_100, kind))
    for source in (path, path.read_bytes()):
        waveform = read_audio(source)
        assert waveform.dtype == np.float32 and waveform.shape == (16_000,)
        assert np.abs(np.fft.rfft(waveform)).argmax() == 440  # 1 s: a bin a hertz
        assert abs(np.abs(waveform[1000:-1000]).max() - 0.5) < 0.02
    assert read_audio(path, sample_rate=8_000).shape == (8_000,)


def test_channels_are_averaged_and_nothing_is_rescaled():
    samples = np.array([[1.0, 0.0], [-1.0, -1.0], [0.25, 0.0]])
    waveform = read_audio(encode_sound(samples, subtype="FLOAT"))
    assert waveform.tolist() == [0.5, -1.0, 0.125]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, bad):
    (tmp_path / "bad.wav").write_bytes(encode_sound(np.array([0.0, bad]), subtype="FLOAT"))
    with pytest.raises(MediaError, match="bad.wav', which holds NaN or infinite ones. Export"):
        read_audio(tmp_path / "bad.wav")


def test_zero_length_audio_is_refused(tmp_path):
    (tmp_path / "none.wav").write_bytes(encode_sound(np.zeros((0, 1))))
    with pytest.raises(MediaError, match="none.wav.*zero length .0 samples at 16000 Hz.*Leave"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(MediaError, match="of zero length .1 samples at 44100 Hz"):
        read_audio(encode_sound(np.zeros(1), 44_100))


def test_audio_without_channels_is_refused(tmp_path):
    data = bytearray(encode_sound(tone(16_000)))
    data[22:24] = b"\0\0"  # the channel count of a WAV header
    (tmp_path / "mute.wav").write_bytes(data)
    with pytest.raises(MediaError, match="at least one channel.*mute.wav': Channel count is zero"):
        read_audio(tmp_path / "mute.wav")


def test_unsupported_and_truncated_audio(tmp_path):
    (tmp_path / "a.wav").write_text("not a sound")
    with pytest.raises(MediaError, match="a.wav': Format not recognised. Convert it to WAV"):
        read_audio(tmp_path / "a.wav")
    data = encode_sound(tone(16_000), kind="FLAC")
    with pytest.raises(MediaError, match="Expected an audio file.*Convert it to"):
        read_audio(data[: len(data) // 2])


def test_sample_rate_is_checked():
    with pytest.raises(ValueError, match="`sample_rate` must be a positive int, .*Received"):
        read_audio(b"", sample_rate=0)


@pytest.mark.parametrize(
    "path", ["../a.png", "a/../../b.png", "/etc/a.png", "C:\\a.png", "a\\..\\b"]
)
def test_paths_stay_inside_the_root(tmp_path, path):
    with pytest.raises(
        MediaError, match="Expected a path inside the root.*(Move the file|Write it)"
    ):
        inside(tmp_path, path)
    assert inside(tmp_path, "a/b..c.png") == tmp_path / "a" / "b..c.png"
