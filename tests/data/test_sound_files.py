"""Sound files that were cut, and those that would take all memory."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from mmzoo.data.media import audio
from mmzoo.data.media.audio import read_audio
from mmzoo.data.media.media_files import MediaError

WAVE = 0.3 * np.sin(np.arange(32_000) * 0.1)


def encode(kind, subtype=None, rate=16_000, wave=WAVE, **options):
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype, **options)
    return file.getvalue()


KINDS = [
    ("WAV", None), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", None),
    ("RF64", None), ("W64", None), ("AIFF", None), ("AIFF", "PCM_24"), ("AIFF", "ULAW"),
    ("AU", None), ("CAF", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
]  # fmt: skip


@pytest.mark.parametrize("kind, subtype", KINDS)
def test_a_cut_file_is_refused_and_a_whole_one_read(kind, subtype):
    data = encode(kind, subtype)
    assert len(read_audio(data)) >= len(WAVE)
    for end in (len(data) // 4, len(data) // 2, len(data) * 9 // 10, len(data) - 300):
        with pytest.raises(MediaError, match="which is cut|malformed|lost sync"):
            read_audio(data[:end])


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "AU", "MP3"])
def test_a_file_that_lacks_one_byte_is_refused(kind):
    with pytest.raises(MediaError, match="which is cut: .*Copy or download it again"):
        read_audio(encode(kind)[:-1])


def test_what_follows_the_sound_may_be_cut_or_there():
    data = encode("WAV")
    for more in (b"LIST\x64\0\0\0INFO", b"anything"):
        assert len(read_audio(data + more)) == len(WAVE)


def test_a_promise_of_more_than_the_chunk_holds():
    data = bytearray(encode("AIFF"))
    place = data.index(b"COMM") + 10
    data[place : place + 4] = struct.pack(">I", 64_000)
    with pytest.raises(MediaError, match="which is cut: its header promises"):
        read_audio(bytes(data))


def test_a_wav_of_a_pipe_has_no_length_and_is_read():
    data = bytearray(encode("WAV"))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert len(read_audio(bytes(data))) == len(WAVE)


def test_files_without_a_length_are_named():
    flac = bytearray(encode("FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)  # the count of samples
    noise = WAVE + 0.05 * np.random.default_rng(0).standard_normal(len(WAVE))
    mp3 = encode("MP3", wave=noise, bitrate_mode="VARIABLE", compression_level=0.5)
    first = mp3.index(mp3[:2], 4)
    for data in (bytes(flac), mp3[first:]):
        with pytest.raises(MediaError, match="file without a length. Convert it to WAV"):
            read_audio(data)
    constant = encode("MP3", wave=noise, bitrate_mode="CONSTANT", compression_level=0.5)
    headless = constant[constant.index(constant[:2], 4) :]
    assert len(read_audio(headless)) >= len(WAVE)
    with pytest.raises(MediaError, match="its last frame is cut"):
        read_audio(headless[: len(headless) // 2 + 7])


def test_limits_are_read_from_the_header():
    slow = bytearray(encode("WAV"))
    slow[24:28] = struct.pack("<I", 1)  # Hz
    fast = bytearray(encode("WAV"))
    fast[24:28] = struct.pack("<I", 4_000_000)
    wide = encode("WAV", wave=np.zeros((9, 65)))
    long = encode("FLAC", rate=1_000, wave=np.zeros(3_600_001, "int16"))
    for data, received in [
        (slow, "1 Hz"), (fast, "4,000,000 Hz"), (wide, "65 channels"), (long, "3,600 seconds"),
    ]:  # fmt: skip
        with pytest.raises(MediaError, match=f"Expected sound of 1,000 to .*, of {received}. Cut"):
            read_audio(bytes(data))
    assert len(read_audio(encode("WAV", wave=np.zeros((9, 64))))) == 9
    with pytest.raises(ValueError, match="`sample_rate` must be a positive int, at most 768000"):
        read_audio(bytes(slow), 10**9)


def test_exotic_formats_are_named():
    with pytest.raises(MediaError, match="of the formats WAV, .*of the format VOC. Convert"):
        read_audio(encode("VOC"))


def test_blocks_give_what_the_whole_does(monkeypatch):
    import soxr

    for rate, channels in ((44_100, 2), (8_000, 1), (16_000, 3)):
        wave = np.random.default_rng(rate).uniform(-1, 1, (20_000, channels)).astype("float32")
        data = encode("WAV", "FLOAT", rate, wave)
        monkeypatch.setattr(audio, "_BLOCK", 1000)
        expected = soxr.resample(wave.mean(axis=1), rate, 16_000)
        np.testing.assert_array_equal(read_audio(data), expected)


LIMITED = """
import resource, sys
from mmzoo.data.media.audio import read_audio
import soundfile, soxr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
try:
    read_audio(sys.argv[1])
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, "MB")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
def test_a_small_file_takes_little_memory(tmp_path):
    """An hour and more of silence in FLAC; then with a header that says one second."""
    data = bytearray(encode("FLAC", rate=8_000, wave=np.zeros(8_000 * 3_700, "int16")))
    lying = bytearray(data)
    lying[22:26] = struct.pack(">I", 8_000)
    for k, content in enumerate((data, lying)):
        (tmp_path / f"{k}.flac").write_bytes(content)
        command = [sys.executable, "-c", LIMITED, str(tmp_path / f"{k}.flac")]
        found = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stderr
        assert int(found.stdout.split()[-2]) < 100, found.stdout
