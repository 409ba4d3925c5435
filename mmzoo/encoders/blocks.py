"""The few pieces that more than one encoder is made of."""

import keras
from keras import layers, ops


def conv_block(x, filters, strides=1, *, name):
    """3 x 3 convolution, batch normalisation, ReLU on `(batch, height, width, channels)`.

    A strided block adds one pixel of zeros on every side itself: "same" padding would shift
    by a pixel between even and odd sizes, and an answer would depend on the padding.
    """
    padding = "same" if strides == 1 else "valid"
    if padding == "valid":
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.Conv2D(filters, 3, strides, padding, use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable(package="mmzoo")
class ApplyMask(layers.Layer):
    """Sets masked tokens to zero, so that what comes next can't see them.

    Call arguments:
        tokens: Float tensor `(batch, tokens, ...)`.
        mask: Bool tensor `(batch, tokens)`.

    Returns:
        Tensor like `tokens`.
    """

    def call(self, tokens, mask):
        kept = ops.cast(mask, tokens.dtype)
        for _ in range(len(tokens.shape) - 2):
            kept = ops.expand_dims(kept, -1)
        return tokens * kept

    def compute_output_spec(self, tokens, mask):
        del mask
        return keras.KerasTensor(tokens.shape, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="mmzoo")
class MaskedPooling(layers.Layer):
    """Mean and maximum over the tokens that a mask keeps, side by side.

    Call arguments:
        tokens: Float tensor `(batch, tokens, units)`, not negative.
        mask: Bool tensor `(batch, tokens)`. A row with no True gives zeros.

    Returns:
        Float tensor `(batch, 2 * units)`: mean, then maximum.
    """

    def call(self, tokens, mask):
        kept = ops.expand_dims(ops.cast(mask, tokens.dtype), -1)
        tokens = tokens * kept
        count = ops.maximum(ops.sum(kept, axis=1), 1.0)
        mean = ops.sum(tokens, axis=1) / count
        return ops.concatenate([mean, ops.max(tokens, axis=1)], axis=-1)

    def compute_output_shape(self, tokens_shape, mask_shape=None):
        return (tokens_shape[0], 2 * tokens_shape[-1])


@keras.saving.register_keras_serializable(package="mmzoo")
class MaskedSum(layers.Layer):
    """Sum over the tokens that a mask keeps, divided by a power of their number.

    `y = sum_t tokens_t / n ** exponent`, in float32: 1 gives the mean, 0.5 keeps the length
    of a sum of independent vectors.

    Args:
        exponent: Float in [0, 1].

    Call arguments:
        tokens: Float tensor `(batch, tokens, units)`.
        mask: Bool tensor `(batch, tokens)`. A row with no True gives zeros.

    Returns:
        Float tensor `(batch, units)`.

    Raises:
        ValueError: If `exponent` is not in [0, 1].
    """

    def __init__(self, exponent, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= exponent <= 1:
            raise ValueError(f"`exponent` must be in [0, 1]. Received: exponent={exponent!r}.")
        self.exponent = exponent

    def call(self, tokens, mask):
        kept = ops.expand_dims(ops.cast(mask, "float32"), -1)
        count = ops.maximum(ops.sum(kept, axis=1), 1.0)
        total = ops.sum(ops.cast(tokens, "float32") * kept, axis=1)
        return ops.cast(total / ops.power(count, self.exponent), self.compute_dtype)

    def compute_output_shape(self, tokens_shape, mask_shape=None):
        return (tokens_shape[0], tokens_shape[-1])

    def get_config(self):
        return {**super().get_config(), "exponent": self.exponent}


@keras.saving.register_keras_serializable(package="mmzoo")
class Resize(layers.Layer):
    """Bilinear resizing, without antialiasing.

    Unlike `keras.layers.Resizing`, whose `training` is True by default: in a plain call of a
    model it switches every layer behind it to training.
    """

    def __init__(self, height, width, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width

    def call(self, images):
        return ops.image.resize(images, (self.height, self.width), antialias=False)

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.saving.register_keras_serializable(package="mmzoo")
class AllTrue(layers.Layer):
    """A mask that keeps every token: `(batch, tokens, units)` to True `(batch, tokens)`."""

    def call(self, tokens):
        return ops.ones_like(tokens[..., 0], dtype="bool")

    def compute_output_spec(self, tokens):
        return keras.KerasTensor(tokens.shape[:2], dtype="bool")
