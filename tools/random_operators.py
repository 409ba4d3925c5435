"""Models of a few random layers and operators of Keras, for `random_models.py`.

`TABLE` has a row an operator or layer: what it takes, and a function of a generator and a tensor
that applies it. A model is a graph of 4 to 10 of them on one or two small inputs.
"""

import keras
import numpy as np
from keras import layers, ops

INPUTS = {
    "vector": ((4,), "float32"),
    "sequence": ((5, 6), "float32"),
    "index": ((4,), "int32"),
    "picture": ((8, 8, 3), "uint8"),
    "flags": ((5,), "bool"),
}
LARGEST = 600  # values a sample of one node
INDICES = 12  # how many an `Embedding` has

# Of every rank. Those of the second group are infinite or NaN somewhere.
UNARY = (
    "abs negative sign square sin cos arctan tanh arcsinh erf floor ceil round trunc relu relu6 "
    "sigmoid softplus softsign silu log_sigmoid leaky_relu hard_sigmoid hard_silu hard_tanh elu "
    "selu gelu celu sparse_plus sparse_sigmoid squareplus soft_shrink hard_shrink tanh_shrink "
    "nan_to_num deg2rad rad2deg sinc cbrt isfinite isnan isinf isposinf isneginf signbit "
    "logical_not ones_like zeros_like erfc"
).split()
RISKY = (
    "sqrt rsqrt exp expm1 exp2 log log1p log2 log10 tan arcsin arccos sinh cosh arccosh arctanh "
    "erfinv reciprocal i0"
).split()
BINARY = (
    "add subtract multiply maximum minimum fmax fmin arctan2 logaddexp logaddexp2 hypot heaviside "
    "divide_no_nan equal not_equal greater greater_equal less less_equal isclose logical_and "
    "logical_or logical_xor"
).split()
RISKY_BINARY = "divide mod fmod floor_divide power".split()
REDUCED = (
    "sum mean max min prod var std amax amin logsumexp median ptp any all "
    "nansum nanmean nanmax nanmin nanvar nanstd nanprod"
).split()
INTEGERS = "abs negative sign square bitwise_not".split()
INTEGER_PAIRS = (
    "add subtract multiply maximum minimum floor_divide mod bitwise_and bitwise_or bitwise_xor "
    "equal less greater"
).split()
ACTIVATIONS = (
    "relu leaky_relu relu6 softmax celu elu selu softplus softsign squareplus soft_shrink "
    "sparse_plus silu gelu glu tanh tanh_shrink threshold sigmoid sparse_sigmoid exponential "
    "hard_sigmoid hard_silu hard_tanh hard_shrink linear mish log_softmax log_sigmoid sparsemax"
).split()


def is_float(x):
    return x.dtype.startswith("float")


def is_int(x):
    return x.dtype.startswith("int")


def is_bool(x):
    return x.dtype == "bool"


def any_kind(x):
    return True


def _rank(*ranks, kind=is_float):
    return lambda x: kind(x) and len(x.shape) in ranks


def _even_last(x):
    return is_float(x) and len(x.shape) > 1 and x.shape[-1] % 2 == 0


def _axes(x):
    return len(x.shape) > 1


def _float_axes(x):
    return is_float(x) and _axes(x)


def _axis(rng, x):
    return int(rng.integers(1, len(x.shape)))


def _number(rng):
    return float(rng.choice([-1.5, -1.0, -0.3, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0]))


def _other(rng, x):
    """A second operand: a number, a constant of the last axis, or made of x itself."""
    way = int(rng.integers(3))
    if way == 0 or not _axes(x):
        return np.asarray(_number(rng), "float32")
    if way == 1:
        return rng.standard_normal(x.shape[-1]).round(1).astype("float32")
    return ops.flip(x, axis=-1)


def _safe(rng, name, x):
    """Mostly within where the operator is defined; else anything, so that NaN comes about."""
    if rng.random() < 0.3:
        return x
    if name in ("arcsin", "arccos", "arctanh", "erfinv", "tan"):
        return 0.9 * ops.tanh(x)
    if name in ("exp", "exp2", "expm1", "sinh", "cosh", "i0"):
        return 3.0 * ops.tanh(x / 3.0)
    return ops.abs(x) + (1.0 if name == "arccosh" else 0.1)


def _as_float(x):
    return x if is_float(x) else ops.cast(x, "float32")


def _indices(x, count):
    return ops.cast(ops.mod(ops.cast(ops.abs(x), "int32"), count), "int32")


def _layer(make):
    return lambda rng, x: make(rng, x)(x)


def _table():
    table = {}
    for name in UNARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, f=getattr(ops, name): f(x)
    for name in RISKY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: getattr(ops, n)(_safe(rng, n, x))
    for name in BINARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, f=getattr(ops, name): f(x, _other(rng, x))
    for name in RISKY_BINARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: _divided(rng, n, x)
    for name in REDUCED:
        table[f"ops.{name}"] = _float_axes, lambda rng, x, f=getattr(ops, name): f(
            x, axis=_axis(rng, x), keepdims=bool(rng.random() < 0.4)
        )
    for name in INTEGERS:
        table[f"ops.{name} of integers"] = is_int, lambda rng, x, f=getattr(ops, name): f(x)
    for name in INTEGER_PAIRS:
        table[f"ops.{name} of integers"] = is_int, lambda rng, x, f=getattr(ops, name): f(
            x, np.asarray(rng.integers(1, 5), "int32")
        )
    for name in ACTIVATIONS:
        kind = _even_last if name == "glu" else _float_axes
        table[f"activation {name}"] = kind, _layer(lambda rng, x, n=name: layers.Activation(n))
    return table | _more_ops() | _layers() | _layers_of_pictures()


def _divided(rng, name, x):
    f = getattr(ops, name)
    if name == "power":
        if rng.random() < 0.5:
            return f(ops.abs(x) + 0.1, _number(rng))
        return f(x, float(rng.choice([2.0, 3.0, 0.5, -1.0])))
    if rng.random() < 0.4:
        return f(x, float(rng.choice([0.3, 1.7, -2.0])))
    below = ops.flip(x, axis=-1) if _axes(x) else x + 1.0
    return f(x, ops.abs(below) + 0.2 if rng.random() < 0.7 else below)


def _more_ops():
    def choose(rng, x):
        test = [lambda: x > _number(rng), lambda: ops.isfinite(x), lambda: ops.equal(x, 0.0),
                lambda: ops.isnan(x)][int(rng.integers(4))]()  # fmt: skip
        return ops.where(test, x, _other(rng, x))

    def norm(rng, x):
        return ops.norm(x, ord=rng.choice([1, 2, np.inf]).item(), axis=_axis(rng, x))

    def along(rng, x):
        return ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1)

    def split(rng, x):
        first, second = ops.split(x, [1], axis=-1)
        return ops.multiply(first, second)

    def width(x):
        return _float_axes(x) and x.shape[-1] > 1

    def square(rng, x):
        return ops.matmul(x, ops.swapaxes(x, -1, -2))

    return {
        "ops.where": (is_float, choose),
        "ops.threshold": (is_float, lambda r, x: ops.threshold(x, _number(r), _number(r))),
        "ops.count_nonzero": (_float_axes, lambda r, x: ops.count_nonzero(x, axis=_axis(r, x))),
        "ops.select": (is_float, lambda r, x: ops.select([x > 1.0, x < 0.0], [x, -x], 0.5)),
        "ops.clip": (is_float, lambda r, x: ops.clip(x, -float(r.random()), float(r.random()))),
        "ops.normalize": (_float_axes, lambda r, x: ops.normalize(
            x, axis=-1, order=int(r.integers(1, 4)))),
        "ops.norm": (_float_axes, norm),
        "ops.softmax": (_float_axes, lambda r, x: ops.softmax(x, axis=_axis(r, x))),
        "ops.log_softmax": (_float_axes, lambda r, x: ops.log_softmax(x, axis=_axis(r, x))),
        "ops.argmax": (_float_axes, lambda r, x: ops.argmax(x, axis=_axis(r, x))),
        "ops.argmin": (_float_axes, lambda r, x: ops.argmin(x, axis=_axis(r, x))),
        "ops.top_k values": (_float_axes, lambda r, x: ops.top_k(x, 1)[0]),
        "ops.top_k indices": (width, lambda r, x: ops.top_k(x, 2)[1]),
        "ops.in_top_k": (_rank(2), lambda r, x: ops.in_top_k(
            ops.cast(ops.argmin(x, axis=-1), "int32"), x, min(2, x.shape[-1]))),
        "ops.sort": (_float_axes, lambda r, x: ops.sort(x, axis=-1)),
        "ops.argsort": (_float_axes, lambda r, x: ops.argsort(x, axis=-1)),
        "ops.cumsum": (_float_axes, lambda r, x: ops.cumsum(x, axis=_axis(r, x))),
        "ops.cumprod": (_float_axes, lambda r, x: ops.cumprod(ops.tanh(x), axis=_axis(r, x))),
        "ops.diff": (width, lambda r, x: ops.diff(x, axis=-1)),
        "ops.take": (width, lambda r, x: ops.take(x, [0, -1, 1], axis=-1)),
        "ops.take_along_axis": (_float_axes, along),
        "ops.concatenate": (_axes, lambda r, x: ops.concatenate(
            [x, ops.flip(x, axis=1)], axis=_axis(r, x))),
        "ops.stack": (_rank(2, 3), lambda r, x: ops.stack([x, -x], axis=_axis(r, x))),
        "ops.split": (width, split),
        "ops.pad": (_float_axes, lambda r, x: ops.pad(
            x, [(0, 0), *[(1, 0)] * (len(x.shape) - 1)], constant_values=_number(r))),
        "ops.pad reflect": (width, lambda r, x: ops.pad(
            x, [*[(0, 0)] * (len(x.shape) - 1), (1, 1)], mode="reflect")),
        "ops.einsum": (_rank(3), lambda r, x: ops.einsum("btd,bsd->bts", x, x)),
        "ops.matmul": (_rank(3, 4), square),
        "ops.tensordot": (_rank(2, 3), lambda r, x: ops.tensordot(
            x, r.standard_normal((x.shape[-1], 3)).astype("float32"), axes=1)),
        "ops.outer": (_rank(2), lambda r, x: ops.einsum("bi,bj->bij", x, x)),
        "ops.transpose": (_rank(3), lambda r, x: ops.transpose(x, (0, 2, 1))),
        "ops.reshape": (_axes, lambda r, x: ops.reshape(x, (-1, *x.shape[:0:-1]))),
        "ops.expand_dims": (_rank(2, kind=any_kind), lambda r, x: ops.expand_dims(x, -1)),
        "ops.squeeze": (lambda x: x.shape[1:] and x.shape[-1] == 1,
                        lambda r, x: ops.squeeze(x, -1)),
        "ops.flip": (_axes, lambda r, x: ops.flip(x, axis=_axis(r, x))),
        "ops.roll": (_axes, lambda r, x: ops.roll(x, 1, axis=_axis(r, x))),
        "ops.repeat": (_axes, lambda r, x: ops.repeat(x, 2, axis=_axis(r, x))),
        "ops.tile": (_rank(2, kind=any_kind), lambda r, x: ops.tile(x, (1, 2))),
        "ops.slice": (width, lambda r, x: x[..., 1:]),
        "ops.strided slice": (_axes, lambda r, x: x[:, ::2]),
        "ops.moveaxis": (_rank(3, 4), lambda r, x: ops.moveaxis(x, 1, -1)),
        "ops.triu": (_rank(3), lambda r, x: ops.triu(x)),
        "ops.tril": (_rank(3), lambda r, x: ops.tril(x)),
        "ops.quantile": (width, lambda r, x: ops.quantile(x, 0.5, axis=-1)),
        "ops.digitize": (is_float, lambda r, x: ops.digitize(
            x, np.array([-1.0, 0.0, 1.0], "float32"))),
        "ops.searchsorted": (_rank(2), lambda r, x: ops.searchsorted(
            np.array([-1.0, 0.0, 1.0], "float32"), x)),
        "ops.cast to integers": (is_float, lambda r, x: ops.cast(ops.clip(
            ops.nan_to_num(x), -99.0, 99.0), "int32")),
        "ops.cast to bool": (is_float, lambda r, x: ops.cast(x, "bool")),
        "ops.cast to float": (lambda x: not is_float(x), lambda r, x: ops.cast(x, "float32")),
        "ops.logical_not of bool": (is_bool, lambda r, x: ops.logical_not(x)),
        "ops.any of bool": (_rank(2, 3, kind=is_bool), lambda r, x: ops.any(x, axis=-1)),
        "ops.all of bool": (_rank(2, 3, kind=is_bool), lambda r, x: ops.all(x, axis=-1)),
        "ops.where of bool": (is_bool, lambda r, x: ops.where(x, _number(r), _number(r))),
        "ops.cumsum of integers": (_rank(2, kind=is_int), lambda r, x: ops.cumsum(x, axis=1)),
        "ops.one_hot": (_rank(1, 2, kind=is_int), lambda r, x: ops.one_hot(x, 7)),
        "ops.multi_hot": (_rank(2, kind=is_int), lambda r, x: ops.multi_hot(x, 7)),
        "ops.take of rows": (_rank(2, kind=is_int), lambda r, x: ops.take(
            r.standard_normal((9, 3)).astype("float32"), _indices(x, 9), axis=0)),
        "ops.average_pool": (_rank(3), lambda r, x: ops.average_pool(x, 2, 1, "same")),
        "ops.max_pool": (_rank(3), lambda r, x: ops.max_pool(x, 2, 1, "same")),
        "ops.layer_normalization": (_float_axes, lambda r, x: ops.layer_normalization(x)),
        "ops.rms_normalization": (_float_axes, lambda r, x: ops.rms_normalization(x)),
        "ops.moments": (_float_axes, lambda r, x: ops.moments(x, axes=[-1])[1]),
    }  # fmt: skip


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
        "Dense": (_float_axes, _layer(lambda r, x: layers.Dense(5, str(r.choice(ACTIVATIONS[:9]))))),
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
        "Dot": (_rank(2), dot),
        "Dot of sequences": (_sequences, own),
        "UnitNormalization": (_float_axes, _layer(lambda r, x: layers.UnitNormalization())),
        "LayerNormalization": (_float_axes, _layer(lambda r, x: layers.LayerNormalization(
            epsilon=float(r.choice([1e-3, 1e-6]))))),
        "RMSNormalization": (_float_axes, _layer(lambda r, x: layers.RMSNormalization())),
        "BatchNormalization": (_float_axes, _layer(lambda r, x: layers.BatchNormalization())),
        "GroupNormalization": (_rank(3, 4), _layer(lambda r, x: layers.GroupNormalization(1))),
        "Normalization": (_float_axes, _layer(lambda r, x: layers.Normalization(
            **_statistics(r, x), invert=bool(r.random() < 0.2)))),
        "Rescaling": (any_kind, _layer(lambda r, x: layers.Rescaling(1 / 255, offset=-0.5))),
        "PReLU": (_float_axes, _layer(lambda r, x: layers.PReLU())),
        "LeakyReLU": (_float_axes, _layer(lambda r, x: layers.LeakyReLU(0.2))),
        "ReLU": (_float_axes, _layer(lambda r, x: layers.ReLU(
            max_value=3.0, negative_slope=0.1, threshold=0.5))),
        "ELU": (_float_axes, _layer(lambda r, x: layers.ELU(0.7))),
        "Softmax": (_float_axes, _layer(lambda r, x: layers.Softmax(axis=-1))),
        "Softmax masked": (_float_axes, lambda r, x: layers.Softmax()(x, mask=x > -0.5)),
        "Flatten": (_axes, _layer(lambda r, x: layers.Flatten())),
        "Reshape": (_axes, _layer(lambda r, x: layers.Reshape((-1, x.shape[1])))),
        "Permute": (_rank(3, kind=any_kind), _layer(lambda r, x: layers.Permute((2, 1)))),
        "RepeatVector": (_rank(2), _layer(lambda r, x: layers.RepeatVector(2))),
        "Dropout": (_float_axes, _layer(lambda r, x: layers.Dropout(0.5))),
        "GaussianNoise": (_float_axes, _layer(lambda r, x: layers.GaussianNoise(0.1))),
        "Discretization": (_float_axes, _layer(lambda r, x: layers.Discretization(
            [-1.0, 0.0, 0.5]))),
        "Embedding": (_rank(2, kind=is_int), lambda r, x: layers.Embedding(INDICES, 3)(
            x if r.random() < 0.5 else _indices(x, INDICES))),
        "CategoryEncoding": (_rank(2, kind=is_int), lambda r, x: layers.CategoryEncoding(
            7, output_mode="multi_hot")(_indices(x, 7))),
        "CategoryEncoding count": (_rank(2, kind=is_int), lambda r, x: layers.CategoryEncoding(
            7, output_mode="count")(_indices(x, 7))),
        "IntegerLookup": (_rank(2, kind=is_int), _layer(lambda r, x: layers.IntegerLookup(
            vocabulary=[1, 3, 5, 8], **numbers(r)))),
        "Hashing": (_rank(2, kind=is_int), _layer(lambda r, x: layers.Hashing(8))),
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


TABLE = _table()


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
