"""Audio encoders."""

import keras
from keras import layers, ops

from mmzoo.encoders.blocks import ApplyMask, MaskedPooling, conv_block
from mmzoo.encoders.from_hub import hub_encoder
from mmzoo.preprocessing.log_mel import LogMel


@keras.saving.register_keras_serializable(package="mmzoo")
class PoolMask(layers.Layer):
    """Shortens a mask as convolutions with strides shorten their input.

    Args:
        factor: Positive int. A token is kept if one of its `factor` frames is.

    Call arguments:
        mask: Bool tensor `(batch, frames)`.

    Returns:
        Bool tensor `(batch, ceil(frames / factor))`.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, mask):
        kept = ops.expand_dims(ops.cast(mask, "float32"), -1)
        kept = ops.pad(kept, [[0, 0], [0, self.factor - 1], [0, 0]])
        kept = ops.max_pool(kept, self.factor, self.factor)
        return ops.squeeze(kept, -1) > 0

    def compute_output_spec(self, mask):
        batch, frames = mask.shape
        tokens = None if frames is None else -(-frames // self.factor)
        return keras.KerasTensor((batch, tokens), dtype="bool")

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def audio(
    source="small", *, units=None, pooled=True, name="audio_encoder", **module
) -> keras.Model:
    """Builds an encoder of waveforms of any length.

    Args:
        source: "small": log-mel spectrogram and a convolutional network, to train from
            scratch.
            Else the handle of a TF-Hub module, as `mmzoo.hub.resolve` takes it.
        units: Positive int. Width D of tokens and pooled vector. None: 128, or the module's.
        pooled: Whether there is a pooled vector too. False where only the tokens are read: its
            layer would have weights that nothing trains, as Keras then warns.
        name: Name of the model.
        **module: For a handle: `trainable`, `contract`, `embed`, `seconds`; see `hub_encoder`.

    Call arguments:
        inputs: float32 `(batch, time)`: mono waveform at 16 kHz in [-1, 1]. Exact zeros
            are padding and are masked: zeros behind a recording change nothing.

    Returns:
        Functional model with outputs `tokens` `(batch, N, D)`, one each 40 ms, `mask` bool
        `(batch, N)` and `pooled` `(batch, D)`.

    Example:

    >>> import numpy as np
    >>> encoded = audio(units=8)(np.ones((2, 16_000), "float32"))
    >>> encoded["tokens"].shape
    TensorShape([2, 26, 8])
    """
    if source != "small":
        return hub_encoder("audio", source, units=units, pooled=pooled, name=name, **module)
    if module:
        raise ValueError(f"`source='small'` takes no {sorted(module)}: these are for a handle.")
    units = 128 if units is None else units
    inputs = keras.Input((None,), dtype="float32", name="audio")
    x, mask = LogMel(num_mels=48, name="log_mel")(inputs)
    x = layers.Reshape((-1, 48, 1), name="channel")(x)  # (batch, frames, mels, 1)
    x = conv_block(x, 24, 2, name="block1")
    x = ApplyMask(name="mask1")(x, PoolMask(2, name="half_mask")(mask))
    x = conv_block(x, 48, 2, name="block2")
    mask = PoolMask(4, name="mask")(mask)
    for number, (filters, strides) in enumerate([(64, 1), (96, (1, 2)), (128, 1)], start=3):
        x = ApplyMask(name=f"mask{number - 1}")(x, mask)
        x = conv_block(x, filters, strides, name=f"block{number}")
    x = layers.Reshape((-1, 6 * 128), name="columns")(x)  # (batch, frames / 4, 768)
    tokens = layers.Dense(units, activation="relu", name="tokens")(x)
    outputs = {"tokens": tokens, "mask": mask}
    if pooled:
        mean = MaskedPooling(name="pooling")(tokens, mask)
        outputs["pooled"] = layers.Dense(units, name="pooled")(mean)
    return keras.Model(inputs, outputs, name=name)
