"""Models of a few random layers and operators of Keras, for `random_models.py`.

`TABLE` has a row an operator or layer: what it takes, and a function of a generator and a tensor
that applies it. A model is a graph of 4 to 10 of them on one or two small inputs.
"""

import keras
import numpy as np
from keras import layers, ops
from random_operators import OPERATORS, any_kind, axes, float_axes, indices, is_float, is_int, rank

INPUTS = {
    "vector": ((4,), "float32"),
    "sequence": ((5, 6), "float32"),
    "index": ((4,), "int32"),
    "picture": ((8, 8, 3), "uint8"),
    "flags": ((5,), "bool"),
}
LARGEST = 600  # values a sample of one node
INDICES = 12  # how many an `Embedding` has
ACTIVATIONS = (
    "relu", "leaky_relu", "relu6", "softmax", "celu", "elu", "selu", "softplus", "softsign",
    "squareplus", "soft_shrink", "sparse_plus", "silu", "gelu", "tanh", "tanh_shrink",
    "threshold", "sigmoid", "sparse_sigmoid", "exponential", "hard_sigmoid", "hard_silu",
    "hard_tanh", "hard_shrink", "linear", "mish", "log_softmax", "log_sigmoid", "sparsemax",
)  # fmt: skip


def _as_float(x):
    return x if is_float(x) else ops.cast(x, "float32")


def _layer(make):
    return lambda rng, x: make(rng, x)(x)


def _sequences(x):
    return is_float(x) and len(x.shape) == 3


def _queries(make):
    def apply(rng, x):
        return make(rng, x)([x, ops.flip(x, axis=1)])

    return apply


def _statistics(rng, x):
    width = x.shape[-1]
    return {"mean": rng.standard_normal(width).tolist(),
            "variance": (rng.random(width) + 0.1).tolist()}  # fmt: skip


def _layers():
    def padding(rng):
        return str(rng.choice(["same", "valid"]))

    def numbers(rng):
        return {"mask_token": None} if rng.random() < 0.5 else {"mask_token": 0}

    def long(x):
        return _sequences(x) and x.shape[1] > 2

    def own(rng, x):  # a `Dense` of 3 and its products with a turned one
        y = layers.Dense(3)(x)
        return layers.Dot(axes=-1, normalize=True)([y, ops.flip(y, axis=1)])

    def dot(rng, x):
        return layers.Dot(axes=1, normalize=bool(rng.random() < 0.7))([x, ops.flip(x, axis=1)])

    def attention(rng, x):
        return layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=bool(rng.random() < 0.3))

    def attended(rng, x):
        return layers.GroupQueryAttention(3, 2, 1)(x, x)

    return {
        "Dense": (float_axes, _layer(lambda r, x: layers.Dense(5, "elu"))),
        "EinsumDense": (_sequences, _layer(lambda r, x: layers.EinsumDense(
            "btd,de->bte", (x.shape[1], 4), bias_axes="e"))),
        "Conv1D": (long, _layer(lambda r, x: layers.Conv1D(
            4, 2, padding=str(r.choice(["same", "valid", "causal"]))))),
        "Conv1D dilated": (long, _layer(lambda r, x: layers.Conv1D(
            4, 2, dilation_rate=2, padding="causal"))),
        "SeparableConv1D": (long, _layer(lambda r, x: layers.SeparableConv1D(4, 2))),
        "DepthwiseConv1D": (long, _layer(lambda r, x: layers.DepthwiseConv1D(
            2, depth_multiplier=2, padding=padding(r)))),
        "Conv1DTranspose": (long, _layer(lambda r, x: layers.Conv1DTranspose(
            3, 2, strides=2, padding=padding(r)))),
        "MaxPooling1D": (long, _layer(lambda r, x: layers.MaxPooling1D(2, padding=padding(r)))),
        "AveragePooling1D": (long, _layer(lambda r, x: layers.AveragePooling1D(
            2, padding=padding(r)))),
        "AdaptiveAveragePooling1D": (long, _layer(lambda r, x: layers.AdaptiveAveragePooling1D(2))),
        "AdaptiveMaxPooling1D": (long, _layer(lambda r, x: layers.AdaptiveMaxPooling1D(2))),
        "GlobalMaxPooling1D": (_sequences, _layer(lambda r, x: layers.GlobalMaxPooling1D())),
        "GlobalAveragePooling1D": (_sequences, _layer(
            lambda r, x: layers.GlobalAveragePooling1D(keepdims=bool(r.random() < 0.3)))),
        "Cropping1D": (long, _layer(lambda r, x: layers.Cropping1D(1))),
        "ZeroPadding1D": (_sequences, _layer(lambda r, x: layers.ZeroPadding1D(1))),
        "UpSampling1D": (_sequences, _layer(lambda r, x: layers.UpSampling1D(2))),
        "LSTM": (_sequences, _layer(lambda r, x: layers.LSTM(3))),
        "GRU unrolled": (_sequences, _layer(lambda r, x: layers.GRU(3, unroll=True))),
        "SimpleRNN unrolled": (_sequences, _layer(lambda r, x: layers.SimpleRNN(3, unroll=True))),
        "TimeDistributed": (_sequences, _layer(lambda r, x: layers.TimeDistributed(
            layers.Dense(3)))),
        "Masking": (_sequences, _layer(lambda r, x: layers.Masking(0.0))),
        "Attention": (_sequences, _queries(lambda r, x: layers.Attention(
            use_scale=True, score_mode=str(r.choice(["dot", "concat"]))))),
        "AdditiveAttention": (_sequences, _queries(lambda r, x: layers.AdditiveAttention())),
        "MultiHeadAttention": (_sequences, attention),
        "GroupQueryAttention": (_sequences, attended),
        "Dot": (rank(2), dot),
        "Dot of sequences": (_sequences, own),
        "UnitNormalization": (float_axes, _layer(lambda r, x: layers.UnitNormalization())),
        "LayerNormalization": (float_axes, _layer(lambda r, x: layers.LayerNormalization(
            epsilon=float(r.choice([1e-3, 1e-6]))))),
        "RMSNormalization": (float_axes, _layer(lambda r, x: layers.RMSNormalization())),
        "BatchNormalization": (float_axes, _layer(lambda r, x: layers.BatchNormalization())),
        "GroupNormalization": (rank(3, 4), _layer(lambda r, x: layers.GroupNormalization(1))),
        "Normalization": (float_axes, _layer(lambda r, x: layers.Normalization(
            **_statistics(r, x), invert=bool(r.random() < 0.2)))),
        "Rescaling": (any_kind, _layer(lambda r, x: layers.Rescaling(1 / 255, offset=-0.5))),
        "PReLU": (float_axes, _layer(lambda r, x: layers.PReLU())),
        "LeakyReLU": (float_axes, _layer(lambda r, x: layers.LeakyReLU(0.2))),
        "ReLU": (float_axes, _layer(lambda r, x: layers.ReLU(
            max_value=3.0, negative_slope=0.1, threshold=0.5))),
        "ELU": (float_axes, _layer(lambda r, x: layers.ELU(0.7))),
        "Softmax": (float_axes, _layer(lambda r, x: layers.Softmax(axis=-1))),
        "Softmax masked": (float_axes, lambda r, x: layers.Softmax()(x, mask=x > -0.5)),
        "Flatten": (axes, _layer(lambda r, x: layers.Flatten())),
        "Reshape": (axes, _layer(lambda r, x: layers.Reshape((-1, x.shape[1])))),
        "Permute": (rank(3, kind=any_kind), _layer(lambda r, x: layers.Permute((2, 1)))),
        "RepeatVector": (rank(2), _layer(lambda r, x: layers.RepeatVector(2))),
        "Dropout": (float_axes, _layer(lambda r, x: layers.Dropout(0.5))),
        "GaussianNoise": (float_axes, _layer(lambda r, x: layers.GaussianNoise(0.1))),
        "Discretization": (float_axes, _layer(lambda r, x: layers.Discretization(
            [-1.0, 0.0, 0.5]))),
        "Embedding": (rank(2, kind=is_int), lambda r, x: layers.Embedding(INDICES, 3)(
            x if r.random() < 0.5 else indices(x, INDICES))),
        "CategoryEncoding": (rank(2, kind=is_int), lambda r, x: layers.CategoryEncoding(
            7, output_mode="multi_hot")(indices(x, 7))),
        "CategoryEncoding count": (rank(2, kind=is_int), lambda r, x: layers.CategoryEncoding(
            7, output_mode="count")(indices(x, 7))),
        "IntegerLookup": (rank(2, kind=is_int), _layer(lambda r, x: layers.IntegerLookup(
            vocabulary=[1, 3, 5, 8], **numbers(r)))),
        "Hashing": (rank(2, kind=is_int), _layer(lambda r, x: layers.Hashing(8))),
    }  # fmt: skip


def _layers_of_pictures():
    def pictures(x):
        return is_float(x) and len(x.shape) == 4 and min(x.shape[1:3]) > 2

    def three(x):
        return pictures(x) and x.shape[-1] == 3

    def many(make):
        return pictures, _layer(make)

    return {
        "Conv2D": many(lambda r, x: layers.Conv2D(4, 2, padding=str(r.choice(["same", "valid"])))),
        "Conv2D strided": many(lambda r, x: layers.Conv2D(4, 3, 2, "same")),
        "Conv2D grouped": many(lambda r, x: layers.Conv2D(
            x.shape[-1], 2, groups=x.shape[-1], padding="same")),
        "Conv2D dilated": many(lambda r, x: layers.Conv2D(3, 2, dilation_rate=2)),
        "SeparableConv2D": many(lambda r, x: layers.SeparableConv2D(4, 2)),
        "DepthwiseConv2D": many(lambda r, x: layers.DepthwiseConv2D(2, depth_multiplier=2)),
        "Conv2DTranspose": many(lambda r, x: layers.Conv2DTranspose(2, 2, 2, "same")),
        "MaxPooling2D": many(lambda r, x: layers.MaxPooling2D(2, 1, "same")),
        "AveragePooling2D": many(lambda r, x: layers.AveragePooling2D(2, 2, "same")),
        "GlobalMaxPooling2D": many(lambda r, x: layers.GlobalMaxPooling2D()),
        "GlobalAveragePooling2D": many(lambda r, x: layers.GlobalAveragePooling2D()),
        "AdaptiveAveragePooling2D": many(lambda r, x: layers.AdaptiveAveragePooling2D(2)),
        "Cropping2D": many(lambda r, x: layers.Cropping2D(1)),
        "CenterCrop": many(lambda r, x: layers.CenterCrop(2, 2)),
        "ZeroPadding2D": many(lambda r, x: layers.ZeroPadding2D(1)),
        "UpSampling2D": many(lambda r, x: layers.UpSampling2D(
            2, interpolation=str(r.choice(["nearest", "bilinear"])))),
        "Resizing": many(lambda r, x: layers.Resizing(int(r.integers(3, 9)), 6)),
        "Resizing nearest": many(lambda r, x: layers.Resizing(5, 6, "nearest")),
        "ops.rgb_to_grayscale": (three, lambda r, x: ops.image.rgb_to_grayscale(x)),
        "ops.depth_to_space": (lambda x: pictures(x) and x.shape[-1] % 4 == 0,
                               lambda r, x: ops.depth_to_space(x, 2)),
    }  # fmt: skip


def _activations():
    return {
        f"activation {name}": (float_axes, _layer(lambda r, x, n=name: layers.Activation(n)))
        for name in ACTIVATIONS
    }


TABLE = OPERATORS | _activations() | _layers() | _layers_of_pictures()


def draw_graph(rng, name):
    """Returns a functional model, and the names of the table's rows that it has."""
    chosen = [str(n) for n in rng.permutation(list(INPUTS))[: int(rng.integers(1, 3))]]
    inputs = {n: keras.Input(INPUTS[n][0], dtype=INPUTS[n][1], name=n) for n in chosen}
    pool, unused, drawn = list(inputs.values()), dict(inputs), []
    sources: dict[int, str] = {id(x): n for n, x in inputs.items()}
    consumed: set[int] = set()
    for step in range(int(rng.integers(4, 11))):
        x = pool[-1] if rng.random() < 0.7 else pool[int(rng.integers(len(pool)))]
        if unused and step < len(inputs):
            x = unused.pop(next(iter(unused)))
        row, made = apply_row(rng, x)
        drawn.append(row)
        consumed.add(id(x))
        pool.append(made)
    ends = [x for x in pool if id(x) not in consumed and id(x) not in sources][-3:]
    if len(ends) > 1 and rng.random() < 0.5:  # two parts of a graph meet
        ends = [ops.concatenate([layers.Flatten()(_as_float(x)) for x in ends], axis=-1)]
    outputs = {}
    for k, x in enumerate(ends):
        if is_float(x) and rng.random() < 0.8:
            x = ops.where(ops.isfinite(x), x, 0.5) if rng.random() < 0.5 else ops.nan_to_num(x)
        outputs[f"out{k}"] = x
    return keras.Model(inputs, outputs, name=name), drawn


def apply_row(rng, x):
    """Applies a random row of the table that takes the tensor; returns its name and the result."""
    if x.dtype == "uint8":
        x = ops.cast(x, "float32") / float(rng.choice([1.0, 255.0]))
    rows = [row for row, (takes, _) in TABLE.items() if takes(x)]
    for row in rng.permutation(rows):
        made = TABLE[row][1](rng, x)
        if np.prod(made.shape[1:]) <= LARGEST:
            return str(row), made
    raise ValueError(f"No operator keeps {x.shape} within {LARGEST} values.")
