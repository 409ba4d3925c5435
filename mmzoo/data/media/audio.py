"""Sound files of the common formats to the waveforms that the models read."""

import io
from pathlib import Path

import numpy as np

from mmzoo.data.media.audio_headers import cut_where, mpeg_frames
from mmzoo.data.media.media_files import MediaError, read_file

# Limits of a sound file. They are read from its header, before memory is taken, and once more
# counted while it is decoded, for a header can lie.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz
MAX_CHANNELS = 64
MAX_SECONDS = 3_600
# Those of which a file that was cut can be told from a whole one.
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")

_BLOCK = 1 << 20  # samples of all channels that are decoded at a time


def read_audio(path_or_bytes: str | Path | bytes, sample_rate: int = 16_000) -> np.ndarray:
    """Reads sound (`FORMATS`; OGG is Vorbis or Opus) as a mono waveform.

    Channels are averaged. Amplitudes are not normalised, and resampling may overshoot
    [-1, 1] a little at a steep edge. A file has at most `MAX_SECONDS`, `MAX_CHANNELS`, and
    between `MIN_SAMPLE_RATE` and `MAX_SAMPLE_RATE` Hz.

    Args:
        path_or_bytes: A file's path, or its content.
        sample_rate: Positive int, in Hz, at most `MAX_SAMPLE_RATE`. Other rates are resampled
            to it.

    Returns:
        float32 array of shape `(time,)`, finite.

    Raises:
        MediaError: If the file is missing, empty, of an unsupported format, cut, above the
            limits, holds no samples or no channels, or holds NaN or infinite samples.
        ValueError: If `sample_rate` is out of range.
    """
    import soundfile

    if not 1 <= sample_rate <= MAX_SAMPLE_RATE:
        raise ValueError(
            f"`sample_rate` must be a positive int, at most {MAX_SAMPLE_RATE}. "
            f"Received: sample_rate={sample_rate}."
        )
    name, data = read_file(path_or_bytes, "an audio")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check(name, data, file)
            frames, waveform = _decoded(name, file, sample_rate)
    except MediaError:
        raise
    except Exception as error:  # soundfile's own errors, and NumPy's on a broken header
        raise MediaError(
            f"Expected an audio file with at least one channel. Received {name}: "
            f"{getattr(error, 'error_string', error)} Convert it to WAV, FLAC or OGG."
        ) from error
    if frames < file.frames:
        raise _is_cut(
            name, f"its header promises {file.frames:,} samples, and {frames:,} are there"
        )
    if not len(waveform):
        raise MediaError(
            f"Expected at least one audio sample at {sample_rate} Hz. Received {name}, "
            f"of zero length ({frames} samples at {file.samplerate} Hz). Leave it out."
        )
    return waveform


def _check(name, data, file):
    """Raises unless the header keeps the limits, and the file holds what it promises."""
    if file.format not in FORMATS:
        raise MediaError(
            f"Expected an audio file of the formats {', '.join(FORMATS)}. Received {name}, "
            f"of the format {file.format}. Convert it to WAV, FLAC or OGG."
        )
    fault = cut_where(data, file.format)
    if fault:
        raise _is_cut(name, fault)
    unknown = file.frames >= 1 << 62  # libsndfile's count where the header has none
    if file.format == "MP3":  # without a count in it, libsndfile guesses, and reads no further
        count, samples, _, promised = mpeg_frames(data)
        unknown = promised is None and count * samples > file.frames + samples
    if unknown:
        raise MediaError(
            f"Expected an audio file that says how long it is. Received {name}, a {file.format} "
            "file without a length. Convert it to WAV, or write it to a file instead of a pipe."
        )
    if not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
        received = f"{file.samplerate:,} Hz"
    elif file.channels > MAX_CHANNELS:
        received = f"{file.channels:,} channels"
    elif file.frames > MAX_SECONDS * file.samplerate:
        received = f"{file.frames / file.samplerate:,.0f} seconds"
    else:
        return
    raise MediaError(
        f"Expected sound of {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,} Hz, at most {MAX_CHANNELS} "
        f"channels and {MAX_SECONDS:,} seconds. Received {name}, of {received}. Cut or resample "
        "it first."
    )


def _decoded(name, file, sample_rate):
    """How many frames there are, and the waveform; a block at a time."""
    import soxr

    rate, most = file.samplerate, MAX_SECONDS * file.samplerate
    resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1)
    held, frames = bytearray(), 0
    while len(block := file.read(_BLOCK // file.channels, dtype="float32", always_2d=True)):
        frames += len(block)
        if frames > most:
            raise MediaError(f"{name} holds more than {MAX_SECONDS:,} seconds of sound. Cut it.")
        if not np.isfinite(block).all():
            raise MediaError(
                f"Expected finite audio samples. Received {name}, which holds NaN or infinite "
                "ones. Export it again, or leave it out."
            )
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        held += (mono if resampler is None else resampler.resample_chunk(mono)).tobytes()
    if resampler is not None:
        held += resampler.resample_chunk(np.zeros(0, "float32"), last=True).tobytes()
    return frames, np.frombuffer(held, "float32")  # writable, as a bytearray is


def _is_cut(name, fault):
    return MediaError(
        f"Expected a whole audio file. Received {name}, which is cut: {fault}. Copy or download "
        "it again."
    )
