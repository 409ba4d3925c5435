"""Layers that the pretrained text encoders are made of."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="mmzoo")
class PaddingMask(layers.Layer):
    """Mask of token ids: False for the zeros behind a row's last other id, else True.

    A zero between other ids is a token: SentencePiece gives id 0 to what it does not know.

    Call arguments:
        ids: int32 `(batch, length)`.

    Returns:
        Bool `(batch, length)`. A row of zeros has no token.
    """

    def call(self, ids):
        other = ops.cast(ops.not_equal(ids, 0), "int32")
        # How many ids that are not 0 stand here or further on.
        left = ops.sum(other, axis=1, keepdims=True) - ops.cumsum(other, axis=1) + other
        return left > 0

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="mmzoo")
class QuantizedEmbedding(layers.Layer):
    """Embedding of a table of bytes: `code * scale + offset`, one pair a row; never trains.

    Args:
        input_dim: Positive int. Size of the vocabulary.
        output_dim: Positive int. Width D.

    Call arguments:
        ids: int32 `(batch, length)` in [0, input_dim).

    Returns:
        Float tensor `(batch, length, D)`.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, input_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        for name, size in [("input_dim", input_dim), ("output_dim", output_dim)]:
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"`{name}` must be a positive int. Received: {name}={size!r}.")
        self.input_dim = input_dim
        self.output_dim = output_dim

    def build(self, ids_shape):
        del ids_shape
        self.codes = self.add_weight(
            shape=(self.input_dim, self.output_dim), dtype="uint8", name="codes",
            initializer=_random_codes, trainable=False,
        )  # fmt: skip
        self.scale = self.add_weight(
            shape=(self.input_dim, 1), name="scale", trainable=False,
            initializer=keras.initializers.Constant(0.02),
        )  # fmt: skip
        self.offset = self.add_weight(
            shape=(self.input_dim, 1), name="offset", trainable=False,
            initializer=keras.initializers.Constant(-0.02 * 31.5),
        )  # fmt: skip

    def call(self, ids):
        codes = ops.cast(ops.take(self.codes, ids, axis=0), self.compute_dtype)
        return codes * ops.take(self.scale, ids, axis=0) + ops.take(self.offset, ids, axis=0)

    def compute_output_shape(self, ids_shape):
        return (*ids_shape, self.output_dim)

    def get_config(self):
        sizes = {"input_dim": self.input_dim, "output_dim": self.output_dim}
        return {**super().get_config(), **sizes}


def _random_codes(shape, dtype):
    return ops.cast(keras.random.randint(shape, 0, 64), dtype)


@keras.saving.register_keras_serializable(package="mmzoo")
class UnitLength(layers.Layer):
    """Scales vectors to length 1, in float32; one shorter than 1e-6 is divided by 1e-6.

    Call arguments:
        inputs: Float tensor `(batch, units)`.

    Returns:
        Tensor like `inputs`. Zeros stay zeros.
    """

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        square = ops.sum(x * x, axis=-1, keepdims=True)
        return ops.cast(x * ops.rsqrt(ops.maximum(square, 1e-12)), self.compute_dtype)

    def compute_output_shape(self, inputs_shape):
        return inputs_shape
