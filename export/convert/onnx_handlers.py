"""Operators that tf2onnx 1.17 lacks or writes wrongly, written right."""

import numpy as np


def _erfc(context, node, name, args):
    """Erfc(x) = 1 - Erf(x): exact GELU needs it, and tf2onnx 1.17 lacks it."""
    del name, args
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    one = context.make_const(f"{node.name}_one", np.array(1.0, "float32"))
    erf = context.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
    context.remove_node(node.name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=node.name,
        dtypes=[dtype], shapes=[shape],
    )  # fmt: skip


def _select(context, node, name, args):
    """A choice. tf2onnx 1.17 makes `c * x + (1 - c) * y` of it, so that NaN in what was not
    chosen comes through."""
    from onnx import TensorProto

    del name, args
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    condition, chosen, other = node.input
    context.remove_node(node.name)
    options = {"outputs": node.output, "name": node.name, "dtypes": [dtype], "shapes": [shape]}
    if dtype != TensorProto.BOOL:
        context.make_node("Where", [condition, chosen, other], **options)
        return
    # onnxruntime has no Where of bool.
    refused = context.make_node("Not", [condition]).output[0]
    parts = [
        context.make_node("And", pair).output[0] for pair in ([condition, chosen], [refused, other])
    ]
    context.make_node("Or", parts, **options)


def _floor_mod(context, node, name, args):
    """The remainder with the sign of the divisor, which tf2onnx cuts towards zero for integers."""
    del name, args
    options, (value, divisor), integer = _replaced(context, node)
    if integer:
        context.make_node("Mod", [value, divisor], attr={"fmod": 0}, **options)
        return
    floor = context.make_node("Floor", [context.make_node("Div", [value, divisor]).output[0]])
    whole = context.make_node("Mul", [floor.output[0], divisor])
    context.make_node("Sub", [value, whole.output[0]], **options)


def _floor_div(context, node, name, args):
    """The quotient rounded down: of integers, ONNX rounds it towards zero."""
    del name, args
    options, (value, divisor), integer = _replaced(context, node)
    if not integer:
        quotient = context.make_node("Div", [value, divisor]).output[0]
        context.make_node("Floor", [quotient], **options)
        return
    # Exactly divisible once the floored remainder is gone.
    rest = context.make_node("Mod", [value, divisor], attr={"fmod": 0}).output[0]
    whole = context.make_node("Sub", [value, rest]).output[0]
    context.make_node("Div", [whole, divisor], **options)


def _replaced(context, node):
    """Takes a node out: what its stand-in is made with, its inputs, whether it is of integers."""
    from onnx import TensorProto

    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    inputs = list(node.input)
    context.remove_node(node.name)
    options = {"outputs": node.output, "name": node.name, "dtypes": [dtype], "shapes": [shape]}
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
    return options, inputs, dtype not in floats


def _one_hot(context, node, name, args):
    """One-hot vectors. ONNX's own operator counts negative indices from the end; in TensorFlow
    an index outside of [0, depth) gives a vector that is `off` everywhere."""
    from onnx import TensorProto

    del name, args
    axis = node.get_attr_value("axis", -1)
    indices, depth, on, off = node.input
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    rank = len(context.get_shape(indices))
    axis = rank if axis == -1 else axis
    context.remove_node(node.name)

    def make(operator, inputs, attr=None, kind=TensorProto.INT64):
        return context.make_node(operator, inputs, attr=attr, dtypes=[kind]).output[0]

    def constant(what, value):
        return context.make_const(f"{node.name}_{what}", np.array(value, "int64")).output[0]

    to_int64 = {"to": TensorProto.INT64}
    length = make("Reshape", [make("Cast", [depth], to_int64), constant("scalar", [])])
    places = make("Range", [constant("start", 0), length, constant("step", 1)])
    # (depth, 1, ..., 1): as many ones as axes follow.
    column = constant("column", [-1] + [1] * (rank - axis))
    places = make("Reshape", [places, column])
    spread = make("Unsqueeze", [make("Cast", [indices], to_int64), constant("axis", [axis])])
    hit = make("Equal", [spread, places], kind=TensorProto.BOOL)
    if dtype == TensorProto.BOOL:
        on, off = (
            make("Cast", [v], {"to": TensorProto.UINT8}, TensorProto.UINT8) for v in (on, off)
        )
        chosen = make("Where", [hit, on, off], kind=TensorProto.UINT8)
        context.make_node(
            "Cast", [chosen], attr={"to": TensorProto.BOOL}, outputs=node.output, name=node.name,
            dtypes=[dtype], shapes=[shape],
        )  # fmt: skip
        return
    context.make_node(
        "Where", [hit, on, off], outputs=node.output, name=node.name,
        dtypes=[dtype], shapes=[shape],
    )  # fmt: skip


HANDLERS = {
    "OneHot": (_one_hot, []),
    "Erfc": (_erfc, []),
    "SelectV2": (_select, []),
    "FloorMod": (_floor_mod, []),
    "FloorDiv": (_floor_div, []),
}
