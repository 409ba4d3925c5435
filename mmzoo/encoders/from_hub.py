"""Encoders made of TF-Hub modules, each behind the preprocessing it was trained with."""

import keras
import numpy as np
from keras import layers, ops

from mmzoo.encoders.blocks import AllTrue, MaskedSum, Resize
from mmzoo.hub import Contract, ResolveError, read_contract, resolve
from mmzoo.hub.catalogue import find
from mmzoo.hub.layer import HubLayer
from mmzoo.hub.towers import SAMPLE_RATE

INPUTS = {
    "image": ((None, None, 3), "uint8"),
    "bytes": ((None,), "uint8"),
    "string": ((), "string"),
    "token_ids": ((None,), "int32"),
    "waveform": ((None,), "float32"),
}


def hub_encoder(
    modality, handle, *, units=None, pooled=True, trainable=False, contract=None, seconds=None,
    tokenized=False, embed=False, name,
) -> keras.Model:  # fmt: skip
    """Builds an encoder from a module; `mmzoo.encoders.image`, `text` and `audio` call it.

    Args:
        modality: "image", "text" or "audio".
        handle: What `mmzoo.hub.resolve` takes.
        units: Positive int: width to project tokens and pooled vector to. None: the module's.
        pooled: Whether there is a pooled vector too.
        trainable: Whether training changes the module's weights.
        contract: `mmzoo.hub.Contract` of a module that neither carries one nor is listed in
            the catalogue.
        seconds: Fixed length of the waveforms, which a module that takes one waveform needs
            where it is to become a TFLite file.
        tokenized: Whether token ids come in, of a text module that has a tokenizer apart; see
            `tokenizer`. False: strings.
        embed: See `HubLayer`.
        name: Name of the model. Its layer `module` is the `HubLayer`.

    Returns:
        Functional model with outputs `tokens` `(batch, N, D)`, `mask` bool `(batch, N)` and
        `pooled` `(batch, D)`. A module without tokens gives one, its pooled vector; one
        without pooled vector the mean of its tokens.

    Raises:
        ValueError: If nothing tells what the module takes, it is of another modality, or its
            waveforms are not at 16 kHz, or an option is for another kind of module.
        ResolveError: If the module is not here and can't be fetched.
    """
    contract = contract or find_contract(handle)
    if contract.modality != modality:
        raise ValueError(
            f"Expected a module for {modality}. Received: {handle}, which is for "
            f"{contract.modality}."
        )
    takes = contract.input
    preprocessor = "" if tokenized else takes.preprocessor
    if tokenized and not takes.preprocessor:
        raise ValueError(
            f"Expected a module with a tokenizer apart for `tokenized=True`. Received: {handle}, "
            f"which takes {takes.kind}."
        )
    if seconds is not None and takes.kind != "waveform":
        raise ValueError(
            f"Expected `seconds` only for a module that takes waveforms. Received: {handle}, "
            f"which takes {takes.kind}, and seconds={seconds}."
        )
    shape, dtype = INPUTS["string" if preprocessor else takes.kind]
    if takes.kind == "waveform":
        if takes.sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"Expected a module for waveforms at {SAMPLE_RATE} Hz. Received: {handle}, at "
                f"{takes.sample_rate} Hz. Resample in a layer of your own before a HubLayer."
            )
        shape = (None if seconds is None else round(seconds * SAMPLE_RATE),)
    inputs = keras.Input(shape, dtype=dtype, name=modality)
    x = inputs
    if takes.kind == "image":
        x = _as_expected(x, takes)
    low, high = (takes.kind == "waveform" and takes.value_range) or (-1, 1)
    if (low, high) != (-1, 1):
        x = layers.Rescaling((high - low) / 2, offset=(high + low) / 2, name="rescale")(x)
    if preprocessor:
        x = HubLayer(preprocessor, embed=embed, name="preprocessor")(x)
    module = HubLayer(
        handle, trainable=trainable, batched=takes.batched, embed=embed, name="module"
    )
    outputs = module(x)
    places = contract.outputs
    vector = None if places.pooled is None else _at(outputs, places.pooled, handle)
    tokens = None if places.tokens is None else _at(outputs, places.tokens, handle)
    first = _known(preprocessor) if preprocessor else None
    mask = None
    if places.mask is not None:
        mask = AsMask(name="mask")(_at(outputs, places.mask, handle))
    elif tokens is not None and first and first.outputs.mask is not None:
        # BERT gives no mask: that of its ids is that of its tokens.
        mask = AsMask(name="mask")(_at(x, first.outputs.mask, preprocessor))
    if tokens is None:
        tokens = layers.Reshape((1, -1), name="one_token")(vector)
    if mask is None:
        mask = AllTrue(name="mask")(tokens)
    if vector is None:
        vector = MaskedSum(1.0, name="mean")(tokens, mask)
    if units is not None:
        tokens = layers.Dense(units, activation="relu", name="tokens")(tokens)
        vector = layers.Dense(units, name="pooled")(vector)
    found = {"tokens": tokens, "mask": mask} | ({"pooled": vector} if pooled else {})
    return keras.Model(inputs, found, name=name)


def tokenizer(handle, *, contract=None, name="tokenizer") -> HubLayer:
    """The layer that makes of strings what a text module takes.

    Args:
        handle: The text module, not its tokenizer.
        contract: As in `hub_encoder`.
        name: Name of the layer.

    Returns:
        A `HubLayer`: string `(batch,)` to token ids; for BERT's own preprocessors, to a dict.

    Raises:
        ValueError: If the module has no tokenizer apart.
    """
    preprocessor = (contract or find_contract(handle)).input.preprocessor
    if not preprocessor:
        raise ValueError(f"Expected a module with a tokenizer apart. Received: {handle}.")
    return HubLayer(preprocessor, name=name)


def find_contract(handle) -> Contract:
    """The contract that a module carries, or the catalogue's.

    Raises:
        ValueError: If there is none.
        ResolveError: If only the module could say, and it is not here and can't be fetched.
    """
    found = _known(handle) or read_contract(resolve(handle))
    if found is None:
        raise ValueError(
            "Expected a module that says what it takes (`assets.extra/module.json`) or that "
            f"`mmzoo hub list` shows. Received: {handle}. Pass `contract=mmzoo.hub.Contract(…)`."
        )
    return found


def _known(handle):
    """The contract of a module as far as this machine knows it, or None."""
    try:
        found = read_contract(resolve(handle, offline=True))
    except ResolveError:
        found = None  # the layer will fetch it; the catalogue may know it already
    entry = find(handle)
    return found or (entry.contract if entry else None)


def _as_expected(images, takes):
    """uint8 pictures to the size and range that a module takes."""
    x = images
    low, high = takes.value_range or (0, 255)
    if (low, high) != (0, 255) or takes.size is not None:  # TFLite resizes no uint8
        x = layers.Rescaling((high - low) / 255, offset=low, name="rescale")(x)
    if takes.size is not None:
        x = Resize(*takes.size, name="resize")(x)
    if takes.mean is not None or takes.std is not None:
        mean = np.broadcast_to(np.asarray(takes.mean or 0.0, "float32"), (3,))
        std = np.broadcast_to(np.asarray(takes.std or 1.0, "float32"), (3,))
        x = layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), name="standardize")(x)
    if takes.dtype == "uint8" and x is not images:
        x = AsPixels(name="pixels")(x)
    return x


def _at(outputs, place, handle):
    """What stands at a place that a contract names."""
    if place == "" and keras.utils.is_keras_tensor(outputs):
        return outputs
    known = {}
    if isinstance(outputs, dict):
        known = outputs
    elif isinstance(outputs, list | tuple):
        known = dict(enumerate(outputs))
    if place not in known:
        raise ValueError(
            f"Expected the contract of {handle} to name one of its outputs "
            f"{sorted(known, key=str) or ['']}. Received: {place!r}."
        )
    return known[place]


@keras.saving.register_keras_serializable(package="mmzoo")
class AsPixels(layers.Layer):
    """Floats in [0, 255] to the nearest uint8."""

    def call(self, images):
        return ops.cast(images + 0.5, "uint8")

    def compute_output_spec(self, images):
        return keras.KerasTensor(images.shape, dtype="uint8")


@keras.saving.register_keras_serializable(package="mmzoo")
class AsMask(layers.Layer):
    """A mask in any dtype to bool: True where it is not zero."""

    def call(self, mask):
        return ops.cast(mask, "bool")

    def compute_output_spec(self, mask):
        return keras.KerasTensor(mask.shape, dtype="bool")
