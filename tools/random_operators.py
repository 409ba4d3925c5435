"""Random operators of Keras for `random_models.py`.

`OPERATORS` has a row an operator: what it takes, and a function of a generator and a tensor that
applies it.
"""

import numpy as np
from keras import ops

# Of every rank. Those of the second group are infinite or NaN somewhere.
UNARY = (
    "abs", "negative", "sign", "square", "sin", "cos", "arctan", "tanh", "arcsinh", "erf",
    "floor", "ceil", "round", "trunc", "relu", "relu6", "sigmoid", "softplus", "softsign", "silu",
    "log_sigmoid", "leaky_relu", "hard_sigmoid", "hard_silu", "hard_tanh", "elu", "selu", "gelu",
    "celu", "sparse_plus", "sparse_sigmoid", "squareplus", "soft_shrink", "hard_shrink",
    "tanh_shrink", "nan_to_num", "deg2rad", "rad2deg", "sinc", "cbrt", "isfinite", "isnan",
    "isinf", "isposinf", "isneginf", "signbit", "logical_not", "ones_like", "zeros_like", "erfc",
)  # fmt: skip
RISKY = (
    "sqrt", "rsqrt", "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "tan", "arcsin",
    "arccos", "sinh", "cosh", "arccosh", "arctanh", "erfinv", "reciprocal", "i0",
)  # fmt: skip
BINARY = (
    "add", "subtract", "multiply", "maximum", "minimum", "fmax", "fmin", "arctan2", "logaddexp",
    "logaddexp2", "hypot", "heaviside", "divide_no_nan", "equal", "not_equal", "greater",
    "greater_equal", "less", "less_equal", "isclose", "logical_and", "logical_or", "logical_xor",
)  # fmt: skip
RISKY_BINARY = (
    "divide", "mod", "fmod", "floor_divide", "power",
)  # fmt: skip
REDUCED = (
    "sum", "mean", "max", "min", "prod", "var", "std", "amax", "amin", "logsumexp", "median",
    "ptp", "any", "all", "nansum", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd", "nanprod",
)  # fmt: skip
INTEGERS = (
    "abs", "negative", "sign", "square", "bitwise_not",
)  # fmt: skip
INTEGER_PAIRS = (
    "add", "subtract", "multiply", "maximum", "minimum", "floor_divide", "mod", "bitwise_and",
    "bitwise_or", "bitwise_xor", "equal", "less", "greater",
)  # fmt: skip


def is_float(x):
    return x.dtype.startswith("float")


def is_int(x):
    return x.dtype.startswith("int")


def is_bool(x):
    return x.dtype == "bool"


def any_kind(x):
    return True


def rank(*ranks, kind=is_float):
    return lambda x: kind(x) and len(x.shape) in ranks


def _even_last(x):
    return is_float(x) and len(x.shape) > 1 and x.shape[-1] % 2 == 0


def axes(x):
    return len(x.shape) > 1


def float_axes(x):
    return is_float(x) and axes(x)


def _axis(rng, x):
    return int(rng.integers(1, len(x.shape)))


def _number(rng):
    return float(rng.choice([-1.5, -1.0, -0.3, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0]))


def _other(rng, x):
    """A second operand: a number, a constant of the last axis, or made of x itself."""
    way = int(rng.integers(3))
    if way == 0 or not axes(x):
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


def indices(x, count):
    return ops.cast(ops.mod(ops.cast(ops.abs(x), "int32"), count), "int32")


def _table():
    table = {}
    for name in UNARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: getattr(ops, n)(x)
    for name in RISKY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: getattr(ops, n)(_safe(rng, n, x))
    for name in BINARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: getattr(ops, n)(x, _other(rng, x))
    for name in RISKY_BINARY:
        table[f"ops.{name}"] = is_float, lambda rng, x, n=name: _divided(rng, n, x)
    for name in REDUCED:
        table[f"ops.{name}"] = (
            float_axes,
            lambda rng, x, n=name: getattr(ops, n)(
                x, axis=_axis(rng, x), keepdims=bool(rng.random() < 0.4)
            ),
        )
    for name in INTEGERS:
        table[f"ops.{name} of integers"] = is_int, lambda rng, x, n=name: getattr(ops, n)(x)
    for name in INTEGER_PAIRS:
        table[f"ops.{name} of integers"] = (
            is_int,
            lambda rng, x, n=name: getattr(ops, n)(x, np.asarray(rng.integers(1, 5), "int32")),
        )
    return table | _more_ops()


def _divided(rng, name, x):
    f = getattr(ops, name)
    if name == "power":
        if rng.random() < 0.5:
            return f(ops.abs(x) + 0.1, _number(rng))
        return f(x, float(rng.choice([2.0, 3.0, 0.5, -1.0])))
    if rng.random() < 0.4:
        return f(x, float(rng.choice([0.3, 1.7, -2.0])))
    below = ops.flip(x, axis=-1) if axes(x) else x + 1.0
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
        return float_axes(x) and x.shape[-1] > 1

    def square(rng, x):
        return ops.matmul(x, ops.swapaxes(x, -1, -2))

    return {
        "ops.where": (is_float, choose),
        "ops.threshold": (is_float, lambda r, x: ops.threshold(x, _number(r), _number(r))),
        "ops.count_nonzero": (float_axes, lambda r, x: ops.count_nonzero(x, axis=_axis(r, x))),
        "ops.select": (is_float, lambda r, x: ops.select([x > 1.0, x < 0.0], [x, -x], 0.5)),
        "ops.clip": (is_float, lambda r, x: ops.clip(x, -float(r.random()), float(r.random()))),
        "ops.normalize": (float_axes, lambda r, x: ops.normalize(
            x, axis=-1, order=int(r.integers(1, 4)))),
        "ops.norm": (float_axes, norm),
        "ops.softmax": (float_axes, lambda r, x: ops.softmax(x, axis=_axis(r, x))),
        "ops.log_softmax": (float_axes, lambda r, x: ops.log_softmax(x, axis=_axis(r, x))),
        "ops.argmax": (float_axes, lambda r, x: ops.argmax(x, axis=_axis(r, x))),
        "ops.argmin": (float_axes, lambda r, x: ops.argmin(x, axis=_axis(r, x))),
        "ops.top_k values": (float_axes, lambda r, x: ops.top_k(x, 1)[0]),
        "ops.top_k indices": (width, lambda r, x: ops.top_k(x, 2)[1]),
        "ops.in_top_k": (rank(2), lambda r, x: ops.in_top_k(
            ops.cast(ops.argmin(x, axis=-1), "int32"), x, min(2, x.shape[-1]))),
        "ops.glu": (_even_last, lambda r, x: ops.glu(x, axis=-1)),
        "ops.sort": (float_axes, lambda r, x: ops.sort(x, axis=-1)),
        "ops.argsort": (float_axes, lambda r, x: ops.argsort(x, axis=-1)),
        "ops.cumsum": (float_axes, lambda r, x: ops.cumsum(x, axis=_axis(r, x))),
        "ops.cumprod": (float_axes, lambda r, x: ops.cumprod(ops.tanh(x), axis=_axis(r, x))),
        "ops.diff": (width, lambda r, x: ops.diff(x, axis=-1)),
        "ops.take": (width, lambda r, x: ops.take(x, [0, -1, 1], axis=-1)),
        "ops.take_along_axis": (float_axes, along),
        "ops.concatenate": (axes, lambda r, x: ops.concatenate(
            [x, ops.flip(x, axis=1)], axis=_axis(r, x))),
        "ops.stack": (rank(2, 3), lambda r, x: ops.stack([x, -x], axis=_axis(r, x))),
        "ops.split": (width, split),
        "ops.pad": (float_axes, lambda r, x: ops.pad(
            x, [(0, 0), *[(1, 0)] * (len(x.shape) - 1)], constant_values=_number(r))),
        "ops.pad reflect": (width, lambda r, x: ops.pad(
            x, [*[(0, 0)] * (len(x.shape) - 1), (1, 1)], mode="reflect")),
        "ops.einsum": (rank(3), lambda r, x: ops.einsum("btd,bsd->bts", x, x)),
        "ops.matmul": (rank(3, 4), square),
        "ops.tensordot": (rank(2, 3), lambda r, x: ops.tensordot(
            x, r.standard_normal((x.shape[-1], 3)).astype("float32"), axes=1)),
        "ops.outer": (rank(2), lambda r, x: ops.einsum("bi,bj->bij", x, x)),
        "ops.transpose": (rank(3), lambda r, x: ops.transpose(x, (0, 2, 1))),
        "ops.reshape": (axes, lambda r, x: ops.reshape(x, (-1, *x.shape[:0:-1]))),
        "ops.expand_dims": (rank(2, kind=any_kind), lambda r, x: ops.expand_dims(x, -1)),
        "ops.squeeze": (lambda x: x.shape[1:] and x.shape[-1] == 1,
                        lambda r, x: ops.squeeze(x, -1)),
        "ops.flip": (axes, lambda r, x: ops.flip(x, axis=_axis(r, x))),
        "ops.roll": (axes, lambda r, x: ops.roll(x, 1, axis=_axis(r, x))),
        "ops.repeat": (axes, lambda r, x: ops.repeat(x, 2, axis=_axis(r, x))),
        "ops.tile": (rank(2, kind=any_kind), lambda r, x: ops.tile(x, (1, 2))),
        "ops.slice": (width, lambda r, x: x[..., 1:]),
        "ops.strided slice": (axes, lambda r, x: x[:, ::2]),
        "ops.moveaxis": (rank(3, 4), lambda r, x: ops.moveaxis(x, 1, -1)),
        "ops.triu": (rank(3), lambda r, x: ops.triu(x)),
        "ops.tril": (rank(3), lambda r, x: ops.tril(x)),
        "ops.quantile": (width, lambda r, x: ops.quantile(x, 0.5, axis=-1)),
        "ops.digitize": (is_float, lambda r, x: ops.digitize(
            x, np.array([-1.0, 0.0, 1.0], "float32"))),
        "ops.searchsorted": (rank(2), lambda r, x: ops.searchsorted(
            np.array([-1.0, 0.0, 1.0], "float32"), x)),
        "ops.cast to integers": (is_float, lambda r, x: ops.cast(ops.clip(
            ops.nan_to_num(x), -99.0, 99.0), "int32")),
        "ops.cast to bool": (is_float, lambda r, x: ops.cast(x, "bool")),
        "ops.cast to float": (lambda x: not is_float(x), lambda r, x: ops.cast(x, "float32")),
        "ops.logical_not of bool": (is_bool, lambda r, x: ops.logical_not(x)),
        "ops.any of bool": (rank(2, 3, kind=is_bool), lambda r, x: ops.any(x, axis=-1)),
        "ops.all of bool": (rank(2, 3, kind=is_bool), lambda r, x: ops.all(x, axis=-1)),
        "ops.where of bool": (is_bool, lambda r, x: ops.where(x, _number(r), _number(r))),
        "ops.cumsum of integers": (rank(2, kind=is_int), lambda r, x: ops.cumsum(x, axis=1)),
        "ops.one_hot": (rank(1, 2, kind=is_int), lambda r, x: ops.one_hot(x, 7)),
        "ops.multi_hot": (rank(2, kind=is_int), lambda r, x: ops.multi_hot(x, 7)),
        "ops.take of rows": (rank(2, kind=is_int), lambda r, x: ops.take(
            r.standard_normal((9, 3)).astype("float32"), indices(x, 9), axis=0)),
        "ops.average_pool": (rank(3), lambda r, x: ops.average_pool(x, 2, 1, "same")),
        "ops.max_pool": (rank(3), lambda r, x: ops.max_pool(x, 2, 1, "same")),
        "ops.layer_normalization": (float_axes, lambda r, x: ops.layer_normalization(x)),
        "ops.rms_normalization": (float_axes, lambda r, x: ops.rms_normalization(x)),
        "ops.moments": (float_axes, lambda r, x: ops.moments(x, axes=[-1])[1]),
    }  # fmt: skip


OPERATORS = _table()
