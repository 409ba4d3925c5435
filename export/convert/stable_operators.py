"""Operators that a converter loses or gets wrong at edge values, computed in other ones.

They are replaced in a SavedModel before it is converted. Without that the converter to TFLite
writes a file and says nothing:

- `Rsqrt(0)` is NaN in XNNPACK, and infinity in TensorFlow: a unit vector of zeros was NaN.
- `x * Rsqrt(Sum(Square(x)) + epsilon)` becomes an operator of its own, without the epsilon.
- `Softplus(x)` becomes `log(1 + exp(x))`, which overflows from 88.7 on and is 0 below -17.
- `Log1p(x)` becomes `log(1 + x)`, which is 0 or off by percents where x is small; `Expm1` likewise.
- `x / Sqrt(y)` becomes `x * Rsqrt(y)`.
- XNNPACK's `Exp(NaN)` is 0, its `Log(infinity)` 88.4 and `Log(NaN)` 88.8.
- Infinity as a constant becomes the largest finite number, so `IsInf`, and `Equal` to infinity,
  are always False.

And no converter has an operator for the sign bit of a float, which Keras reads in `argmax`; that
to ONNX writes an invalid `Log1p` and `Expm1`. See `subnormal` too, for both.
"""

import functools

import numpy as np
import tensorflow as tf

from mmzoo.compat.internals import op_def_registry, tensor_util
from mmzoo.export.convert.subnormal import COMPARISONS, flushed, vanishes

raw = tf.raw_ops
FLOATS = ("float32", "float16", "bfloat16", "float64")
LARGEST = tf.float32.max


def _rsqrt(x):
    # XNNPACK's first guess for subnormal numbers, which TensorFlow takes for 0, is infinite too.
    # Infinity has to be computed: as a constant it would be written as the largest number.
    return raw.SelectV2(condition=vanishes(x), t=raw.Reciprocal(x=x * x), e=raw.Rsqrt(x=x))


def _softplus(x):
    return tf.nn.relu(x) + _log1p_series(tf.exp(-tf.abs(x)))


def _exp(x):
    return raw.SelectV2(condition=raw.Equal(x=x, y=x), t=raw.Exp(x=x), e=x)


def _log(x):
    known = raw.LessEqual(x=x, y=tf.constant(LARGEST, x.dtype))
    return raw.SelectV2(condition=known, t=raw.Log(x=x), e=x)


def _quotient(x, root):
    zero = raw.Equal(x=root, y=tf.constant(0, x.dtype))
    # With a choice in between it stays a quotient; infinity is computed, as for `Rsqrt`.
    divisor = raw.SelectV2(condition=zero, t=tf.constant(1, x.dtype), e=root)
    infinite = x * raw.Reciprocal(x=root * root)
    return raw.SelectV2(condition=zero, t=infinite, e=raw.RealDiv(x=x, y=divisor))


def _log1p(x):
    small = raw.LessEqual(x=tf.abs(x), y=tf.constant(0.5, x.dtype))
    return raw.SelectV2(condition=small, t=_log1p_series(x), e=_log(1 + x))


def _expm1(x):
    """exp(x) - 1, of small x by the half angle: 2 tanh(x / 2) / (1 - tanh(x / 2))."""
    half = tf.tanh(0.5 * x)
    small = raw.Less(x=tf.abs(x), y=tf.constant(0.5, x.dtype))
    return raw.SelectV2(condition=small, t=2 * half / (1 - half), e=_exp(x) - 1)


def _log1p_series(x):
    """log(1 + x) for x in [-0.5, 1], to float32's precision: 2 artanh(x / (2 + x)).

    Reference: Abramowitz and Stegun 1964, 4.1.27. Logarithms of numbers near 1 are off by
    1e-7 in XNNPACK, so none is taken.
    """
    part = x / (2 + x)  # within a third
    square, total = part * part, tf.zeros_like(part)
    for power in range(15, 1, -2):
        total = (total + 1 / power) * square
    return 2 * part * (1 + total)


def _is_infinite(x):
    return raw.Greater(x=tf.abs(x), y=tf.constant(LARGEST, x.dtype))


def _is_finite(x):
    return raw.LessEqual(x=tf.abs(x), y=tf.constant(LARGEST, x.dtype))


def _is_plus_infinity(x):
    return raw.Greater(x=x, y=tf.constant(LARGEST, x.dtype))


def _is_minus_infinity(x):
    return raw.Less(x=x, y=tf.constant(-LARGEST, x.dtype))


def _sign_bit(x):
    below = raw.Less(x=x, y=tf.constant(0, x.dtype))
    zero = raw.LessEqual(x=tf.abs(x), y=tf.constant(0, x.dtype))
    # 1 / -0.0 is minus infinity.
    negative = raw.Less(x=raw.Reciprocal(x=x), y=tf.constant(0, x.dtype))
    return tf.logical_or(below, tf.logical_and(zero, negative))


def _product(x):
    return x * x


REPLACED = {
    "Rsqrt": _rsqrt,
    "Softplus": _softplus,
    "Log1p": _log1p,
    "Expm1": _expm1,
    "Exp": _exp,
    "Log": _log,
    "IsInf": _is_infinite,
    "IsFinite": _is_finite,
}


def put_stable(graph_def, format: str) -> int:
    """Replaces operators in the functions of a graph by a call of a function of the same meaning.

    Args:
        graph_def: TensorFlow's `GraphDef`; changed in place.
        format: "tflite"; or "onnx", for which only the sign bit, `Log1p`, `Expm1` and what is
            in `subnormal` are replaced.

    Returns:
        How many operators were replaced.
    """
    called: dict[str, tuple] = {}
    count = 0
    for function in graph_def.library.function:
        nodes = {node.name: node for node in function.node_def}
        summed = {_source(n.input[0]) for n in function.node_def if n.op == "Sum"}
        renamed: dict[str, str] = {}
        for node in list(function.node_def):
            found = _sign_bit_of(node, nodes)
            if found is None and (format == "tflite" or node.op in ("Log1p", "Expm1")):
                found = _replacement(node, nodes, summed)
            if found is None:
                found = _with_subnormal_as_zero(node, nodes, format)
            if found is None:
                continue
            compute, values, dtype = found
            name = f"__mmzoo{compute.__name__}_{dtype.name}"
            called[name] = compute, len(values), dtype
            renamed |= _call(node, name, values, dtype)
            count += 1
        for node in function.node_def:
            for k, value in enumerate(node.input):
                node.input[k] = renamed.get(value, value)
        for key, value in function.ret.items():
            function.ret[key] = renamed.get(value, value)
    for name, (compute, inputs, dtype) in called.items():
        _define(graph_def, name, compute, inputs, dtype)
    return count


def _replacement(node, nodes, summed):
    """The function that takes a node's place, what it is called with and its dtype, or None."""
    if "T" not in node.attr or not node.attr["T"].type:  # 0: a function of any dtype
        return None
    dtype = tf.as_dtype(node.attr["T"].type)
    if dtype.name not in FLOATS:
        return None
    if node.op == "Square":  # `Mul` is not taken for a part of a norm
        return (_product, node.input[:1], dtype) if node.name in summed else None
    if node.op == "RealDiv":
        root = nodes.get(_source(node.input[1]))
        if root is None or root.op != "Sqrt" or _is_positive(root.input[0], nodes):
            return None
        return _quotient, node.input[:2], dtype
    if node.op == "Equal":
        return _compared_with_infinity(node, nodes, dtype)
    if node.op not in REPLACED or (node.op == "Rsqrt" and _is_positive(node.input[0], nodes)):
        return None
    return REPLACED[node.op], node.input[:1], dtype


def _with_subnormal_as_zero(node, nodes, format):
    kind = "SrcT" if node.op == "Cast" else "T"
    if kind not in node.attr or not node.attr[kind].type:
        return None
    inputs = [value for value in node.input if not value.startswith("^")]
    if node.op == "Cast" and node.attr["DstT"].type != tf.bool.as_datatype_enum:
        return None
    known = [_constant(value, nodes) for value in inputs] if node.op in COMPARISONS else []
    with_zero = any(value is not None and (value == 0).all() for value in known)
    dtype = tf.as_dtype(node.attr[kind].type)
    compute = flushed(node.op, dtype, with_zero, format)
    return compute and (compute, inputs, dtype)


def _is_positive(name, nodes):
    """Whether a tensor is a sum with a positive constant: a variance and an epsilon, say."""
    node = nodes.get(_source(name))
    if node is None or node.op not in ("Add", "AddV2", "Maximum"):
        return False
    known = [_constant(value, nodes) for value in node.input]
    return any(value is not None and (value >= np.finfo("float32").tiny).all() for value in known)


def _compared_with_infinity(node, nodes, dtype):
    for place, other in ((0, 1), (1, 0)):
        value = _constant(node.input[place], nodes)
        if value is not None and np.isinf(value).all() and len(set(value.ravel())) == 1:
            compute = _is_plus_infinity if value.ravel()[0] > 0 else _is_minus_infinity
            return compute, [node.input[other]], dtype
    return None


def _sign_bit_of(node, nodes):
    """As `_replacement`, for `bitcast(x) & int32.min < 0`, as Keras reads a sign."""
    if node.op != "Less":
        return None
    masked = nodes.get(_source(node.input[0]))
    if masked is None or masked.op != "BitwiseAnd":
        return None
    cast = nodes.get(_source(masked.input[0]))
    mask, bound = _constant(masked.input[1], nodes), _constant(node.input[1], nodes)
    if cast is None or cast.op != "Bitcast" or mask is None or bound is None:
        return None
    dtype = tf.as_dtype(cast.attr["T"].type or tf.int32.as_datatype_enum)
    if dtype != tf.float32 or (mask != np.iinfo("int32").min).any() or (bound != 0).any():
        return None
    return _sign_bit, cast.input[:1], dtype


def _source(name):
    return name.split(":")[0].removeprefix("^")


def _constant(name, nodes):
    node = nodes.get(_source(name))
    while node is not None and (node.op == "Identity" or _is_cast_to_float(node)):
        node = nodes.get(_source(node.input[0]))
    if node is not None and node.op == "Neg":
        value = _constant(node.input[0], nodes)
        return None if value is None else -value
    if node is None or node.op != "Const":
        return None
    value = np.asarray(tensor_util.MakeNdarray(node.attr["value"].tensor))
    return value.astype("float64") if value.dtype.kind in "fiu" and value.size else None


def _is_cast_to_float(node):
    return node.op == "Cast" and tf.as_dtype(node.attr["DstT"].type).is_floating


@functools.cache
def _output_name(operator):
    return op_def_registry.get(operator).output_arg[0].name


def _call(node, name, values, dtype):
    """Makes a node a call of a function; what its output was called, and is called now."""
    before = f"{node.name}:{_output_name(node.op)}:0"
    result = tf.bool if node.op in ("IsInf", "IsFinite", "Cast", *COMPARISONS) else dtype
    control = [item for item in node.input if item.startswith("^")]
    values = list(values)
    del node.input[:]
    node.input.extend([*values, *control])
    for key in [key for key in node.attr if key != "_output_shapes"]:
        del node.attr[key]
    node.op = "PartitionedCall"
    node.attr["Tin"].list.type.extend([dtype.as_datatype_enum] * len(values))
    node.attr["Tout"].list.type.append(result.as_datatype_enum)
    node.attr["f"].func.name = name
    return {before: f"{node.name}:output:0"}


def _define(graph_def, name, compute, inputs, dtype):
    traced = tf.function(compute, autograph=False)
    specs = [tf.TensorSpec(None, dtype)] * inputs
    definition = traced.get_concrete_function(*specs).function_def
    made = graph_def.library.function.add()
    made.CopyFrom(definition)
    made.signature.name = name
