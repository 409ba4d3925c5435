"""Image encoders."""

import keras
from keras import layers

from mmzoo.encoders.blocks import MaskedPooling, check_source, conv_block


def image(source="small", *, units=128, name="image_encoder") -> keras.Model:
    """Builds an encoder of uint8 pictures of any size.

    Args:
        source: "small": a convolutional network on 64 x 64 pixels, to train from scratch.
        units: Positive int. Width D of tokens and pooled vector.
        name: Name of the model.

    Call arguments:
        inputs: uint8 `(batch, H, W, 3)`, RGB. Resized bilinearly, without antialiasing,
            which TFLite and ONNX lack: scale much larger pictures down before.

    Returns:
        Functional model with outputs `tokens` `(batch, 16, D)`, `mask` bool `(batch, 16)`,
        all True, and `pooled` `(batch, D)`.

    Example:

    >>> import numpy as np
    >>> encoded = image(units=8)(np.zeros((2, 50, 70, 3), "uint8"))
    >>> encoded["tokens"].shape
    TensorShape([2, 16, 8])
    """
    check_source(source, ("small",))
    inputs = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = Resize(64, 64, name="resize")(x)
    x = conv_block(x, 32, 2, name="block1")
    x = conv_block(x, 48, 2, name="block2")
    x = conv_block(x, 64, name="block3")
    x = conv_block(x, 96, 2, name="block4")
    x = conv_block(x, 128, name="block5")
    x = conv_block(x, 160, 2, name="block6")  # (batch, 4, 4, 160)
    x = layers.Reshape((16, 160), name="grid")(x)
    tokens = layers.Dense(units, activation="relu", name="tokens")(x)
    mask = AllTrue(name="mask")(tokens)
    pooled = layers.Dense(units, name="pooled")(MaskedPooling(name="pooling")(x, mask))
    return keras.Model(inputs, {"tokens": tokens, "mask": mask, "pooled": pooled}, name=name)


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
        return keras.ops.image.resize(images, (self.height, self.width), antialias=False)

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.saving.register_keras_serializable(package="mmzoo")
class AllTrue(layers.Layer):
    """A mask that keeps every token: `(batch, tokens, units)` to True `(batch, tokens)`."""

    def call(self, tokens):
        return keras.ops.ones_like(tokens[..., 0], dtype="bool")

    def compute_output_spec(self, tokens):
        return keras.KerasTensor(tokens.shape[:2], dtype="bool")
