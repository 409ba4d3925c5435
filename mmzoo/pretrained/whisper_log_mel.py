"""Whisper's log-mel spectrogram, by operators that every export format has."""

import keras
import numpy as np
from keras import ops

SAMPLE_RATE = 16_000
FRAME = 400  # samples, 25 ms
STEP = 160  # 10 ms
TOKEN = 2 * STEP  # the encoder halves the frames
MELS = 80
LONGEST = 30  # seconds


@keras.saving.register_keras_serializable(package="mmzoo")
class WhisperLogMel(keras.layers.Layer):
    """Log-mel spectrogram of a waveform, scaled as Whisper was trained on it.

    The waveform is cut, or padded with zeros behind, to a fixed length first. Power spectra
    come from one convolution with fixed Fourier kernels, not from an FFT operator, which
    ONNX converters lack.

    Args:
        seconds: Number of seconds, up to 30 (Whisper's own) and a multiple of 0.02.

    Call arguments:
        inputs: Float tensor `(batch, time)`, a waveform at 16 kHz in [-1, 1]. Exact zeros
            are silence that was padded.

    Returns:
        Pair of a float tensor `(batch, 100 * seconds, 80)`, a frame each 10 ms, and a bool
        tensor `(batch, 50 * seconds)`: True for the 20 ms of a token of the encoder if they
        hold a non-zero sample.

    Raises:
        ValueError: If the input is not 2D, or `seconds` is out of range.

    Reference:
        Radford et al., 2022 (arXiv:2212.04356). Differs: any length up to 30 seconds.
    """

    def __init__(self, seconds=LONGEST, **kwargs):
        super().__init__(autocast=False, **kwargs)
        number = isinstance(seconds, int | float) and 0 < seconds <= LONGEST
        self.tokens = round(seconds * 50) if number else 0
        if self.tokens < 1 or abs(seconds * 50 - self.tokens) > 1e-6:
            raise ValueError(
                f"`seconds` must be a multiple of 0.02 up to {LONGEST}. "
                f"Received: seconds={seconds!r}."
            )
        self.seconds = seconds

    def build(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(
                "Expected a waveform of shape (batch, time). "
                f"Received: input_shape={tuple(input_shape)}."
            )
        self.kernel = self._fixed("kernel", fourier_kernels())
        self.mel_matrix = self._fixed("mel_matrix", mel_matrix())

    def _fixed(self, name, value):
        return self.add_weight(
            shape=value.shape, trainable=False, name=name, dtype="float32", autocast=False,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value, dtype),
        )  # fmt: skip

    def call(self, inputs):
        samples = self.tokens * TOKEN
        wave = ops.cast(inputs, "float32")  # half precision loses quiet sounds
        wave = ops.pad(wave, [[0, 0], [0, samples]])[:, :samples]
        wave = ops.reshape(wave, (-1, samples))  # a length that all formats know
        heard = ops.cast(ops.expand_dims(ops.abs(wave) > 0, -1), "float32")
        mask = ops.squeeze(ops.max_pool(heard, TOKEN, TOKEN), -1) > 0  # (batch, tokens)

        # A frame is centred on its step. The last one reaches 40 samples behind the end.
        behind = FRAME // 2 - STEP
        wave = ops.pad(wave, [[0, 0], [FRAME // 2, behind]], mode="reflect")
        spectrum = ops.conv(ops.expand_dims(wave, -1), self.kernel, strides=STEP)
        real, imaginary = ops.split(spectrum, 2, axis=-1)  # (batch, frames, bins)
        mel = ops.matmul(ops.square(real) + ops.square(imaginary), self.mel_matrix)
        log_mel = ops.log(ops.maximum(mel, 1e-10)) / np.float32(np.log(10))
        floor = ops.max(log_mel, axis=(1, 2), keepdims=True) - 8.0
        log_mel = (ops.maximum(log_mel, floor) + 4.0) / 4.0
        return ops.cast(log_mel, self.compute_dtype), mask

    def compute_output_spec(self, inputs):
        batch = inputs.shape[0]
        return (
            keras.KerasTensor((batch, 2 * self.tokens, MELS), dtype=self.compute_dtype),
            keras.KerasTensor((batch, self.tokens), dtype="bool"),
        )

    def get_config(self):
        return {**super().get_config(), "seconds": self.seconds}


def fourier_kernels() -> np.ndarray:
    """Cosines, then sines, of 201 bins under a periodic Hann window: `(400, 1, 402)`."""
    time = np.arange(FRAME)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / FRAME)
    turns = np.outer(time, np.arange(FRAME // 2 + 1)) % FRAME
    angle = 2 * np.pi * turns / FRAME
    kernels = np.concatenate([np.cos(angle), np.sin(angle)], 1) * window[:, None]
    return kernels[:, None].astype("float32")


def mel_matrix() -> np.ndarray:
    """Slaney's mel bank from 0 to 8,000 Hz, `(201, 80)`: triangles of equal area.

    A mel is 66.7 Hz below 1,000 Hz; above, 27 mels are a factor of 6.4.
    """
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))  # Hz
    hertz = np.linspace(0, SAMPLE_RATE / 2, FRAME // 2 + 1)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rise, fall)) * 2 / (edges[2:] - edges[:-2])
    return bank.astype("float32")
