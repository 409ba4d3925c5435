"""Waveform to log-mel spectrogram, by operators that every export format has."""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram of a waveform, with its frame mask, loudness removed.

    Power spectra come from convolutions with fixed Fourier kernels
    (`keras.layers.STFTSpectrogram`), not from an FFT operator, which ONNX converters lack.
    Each mel channel has its mean over the frames that are heard subtracted, so that gain
    hardly matters above the floor of 1e-4 under the logarithm. The waveform is padded by one
    frame with zeros behind:
    audio shorter than a frame gives one frame.

    Args:
        sample_rate: Int, in Hz.
        frame_length, frame_step: Ints, in samples. Defaults are 25 ms and 10 ms.
        num_mels: Int. Mel channels M, from 60 Hz to 0.475 times the sample rate (7,600 Hz).

    Call arguments:
        inputs: Float tensor `(batch, time)`, a waveform in [-1, 1]. Exact zeros are
            silence that was padded.

    Returns:
        Pair of a float tensor `(batch, frames, num_mels)`, zero where masked, and a bool
        tensor `(batch, frames)`: True for frames that hold a non-zero sample, with
        `frames = time // frame_step + 1`.

    Raises:
        ValueError: If the input is not 2D, or an argument is not positive.

    Reference:
        Davis and Mermelstein, 1980. Differs: no cosine transform, as is usual for networks.
    """

    def __init__(self, sample_rate=16_000, frame_length=400, frame_step=160, num_mels=64, **kwargs):
        super().__init__(autocast=False, **kwargs)
        for name, value in [
            ("sample_rate", sample_rate), ("frame_length", frame_length),
            ("frame_step", frame_step), ("num_mels", num_mels),
        ]:  # fmt: skip
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive int. Received: {name}={value!r}.")
        self.sample_rate = sample_rate
        self.frame_length = frame_length
        self.frame_step = frame_step
        self.num_mels = num_mels
        fft_length = 1 << (frame_length - 1).bit_length()
        self.spectrogram = keras.layers.STFTSpectrogram(
            mode="psd", frame_length=frame_length, frame_step=frame_step,
            fft_length=fft_length, scaling="density", trainable=False,
            name="spectrogram", dtype="float32",
        )  # fmt: skip
        self.fft_bins = fft_length // 2 + 1

    @property
    def trainable(self):
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        keras.layers.Layer.trainable.fset(self, value)
        if hasattr(self, "spectrogram"):  # the kernels stay fixed when a model is released
            self.spectrogram.trainable = False

    def build(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(
                "Expected a waveform of shape (batch, time). "
                f"Received: input_shape={tuple(input_shape)}."
            )
        self.spectrogram.build((input_shape[0], None, 1))
        with tf.init_scope():
            matrix = tf.signal.linear_to_mel_weight_matrix(
                self.num_mels, self.fft_bins, self.sample_rate, 60.0, 0.475 * self.sample_rate
            ).numpy()
        self.mel_matrix = self.add_weight(
            shape=matrix.shape, trainable=False, name="mel_matrix",
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(matrix, dtype),
        )  # fmt: skip

    def call(self, inputs):
        inputs = ops.cast(inputs, "float32")  # half precision overflows, or loses quiet sounds
        # (batch, time + frame_length, 1); the pad makes frames of the shortest input.
        wave = ops.expand_dims(ops.pad(inputs, [[0, 0], [0, self.frame_length]]), -1)
        power = self.spectrogram(wave)  # (batch, frames', bins)
        mel = ops.matmul(power, ops.cast(self.mel_matrix, power.dtype))
        log_mel = ops.log(mel * self.sample_rate + 1e-4)
        heard = ops.max_pool(
            ops.cast(ops.abs(wave) > 0, wave.dtype), self.frame_length, self.frame_step
        )  # (batch, frames', 1)
        total = ops.maximum(ops.sum(heard, axis=1, keepdims=True), 1.0)
        mean = ops.sum(log_mel * heard, axis=1, keepdims=True) / total
        log_mel = ops.cast((log_mel - mean) * heard * 0.5, self.compute_dtype)
        return log_mel, ops.squeeze(heard, -1) > 0

    def compute_output_spec(self, inputs):
        batch, time = inputs.shape
        frames = None if time is None else time // self.frame_step + 1
        return (
            keras.KerasTensor((batch, frames, self.num_mels), dtype=self.compute_dtype),
            keras.KerasTensor((batch, frames), dtype="bool"),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "frame_length": self.frame_length,
            "frame_step": self.frame_step,
            "num_mels": self.num_mels,
        }
