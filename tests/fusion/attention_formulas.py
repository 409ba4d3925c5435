"""The formulas of the attention layers in NumPy and float64, and data for their tests.

One sample at a time, and of it the real tokens alone: there are no masks here.
"""

import itertools

import keras
import numpy as np

from mmzoo.export.testing.layer_checks import randomize
from mmzoo.fusion.bottleneck_fusion import BottleneckFusion
from mmzoo.fusion.co_attention import CoAttention
from mmzoo.fusion.cross_attention import CrossAttention
from mmzoo.fusion.multimodal_transformer import MultimodalTransformer
from mmzoo.fusion.perceiver_resampler import PerceiverResampler
from mmzoo.fusion.token_transformer import TokenTransformer

UNITS, HEADS, LAYERS, OWN = 4, 2, 2, 3
MODALITIES = [("text",), ("image", "text"), ("audio", "image", "text")]
WIDTHS = {"audio": 3, "image": 6, "text": 4}  # D_m
TOKENS = {"audio": 7, "image": 2, "text": 5}  # N_m

LAYER = {
    "TokenTransformer": lambda **k: TokenTransformer(UNITS, HEADS, LAYERS, **k),
    "CrossAttention": lambda **k: CrossAttention(UNITS, HEADS, **k),
    "CoAttention": lambda **k: CoAttention(UNITS, HEADS, LAYERS, **k),
    "BottleneckFusion": lambda **k: BottleneckFusion(UNITS, HEADS, LAYERS, OWN, **k),
    "PerceiverResampler": lambda **k: PerceiverResampler(UNITS, HEADS, LAYERS, OWN, **k),
    "MultimodalTransformer": lambda **k: MultimodalTransformer(UNITS, HEADS, LAYERS, **k),
}
ONE_LAYER = {
    "CoAttention": lambda **k: CoAttention(UNITS, HEADS, 1, **k),
    "BottleneckFusion": lambda **k: BottleneckFusion(UNITS, HEADS, 1, OWN, **k),
    "MultimodalTransformer": lambda **k: MultimodalTransformer(UNITS, HEADS, 1, **k),
}


def data(names, batch=3, seed=0):
    """Random tokens, and masks with holes in them; every sample keeps its first token."""
    rng = np.random.default_rng(seed)
    tokens = {
        m: rng.standard_normal((batch, TOKENS[m], WIDTHS[m])).astype("float32") for m in names
    }
    masks = {m: rng.random((batch, TOKENS[m])) < 0.6 for m in names}
    for mask in masks.values():
        mask[:, 0] = True
        mask[0, 1] = False
    return tokens, masks


def random_layer(make, *inputs, **options):
    """A layer of random weights, that has seen inputs like these."""
    keras.utils.set_random_seed(7)  # else a run in many is off by a hair
    layer = make(name="fusion", **options)
    layer(*inputs)
    randomize(layer, 0.5)
    return layer


class Formula:
    """One sample through the formulas, with a layer's weights."""

    def __init__(self, layer):
        self.weights = {
            w.path.partition("/")[2]: w.numpy().astype("float64") for w in layer.weights
        }

    def norm(self, name, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + 1e-6)
        return scaled * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def dense(self, name, x):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def block(self, name, x, keys):
        """What the tokens x become once they have read `keys`."""
        normed, keys = self.norm(f"{name}/norm", x), self.norm(f"{name}/norm", keys)
        query, key, value, output = (
            self.weights[f"{name}/attention/{part}/kernel"]
            for part in ("query", "key", "value", "attention_output")
        )
        result = x.copy()
        for i, h in itertools.product(range(len(x)), range(query.shape[1])):
            scores = [
                (normed[i] @ query[:, h]) @ (k @ key[:, h]) / np.sqrt(query.shape[2]) for k in keys
            ]
            for score, k in zip(scores, keys, strict=True):
                result[i] += np.exp(score) / np.exp(scores).sum() * (k @ value[:, h]) @ output[h]
        hidden = self.dense(f"{name}/hidden", self.norm(f"{name}/hidden_norm", result))
        return result + self.dense(f"{name}/narrow", np.maximum(hidden, 0))

    def mean(self, name, states):
        """The mean of normed tokens; zeros of none."""
        return self.norm(name, states).mean(0) if len(states) else np.zeros(states.shape[1])

    def means(self, states):
        return np.concatenate([self.mean(f"{m}_norm", states[m]) for m in sorted(states)])


def token_transformer(f, tokens, here):
    state = np.concatenate([f.weights["summary"], *tokens.values()])
    for k in range(LAYERS):
        state = f.block(f"layer_{k}", state, state)
    return f.norm("norm", state[0])


def cross_attention(f, tokens, here):
    states = {}
    for a, x in tokens.items():
        keys = np.concatenate([tokens[b] for b in tokens if b != a] or [x])
        states[a] = f.block(f"{a}_reads", x, keys)
    return f.means(states)


def co_attention(f, tokens, here):
    states = tokens
    for k in range(LAYERS):
        exchanged = {}
        for a, x in states.items():
            made = [
                f.block(f"layer_{k}_{a}_reads_{b}", x, states[b]) for b in states if b != a
            ] or [x]
            exchanged[a] = np.mean(made, 0)
        states = {a: f.block(f"layer_{k}_{a}_reads_{a}", x, x) for a, x in exchanged.items()}
    return f.means(states)


def bottleneck_fusion(f, tokens, here):
    states, shared = dict(tokens), f.weights["bottleneck"]
    for k in range(LAYERS):
        made = []
        for m in states:
            both = np.concatenate([states[m], shared])
            both = f.block(f"layer_{k}_{m}", both, both)
            states[m] = both[:-OWN]
            if here[m]:
                made.append(both[-OWN:])
        shared = np.mean(made, 0) if made else shared
    return f.means(states)


def perceiver_resampler(f, tokens, here):
    latents = f.weights["latent"]
    for k in range(LAYERS):
        latents = f.block(f"layer_{k}", latents, np.concatenate([latents, *tokens.values()]))
    return f.norm("norm", latents)


def multimodal_transformer(f, tokens, here):
    states = {}
    for a in tokens:
        made = []
        for b in tokens:
            if b != a:
                state = tokens[a]
                for k in range(LAYERS):
                    state = f.block(f"{a}_reads_{b}_{k}", state, tokens[b])
                made.append(f.norm(f"{a}_reads_{b}_norm", state))
        states[a] = np.concatenate(made or [tokens[a]], axis=1)
        for k in range(LAYERS):
            states[a] = f.block(f"{a}_{k}", states[a], states[a])
    return f.means(states)


FORMULA = {
    "TokenTransformer": token_transformer,
    "CrossAttention": cross_attention,
    "CoAttention": co_attention,
    "BottleneckFusion": bottleneck_fusion,
    "PerceiverResampler": perceiver_resampler,
    "MultimodalTransformer": multimodal_transformer,
}


def reference(name, layer, tokens, masks, presence=None):
    """What a layer has to answer."""
    f, rows = Formula(layer), []
    for sample in range(len(next(iter(tokens.values())))):
        real, here = {}, {}
        for m in sorted(tokens):
            here[m] = presence is None or presence[m][sample]
            x = tokens[m][sample][masks[m][sample]].astype("float64")
            real[m] = f.dense(f"{m}_projection", x if here[m] else f.weights[f"{m}_absent"][None])
        rows.append(FORMULA[name](f, real, here))
    return np.stack(rows)
