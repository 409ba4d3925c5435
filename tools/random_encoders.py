"""Encoders of random layers for `random_models.py`, some of which a format can't carry.

Each is a function of a generator that returns an input, its tokens, float `(batch, N, D)`, and
the mask of those, bool `(batch, N)`, or None where all are real.
"""

import keras
from keras import layers, ops

from mmzoo import encoders

ACTIVATIONS = (
    "relu", "gelu", "silu", "relu6", "hard_silu", "mish", "elu", "tanh", "sigmoid", "softplus",
    "leaky_relu", "selu",
)  # fmt: skip


def _maybe(rng, share):
    return rng.random() < share


def _image(rng):
    fixed = _maybe(rng, 0.3)
    image = keras.Input((12, 14, 3) if fixed else (None, None, 3), dtype="uint8", name="image")
    ways = ["bilinear"] * 6 + ["nearest", "area", "bicubic"]
    x = layers.Rescaling(1 / 255, name="unit")(image)
    x = layers.Resizing(
        9, 11, str(rng.choice(ways)), antialias=_maybe(rng, 0.1), name="image_resize"
    )(x)
    for k in range(int(rng.integers(1, 4))):
        x = _image_layer(rng, k)(x)
        x = layers.Activation(str(rng.choice(ACTIVATIONS)), name=f"image_act{k}")(x)
    return image, layers.Reshape((-1, x.shape[-1]), name="image_tokens")(x), None


def _image_layer(rng, k):
    name, size = f"image_layer{k}", int(rng.integers(1, 4))
    padding = str(rng.choice(["same", "valid"])) if size < 3 else "same"
    return [
        lambda: layers.Conv2D(8, size, padding=padding, name=name),
        lambda: layers.Conv2D(12, size, 2, "same", name=name),
        lambda: layers.Conv2D(6, 3, groups=3 if k == 0 else 1, padding="same", name=name),
        lambda: layers.Conv2D(6, 2, dilation_rate=2, padding="same", name=name),
        lambda: layers.SeparableConv2D(10, size, padding=padding, name=name),
        lambda: layers.DepthwiseConv2D(size, depth_multiplier=2, padding="same", name=name),
        lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same", name=name),
        lambda: layers.MaxPooling2D(2, padding="same", name=name),
        lambda: layers.AveragePooling2D(2, 1, "same", name=name),
        lambda: layers.BatchNormalization(name=name),
        lambda: layers.GroupNormalization(1, name=name),
        lambda: layers.LayerNormalization(name=name),
        lambda: layers.UpSampling2D(2, name=name),
        lambda: layers.ZeroPadding2D(1, name=name),
    ][int(rng.integers(14))]()


def _text(rng):
    text = keras.Input((None,), dtype="uint8", name="text")
    if _maybe(rng, 0.5):
        encoded = encoders.text(units=8)(text)
        return text, encoded["tokens"], encoded["mask"]
    ids = ops.cast(text, "int32")
    if _maybe(rng, 0.2):
        ids = layers.Hashing(64, name="text_hash")(ids)
    elif _maybe(rng, 0.4):
        ids = ops.mod(ids - 100, 64)
    x = layers.Embedding(256, 8, name="text_embedding")(ids)
    mask = ops.not_equal(text, 0)
    if _maybe(rng, 0.2):  # an encoder that feels how far its texts are padded
        return text, _sequence(rng, x, "text", 2), None
    return text, _sequence(rng, ops.where(mask[..., None], x, 0.0), "text", 1), mask


def _signal(rng):
    signal = keras.Input((10 if _maybe(rng, 0.3) else None, 4), name="signal")
    return signal, _sequence(rng, signal, "signal", int(rng.integers(1, 3))), None


def _sequence(rng, x, name, count):
    for k in range(count):
        here = f"{name}_layer{k}"
        size = x.shape[-1]
        x = [
            lambda: layers.Conv1D(8, 3, padding="same", name=here),  # noqa: B023
            lambda: layers.Conv1D(8, 2, padding="causal", dilation_rate=2, name=here),  # noqa: B023
            lambda: layers.Dense(8, "gelu", name=here),  # noqa: B023
            lambda: layers.Dense(6, _exact_gelu, name=here),  # noqa: B023
            lambda: _Attention(causal=False, name=here),  # noqa: B023
            lambda: _Attention(causal=True, name=here),  # noqa: B023
            lambda: layers.LSTM(6, return_sequences=True, name=here),  # noqa: B023
            lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), name=here),  # noqa: B023
            lambda: layers.EinsumDense("btd,de->bte", (None, size), name=here),  # noqa: B023
            lambda: layers.GroupNormalization(1, name=here),  # noqa: B023
            lambda: layers.Normalization(name=here, mean=[0.1] * size, variance=[2.0] * size),  # noqa: B023
        ][int(rng.integers(11))]()(x)
    return x


@keras.saving.register_keras_serializable("random_models")
class _Attention(layers.Layer):
    def __init__(self, causal, **options):
        super().__init__(**options)
        self.causal = causal
        self.attention = layers.MultiHeadAttention(2, 4, name="attention")

    def call(self, x):
        return x + self.attention(x, x, use_causal_mask=self.causal)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("random_models")
def _exact_gelu(x):
    return keras.activations.gelu(x, approximate=False)


def _audio(rng):
    audio = keras.Input((800 if _maybe(rng, 0.5) else None,), name="audio")
    way = int(rng.integers(4))
    if way < 2:
        encoded = encoders.audio(units=8)(audio)
        return audio, encoded["tokens"], encoded["mask"]
    if way == 2:
        x = layers.STFTSpectrogram(
            mode="log", frame_length=64, frame_step=32, fft_length=64, name="audio_stft"
        )(ops.expand_dims(audio, -1))
        return audio, x, None
    x = layers.MelSpectrogram(fft_length=64, sequence_stride=32, num_mel_bins=12, name="audio_mel")
    return audio, ops.transpose(x(audio), (0, 2, 1)), None


def _numbers(rng):
    numbers = keras.Input((6,), name="numbers")
    x = layers.Normalization(mean=[0.0] * 6, variance=[1.5] * 6, name="numbers_scale")(numbers)
    if _maybe(rng, 0.2):
        x = ops.cast(layers.Discretization([-0.5, 0.0, 0.5], name="numbers_bins")(x), "float32")
    elif _maybe(rng, 0.2):
        x = ops.floor_divide(x, 0.3)
    elif _maybe(rng, 0.2):
        x = ops.where(x > 0.0, ops.log(ops.maximum(x, 1e-3)), x)
    x = layers.Dense(8, str(rng.choice(ACTIVATIONS)), name="numbers_dense")(x)
    return numbers, ops.expand_dims(x, 1), None


ENCODERS = {
    "image": _image, "text": _text, "audio": _audio, "numbers": _numbers, "signal": _signal,
}  # fmt: skip
