"""Text encoders."""

import keras
from keras import layers, ops

from mmzoo.encoders.blocks import ApplyMask, MaskedPooling
from mmzoo.encoders.from_hub import hub_encoder


@keras.saving.register_keras_serializable(package="mmzoo")
class ByteTokens(layers.Layer):
    """UTF-8 bytes to ids and mask; ASCII capitals become small letters.

    Call arguments:
        inputs: uint8 `(batch, length)`, zero padded.

    Returns:
        Pair of int32 `(batch, length)` in [0, 255] and bool `(batch, length)`: True where
        a byte is not zero.
    """

    def call(self, inputs):
        ids = ops.cast(inputs, "int32")
        capital = ops.logical_and(ids >= 65, ids <= 90)
        return ids + 32 * ops.cast(capital, "int32"), ids > 0

    def compute_output_spec(self, inputs):
        shape = inputs.shape
        return keras.KerasTensor(shape, dtype="int32"), keras.KerasTensor(shape, dtype="bool")


def text(source="small", *, units=None, pooled=True, name="text_encoder", **module) -> keras.Model:
    """Builds an encoder of text in any script, read as bytes.

    Args:
        source: "small": convolutions over 2 to 6 bytes, to train from scratch.
            Else the handle of a TF-Hub module, as `mmzoo.hub.resolve` takes it.
        units: Positive int. Width D of tokens and pooled vector. None: 128, or the module's.
        pooled: Whether there is a pooled vector too. False where only the tokens are read: its
            layer would have weights that nothing trains, as Keras then warns.
        name: Name of the model.
        **module: For a handle: `trainable`, `contract`, `embed`; see `hub_encoder`.

    Call arguments:
        inputs: uint8 `(batch, length)`: UTF-8 bytes, zero padded on the right (see
            `mmzoo.data.encode_text`).

    Returns:
        Functional model with outputs `tokens` `(batch, length, D)`, one a byte, `mask` bool
        `(batch, length)` and `pooled` `(batch, D)`.

    Reference:
        Zhang et al., 2015 (arXiv:1509.01626); Kim, 2014 (arXiv:1408.5882). Differs: bytes
        instead of characters, so no alphabet is left out.

    Example:

    >>> from mmzoo.data import encode_text
    >>> encoded = text(units=8)(encode_text(["red apple", "りんご"]))
    >>> encoded["tokens"].shape
    TensorShape([2, 9, 8])
    """
    if source != "small":
        return hub_encoder("text", source, units=units, pooled=pooled, name=name, **module)
    if module:
        raise ValueError(f"`source='small'` takes no {sorted(module)}: these are for a handle.")
    units = 128 if units is None else units
    inputs = keras.Input((None,), dtype="uint8", name="text")
    ids, mask = ByteTokens(name="bytes")(inputs)
    x = layers.Embedding(256, 64, name="embedding")(ids)
    x = ApplyMask(name="mask_embedding")(x, mask)
    grams = [
        layers.Conv1D(96, width, padding="same", activation="relu", name=f"gram{width}")(x)
        for width in (2, 3, 4, 5, 6)
    ]
    x = layers.Concatenate(name="grams")(grams)  # (batch, length, 480)
    tokens = layers.Dense(units, activation="relu", name="tokens")(x)
    outputs = {"tokens": tokens, "mask": mask}
    if pooled:
        mean = MaskedPooling(name="pooling")(tokens, mask)
        outputs["pooled"] = layers.Dense(units, name="pooled")(mean)
    return keras.Model(inputs, outputs, name=name)
