"""A small BERT sentence encoder on disk, and the formula of one of any size."""

import json
import math

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "red", "cat", "sat", "on", "a", "mat", "."]
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    "vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 12,
    "num_attention_heads": 2, "max_position_embeddings": 16, "type_vocab_size": 2,
}  # fmt: skip
PARTS = {
    "attention.self.query": (8, 8), "attention.self.key": (8, 8), "attention.self.value": (8, 8),
    "attention.output.dense": (8, 8), "attention.output.LayerNorm": (8,),
    "intermediate.dense": (12, 8), "output.dense": (8, 12), "output.LayerNorm": (8,),
}  # fmt: skip


def tensors_of(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), 8),
        "embeddings.position_embeddings.weight": (16, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
        "pooler.dense.weight": (8, 8),
    }
    for k in range(2):
        for name, shape in PARTS.items():
            shapes[f"encoder.layer.{k}.{name}.weight"] = shape
            shapes[f"encoder.layer.{k}.{name}.bias"] = shape[:1]
    return {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}


def write_folder(folder, tensors=None, config=None, pooling="mean_tokens"):
    """A small BERT sentence encoder, in the layout it would be published in."""
    tensors = tensors_of() if tensors is None else tensors
    (folder / "1_Pooling").mkdir()
    header, data = {}, b""
    for name, array in tensors.items():
        span = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": span}
        data += array.tobytes()
    text = json.dumps(header).encode()
    length = len(text).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(length + text + data)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    modes = {"word_embedding_dimension": 8, f"pooling_mode_{pooling}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return folder


def reference(tensors, ids, heads):
    """BERT (arXiv:1810.04805) and the mean over its tokens, text by text, in float64."""
    w = {name: np.asarray(array, "float64") for name, array in tensors.items()}

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    tokens, pooled = [], []
    for row in ids:
        row = row[row > 0]
        x = w["embeddings.word_embeddings.weight"][row]
        x = x + w["embeddings.position_embeddings.weight"][: len(row)]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for k in range(sum(name.endswith("intermediate.dense.bias") for name in w)):
            place = f"encoder.layer.{k}"
            query, key, value = (
                dense(x, f"{place}.attention.self.{name}").reshape(len(row), heads, -1)
                for name in ("query", "key", "value")
            )
            score = np.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[-1])
            score = np.exp(score - score.max(-1, keepdims=True))
            score /= score.sum(-1, keepdims=True)
            seen = np.einsum("hqk,khd->qhd", score, value).reshape(len(row), -1)
            seen = dense(seen, f"{place}.attention.output.dense")
            x = norm(x + seen, f"{place}.attention.output.LayerNorm")
            hidden = dense(x, f"{place}.intermediate.dense")
            hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
            x = norm(x + dense(hidden, f"{place}.output.dense"), f"{place}.output.LayerNorm")
        tokens.append(x)
        pooled.append(x.mean(0) / np.linalg.norm(x.mean(0)))
    return tokens, np.stack(pooled)


def ids_of(rows, length=9, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.zeros((rows, length), "int32")
    for row, end in zip(ids, rng.integers(3, length + 1, rows), strict=True):
        row[:end] = [2, *rng.integers(4, len(WORDS), end - 2), 3]
    return ids
