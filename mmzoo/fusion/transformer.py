"""What the attention layers share: a transformer block, and maps of who reads whom."""

from typing import ClassVar

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer, positive_int
from mmzoo.fusion.explanation import asked, note

EXPANSION = 4  # hidden width of a feed-forward network, in widths of its block
EPSILON = 1e-6
STDDEV = 0.02  # of what is learned from scratch and is no kernel


class TransformerBlock(keras.layers.Layer):
    """Tokens read other tokens, then each goes through a feed-forward network.

    With `n = norm(x)` and `k = norm(keys)`, one norm for both, and heads of width d,
    `x' = x + concat_heads(softmax(n Wq (k Wk)ᵀ / sqrt(d)) k Wv) Wo`, then
    `x'' = x' + relu(norm'(x') W1 + b1) W2 + b2`.

    Attention has no biases: a key's would never get a gradient under the softmax, and without
    the others a token that finds nothing real to read reads zeros.
    """

    def __init__(self, units, num_heads, **kwargs):
        super().__init__(**kwargs)
        same = {"dtype": self.dtype_policy}
        self.units = units
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON, name="norm", **same)
        self.attention = keras.layers.MultiHeadAttention(
            num_heads, units // num_heads, use_bias=False, name="attention", **same
        )
        self.hidden_norm = keras.layers.LayerNormalization(
            epsilon=EPSILON, name="hidden_norm", **same
        )
        self.hidden = keras.layers.Dense(
            EXPANSION * units, activation="relu", name="hidden", **same
        )
        self.narrow = keras.layers.Dense(units, name="narrow", **same)

    def build(self, tokens_shape):
        shape = (None, None, self.units)
        for layer in (self.norm, self.hidden_norm, self.hidden):
            layer.build(shape)
        self.attention.build(shape, shape)
        self.narrow.build((None, None, EXPANSION * self.units))

    def call(self, tokens, real, keys=None):
        queries = self.norm(tokens)
        read, weights = self.attention(
            queries,
            queries if keys is None else self.norm(keys),
            attention_mask=ops.expand_dims(real, 1),  # (batch, 1, keys)
            # Without the weights Keras takes another path, where a row without any real key
            # is the mean of what is masked. On this one it is zeros.
            return_attention_scores=True,
        )
        tokens = tokens + read
        return tokens + self.narrow(self.hidden(self.hidden_norm(tokens))), weights


class AttentionFusion(FusionLayer):
    """A fusion by transformer blocks, over every modality's tokens in one width.

    Modality m's tokens become `x W_m + e_m`; `e_m` is its learned modality embedding. A subclass
    makes its blocks in `build_fusion`, after the one here, and combines in `attend`.

    Args:
        units: Positive int, a multiple of `num_heads`. Width of every token.
        num_heads: Positive int.
        return_attention: Whether a call returns `(result, maps)`: a dict of
            `"a_reads_b"` to float `(batch, num_heads, N_a, N_b)`, behind `"layer_0_"` and so on
            where there are layers. What a reads at once is split into a map each: together
            their rows sum to 1. The rows and columns of masked tokens are 0.
    """

    takes = "tokens"
    own: ClassVar[str] = ""  # what the layer calls tokens of its own

    def __init__(self, units, num_heads, return_attention=False, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.num_heads = positive_int("num_heads", num_heads)
        if units % num_heads:
            raise ValueError(
                "`units` must be a multiple of `num_heads`. "
                f"Received: units={units}, num_heads={num_heads}."
            )
        self.return_attention = return_attention

    def attend(self, tokens, masks, presence):
        """Combines tokens `(batch, N_m, units)`; `masks` and `presence` as in `fuse`.

        Returns:
            The result, and a list of readings: what stands before the maps' names, weights
            `(batch, num_heads, queries, keys)`, and two dicts of what the queries and the keys
            are, in order: name to mask.
        """
        raise NotImplementedError

    def build_fusion(self, widths):
        if self.own in widths:
            raise ValueError(
                f"Expected no modality named {self.own!r}: {type(self).__name__} has tokens of "
                f"that name. Received: {sorted(widths)}. Rename the modality."
            )
        self.projections = {}
        for name, width in widths.items():
            layer = keras.layers.Dense(
                self.units,
                bias_initializer=keras.initializers.RandomNormal(stddev=STDDEV),
                name=f"{name}_projection",
                dtype=self.dtype_policy,
            )
            layer.build((None, None, width))
            self.projections[name] = layer

    def new_block(self, name, units=None):
        units = units or self.units
        block = TransformerBlock(units, self.num_heads, name=name, dtype=self.dtype_policy)
        block.build((None, None, units))
        return block

    def new_norm(self, name, units=None):
        norm = keras.layers.LayerNormalization(epsilon=EPSILON, name=name, dtype=self.dtype_policy)
        norm.build((None, None, units or self.units))
        return norm

    def new_tokens(self, number):
        return self.add_weight(
            shape=(number, self.units),
            initializer=keras.initializers.RandomNormal(stddev=STDDEV),
            name=self.own,
        )

    def fuse(self, features, masks, presence, training):
        tokens = {m: self.projections[m](features[m]) for m in self.modalities}
        result, readings = self.attend(tokens, masks, presence)
        if self.return_attention or asked():
            maps = attention_maps(readings)
            note(maps)
        return (result, maps) if self.return_attention else result

    def compute_output_shape(self, features_shape, masks_shape=None, presence_shape=None):
        shapes = (features_shape, masks_shape, presence_shape)
        if not self.return_attention:
            return super().compute_output_shape(*shapes)
        if not self.built:
            self.build(*shapes)
        tensors = {m: keras.KerasTensor(s, self.compute_dtype) for m, s in features_shape.items()}
        spec = keras.Operation.compute_output_spec(self, tensors)
        return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), spec)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "return_attention": self.return_attention,
        }


def attention_maps(readings):
    """Dict of `"a_reads_b"` to the part of the weights with a's rows and b's columns."""
    maps = {}
    for label, weights, queries, keys in readings:
        row = 0
        for a, mask in queries.items():
            kept = ops.cast(ops.expand_dims(ops.expand_dims(mask, 1), -1), weights.dtype)
            next_row, column = row + ops.shape(mask)[1], 0
            for b, key_mask in keys.items():
                next_column = column + ops.shape(key_mask)[1]
                part = weights[:, :, row:next_row, column:next_column]
                maps[f"{label}{a}_reads_{b}"] = part * kept
                column = next_column
            row = next_row
    return maps


def join(parts):
    """Concatenates along the tokens."""
    return ops.concatenate(list(parts), axis=1)


def repeat(own, tokens):
    """Own tokens `(number, units)`, and their masks, for every sample of `tokens`."""
    zero = ops.zeros_like(ops.expand_dims(tokens[:, 0, :1], 1))  # (batch, 1, 1)
    own = zero + ops.expand_dims(own, 0)  # (batch, number, units)
    return own, ops.ones_like(own[..., 0], dtype="bool")


def pool(states, masks, norms):
    """Concatenates each modality's mean real token, after its norm: `(batch, F)`."""
    means = []
    for name, state in states.items():
        kept = ops.expand_dims(ops.cast(masks[name], state.dtype), -1)
        count = ops.maximum(ops.sum(kept, axis=1), 1.0)
        means.append(ops.sum(norms[name](state) * kept, axis=1) / count)
    return ops.concatenate(means, axis=-1)
