"""Image encoders."""

import keras
from keras import layers

from mmzoo.encoders.blocks import AllTrue, MaskedPooling, Resize, conv_block
from mmzoo.encoders.from_hub import hub_encoder


def image(
    source="small", *, units=None, pooled=True, name="image_encoder", **module
) -> keras.Model:
    """Builds an encoder of uint8 pictures of any size.

    Args:
        source: "small": a convolutional network on 64 x 64 pixels, to train from scratch.
            Else the handle of a TF-Hub module, as `mmzoo.hub.resolve` takes it.
        units: Positive int. Width D of tokens and pooled vector. None: 128, or the module's.
        pooled: Whether there is a pooled vector too. False where only the tokens are read: its
            layer would have weights that nothing trains, as Keras then warns.
        name: Name of the model.
        **module: For a handle: `trainable`, `contract`, `embed`; see `hub_encoder`.

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
    if source != "small":
        return hub_encoder("image", source, units=units, pooled=pooled, name=name, **module)
    if module:
        raise ValueError(f"`source='small'` takes no {sorted(module)}: these are for a handle.")
    units = 128 if units is None else units
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
    outputs = {"tokens": tokens, "mask": mask}
    if pooled:
        mean = MaskedPooling(name="pooling")(tokens, mask)
        outputs["pooled"] = layers.Dense(units, name="pooled")(mean)
    return keras.Model(inputs, outputs, name=name)
