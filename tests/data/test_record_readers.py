"""Readers: every record in one worker's part, in the same order, as it was."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf
from PIL import Image

from mmzoo.data import concept128, read_image, readers
from mmzoo.data.media.images import IMAGE_FITS
from mmzoo.data.prepare import prepare_dataset

pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")
ROWS = 25


@pytest.fixture(scope="module")
def samples():
    inputs, labels = concept128.draw_samples("test", 1)
    return {m: inputs[m][:ROWS] for m in inputs}, labels[:ROWS]


@pytest.fixture(scope="module")
def folder(samples, tmp_path_factory):
    """Records in seven files; each fourth lacks its picture, each fifth its sound."""
    place = tmp_path_factory.mktemp("records")
    rows = []
    for k in range(ROWS):
        Image.fromarray(samples[0]["image"][k]).save(place / f"{k}.png")
        soundfile.write(place / f"{k}.flac", samples[0]["audio"][k], 16_000)
        rows.append({"image": f"{k}.png" if k % 4 else None, "text": f"word {k}", "label": k % 3,
                     "audio": f"{k}.flac" if k % 5 else None})  # fmt: skip
    (place / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare_dataset(place / "m.jsonl", place / "data", rows_per_shard=4)
    return place / "data"


def ids(dataset):
    return [record["id"].decode() for record in dataset.as_numpy_iterator()]


def test_records_come_in_order_with_what_is_there(folder):
    found = list(readers.read_records(folder, verify=True).as_numpy_iterator())
    assert [record["id"].decode() for record in found] == [str(k + 1) for k in range(ROWS)]
    for k, record in enumerate(found):
        assert record["text"].decode() == f"word {k}" and record["label"] == k % 3
        assert record["image_present"] == (k % 4 > 0) == (record["image"] != b"")
        assert record["audio_present"] == (k % 5 > 0) and record["text_present"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 25])
def test_each_record_is_one_workers(folder, count):
    parts = [ids(readers.read_records(folder, shard=(k, count))) for k in range(count)]
    assert all(parts)
    assert sorted((name for part in parts for name in part), key=int) == [
        str(k + 1) for k in range(ROWS)
    ]


def test_decoded_records_are_what_models_take(folder, samples):
    made = list(readers.decode(readers.read_records(folder)).as_numpy_iterator())
    inputs, _ = samples
    for k, (found, label) in enumerate(made):
        assert label == k % 3
        image = inputs["image"][k] if k % 4 else np.zeros((64, 64, 3), "uint8")
        np.testing.assert_array_equal(found["image"], image)
        audio = inputs["audio"][k] if k % 5 else np.zeros(12_800)
        np.testing.assert_allclose(found["audio"], audio, atol=1 / 32768)
        text = b"word %d" % k
        assert found["text"].tobytes() == text + bytes(48 - len(text))


def test_threads_do_not_change_the_order(folder):
    data = readers.read_records(folder)
    one, many = (readers.decode(data, threads=n).batch(5) for n in (1, 8))
    for a, b in zip(one, many, strict=True):
        for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_pictures_are_scaled_and_sound_resampled(samples, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(picture, "PNG")
    sound = io.BytesIO()
    wave = np.sin(np.arange(8000) / 8000 * 2 * np.pi * 440).astype("float32") / 2
    soundfile.write(sound, wave, 8000, format="WAV")
    frame = pd.DataFrame({"image": [picture.getvalue()], "audio": [sound.getvalue()]})
    frame.to_parquet(tmp_path / "one.parquet")
    data = readers.read_parquet(tmp_path / "one.parquet")
    (found, label), = readers.decode(
        data, image_size=(8, 9), audio_samples=16_100, image_fit="pad"
    ).as_numpy_iterator()  # fmt: skip
    assert label == -1 and not found["text_present"]
    red, white = np.tile([255, 0, 0], (1, 9, 1)), np.full((1, 9, 3), 255)
    np.testing.assert_array_equal(found["image"], np.concatenate([white, *[red] * 6, white]))
    assert np.abs(np.fft.rfft(found["audio"][:16_000])).argmax() == 440


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(mode):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter to the right
    return {"exif": exif} if mode == "exif" else {
        "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x>'
    }  # fmt: skip


PICTURES = {
    "jpeg": lambda p: encoded(p, "JPEG"),
    "jpeg of half the colours": lambda p: encoded(p, "JPEG", subsampling=2, progressive=True),
    "grey jpeg": lambda p: encoded(p.convert("L"), "JPEG"),
    "cmyk jpeg": lambda p: encoded(p.convert("CMYK"), "JPEG"),
    "turned jpeg": lambda p: encoded(p, "JPEG", **turned("exif")),
    "jpeg turned by xmp": lambda p: encoded(p, "JPEG", **turned("xmp")),
    "png": lambda p: encoded(p, "PNG"),
    "grey png": lambda p: encoded(p.convert("L"), "PNG"),
    "palette": lambda p: encoded(p.convert("P"), "PNG"),
    "clear palette": lambda p: encoded(
        p.convert("P"), "PNG", transparency=p.convert("P").getpixel((9, 9))
    ),
    "turned png": lambda p: encoded(p, "PNG", **turned("exif")),
    "see-through png": lambda p: encoded(Image.merge("RGBA", [*p.split(), p.split()[0]]), "PNG"),
    "16 bits": lambda p: encoded(
        Image.fromarray(np.asarray(p.convert("L")).astype("uint16") * 251), "PNG"
    ),
    "gif": lambda p: encoded(p, "GIF"),
    "bmp": lambda p: encoded(p, "BMP"),
    "webp": lambda p: encoded(p, "WEBP"),
    "tiff": lambda p: encoded(p, "TIFF"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_what_they_are_elsewhere(kind, samples, tmp_path):
    """A model sees the same picture in training as in `mmzoo predict`, of any format and size."""
    picture = Image.fromarray(samples[0]["image"][1]).resize((37, 50))
    content = PICTURES[kind](picture)
    pd.DataFrame({"image": [content]}).to_parquet(tmp_path / "one.parquet")
    data = readers.read_parquet(tmp_path / "one.parquet")
    upright = read_image(content)
    assert upright.shape[:2] == ((37, 50) if "turned" in kind else (50, 37))
    for size, fit in [(upright.shape[:2], "pad"), *(((20, 33), each) for each in IMAGE_FITS)]:
        ((found, _),) = readers.decode(
            data, modalities=["image"], image_size=size, image_fit=fit
        ).as_numpy_iterator()
        expected = read_image(content, size, fit).astype(int)
        levels = 0 if size == upright.shape[:2] else 1
        if kind == "cmyk jpeg":
            levels += 3  # the two turn it to RGB by other roundings
        assert np.abs(found["image"] - expected).max() <= levels


def test_a_broken_picture_is_an_error(tmp_path):
    pd.DataFrame({"image": [b"no picture"]}).to_parquet(tmp_path / "one.parquet")
    data = readers.decode(readers.read_parquet(tmp_path / "one.parquet"), modalities=["image"])
    with pytest.raises(tf.errors.OpError, match="Save it as PNG or JPEG"):
        list(data)


def test_files_without_a_record_are_nobodys(tmp_path):
    rows = [{"text": "a" if k in (0, 4) else None} for k in range(8)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare_dataset(tmp_path / "m.jsonl", tmp_path / "data", rows_per_shard=2)
    parts = [ids(readers.read_records(tmp_path / "data", shard=(k, 2))) for k in range(2)]
    assert parts == [["1"], ["5"]]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
def test_row_groups_are_shared_out_where_there_are_enough(tmp_path, count):
    frame = pd.DataFrame({"text": [f"t{k}" for k in range(10)]})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=4)
    parts = [ids(readers.read_parquet(tmp_path / "t.parquet", shard=(k, count)))
             for k in range(count)]  # fmt: skip
    assert sorted((name for part in parts for name in part), key=int) == [
        str(k + 1) for k in range(10)
    ]
    if count == 2:
        assert parts == [["1", "2", "3", "4", "9", "10"], ["5", "6", "7", "8"]]
    with pytest.raises(ValueError, match="a row for each of 11 workers. Received: 10"):
        readers.read_parquet(tmp_path / "t.parquet", shard=(0, 11))


def test_parquet_and_folders_are_sharded_too(tmp_path, samples):
    frame = pd.DataFrame({"id": [f"p{k}" for k in range(9)], "words": list("abcdefghi")})
    frame.to_parquet(tmp_path / "t.parquet")
    for k, name in enumerate(["pear", "apple", "apple"]):
        (tmp_path / "files" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(samples[0]["image"][k]).save(tmp_path / "files" / name / f"{k}.png")
    (tmp_path / "files/pear/notes.txt").touch()

    def parquet(shard):
        return readers.read_parquet(tmp_path / "t.parquet", shard=shard, columns={"text": "words"})

    def folder(shard):
        return readers.read_folder(tmp_path / "files", shard=shard)

    for read, count in ((parquet, 9), (folder, 3)):
        whole = ids(read((0, 1)))
        assert len(whole) == count
        assert sorted(ids(read((0, 2))) + ids(read((1, 2)))) == sorted(whole)
    found = list(folder((0, 1)).as_numpy_iterator())
    assert [(r["id"], r["label"]) for r in found] == [
        (b"apple/1.png", 0), (b"apple/2.png", 0), (b"pear/0.png", 1),
    ]  # fmt: skip


def test_some_modalities_alone(folder):
    inputs, _ = next(iter(readers.decode(readers.read_records(folder), modalities=["text"])))
    assert set(inputs) == {"text", "text_present"}
    with pytest.raises(ValueError, match="Expected some of"):
        readers.decode(readers.read_records(folder), modalities=["smell"])


def test_what_is_wrong_is_said(folder, tmp_path):
    with pytest.raises(ValueError, match="without dataset.json"):
        readers.read_records(tmp_path)
    with pytest.raises(ValueError, match="Take fewer workers"):
        readers.read_records(folder, shard=(0, 26))
    with pytest.raises(ValueError, match="0 <= index < count"):
        readers.read_records(folder, shard=(2, 2))
    with pytest.raises(ValueError, match="one a class. Received: 0"):
        readers.read_folder(tmp_path)
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="Expected columns of image, text or audio"):
        readers.read_parquet(tmp_path / "x.parquet")
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset.json").write_text('{"schema": 2}')
    with pytest.raises(ValueError, match="Expected a data set of schema 1. Received: 2"):
        readers.read_records(other)


def test_a_changed_file_is_noticed(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "data")
    first = next((tmp_path / "data").glob("data-*"))
    first.write_bytes(first.read_bytes() + b"x")
    with pytest.raises(ValueError, match="Copy it again"):
        readers.read_records(tmp_path / "data", verify=True)
