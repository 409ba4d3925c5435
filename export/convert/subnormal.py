"""Numbers that TensorFlow takes for 0 and other runtimes do not, where an operator asks for 0.

TensorFlow and XNNPACK take a float below 1.2e-38, a subnormal one, for 0; ONNX Runtime (unless a
session is told so) and TFLite's plain kernels do not. Most operators hardly feel that. `DivNoNan`
does: 0 where the divisor is 0, a quotient of any size where it is 1e-40. So do a sign, a
comparison with 0, and a cast to bool.
"""

import numpy as np
import tensorflow as tf

raw = tf.raw_ops
COMPARISONS = ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual")


def flushed(operator: str, dtype, with_zero: bool, format: str):
    """Finds the function that takes an operator's place.

    Args:
        operator: Name of TensorFlow's operator; "Cast" for one to bool.
        dtype: Of its inputs.
        with_zero: Whether one of them is the constant 0.
        format: "tflite", which has hardly an operator of float64, or "onnx".

    Returns:
        A function of the operator's inputs, in which subnormal numbers are 0; None where the
        operator does not ask for 0.
    """
    if dtype != tf.float32 and (dtype != tf.float64 or format == "tflite"):
        return None  # a half's are computed in float32
    return (_COMPARED if with_zero else {}).get(operator) or _FLUSHED.get(operator)


def vanishes(x):
    """Whether each number is one that TensorFlow takes for 0."""
    tiny = np.finfo("float64" if x.dtype == tf.float64 else "float32").tiny
    return raw.Less(x=raw.Abs(x=x), y=tf.constant(tiny, x.dtype))


def _flush(x):
    return raw.SelectV2(condition=vanishes(x), t=tf.constant(0, x.dtype), e=x)


def _quotient_or_zero(x, y):
    zero = vanishes(y)
    divisor = raw.SelectV2(condition=zero, t=tf.constant(1, x.dtype), e=y)
    quotient = raw.RealDiv(x=x, y=divisor)
    return raw.SelectV2(condition=zero, t=tf.constant(0, x.dtype), e=quotient)


def _sign(x):
    return raw.Sign(x=_flush(x))


def _is_true(x):
    return raw.NotEqual(x=_flush(x), y=tf.constant(0, x.dtype))


def _comparison(operator):
    def compare(x, y):
        return getattr(raw, operator)(x=_flush(x), y=_flush(y))

    compare.__name__ = f"_{operator}_of_flushed"
    return compare


_FLUSHED = {"DivNoNan": _quotient_or_zero, "Sign": _sign, "Cast": _is_true}
_COMPARED = {operator: _comparison(operator) for operator in COMPARISONS}
