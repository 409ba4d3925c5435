"""How many floating point operations a model takes for a sample."""

import math
import re
from collections.abc import Mapping

import keras
import tensorflow as tf

from mmzoo.ops.portable import portable_operators

# What dominates a model's cost: counted only if every shape is known, so never as 0.
HEAVY = ("MatMul", "BatchMatMul", "Conv", "DepthwiseConv", "Einsum")


def count_flops(
    model: keras.Model, shapes: Mapping[str, tuple[int | None, ...]] | None = None
) -> int:
    """Counts the floating point operations of a model in inference, for one sample.

    TensorFlow's own profiler counts, on the graph with its variables frozen and its functions
    inlined. A multiplication and an addition are two operations. It counts products of matrices,
    convolutions, pooling, sums, means, softmax, and arithmetic and comparisons number by number.
    It has no rule for other operators and counts them as 0: of those in this library `Tanh`,
    `Exp`, `Relu`, `Softplus`, `Sqrt`, `LogSoftmax`, `Max` and `ResizeBilinear`, a few operations
    a number, and whatever only moves or compares bits. `Einsum`, for which it has none either,
    may cost as much as all the rest and is counted here: two operations for every combination of
    its letters' values.

    Args:
        model: Functional Keras model.
        shapes: Optional dict of input name to the shape of a sample, of the inputs that leave a
            size open.

    Returns:
        Operations for a batch of one.

    Raises:
        ValueError: If a size is left open, or the graph holds something that can't be counted: a
            loop, a branch, a compiled function, or a heavy operator of unknown size.

    Example:

    >>> inputs = keras.Input((10,), name="vector")
    >>> count_flops(keras.Model(inputs, keras.layers.Dense(3)(inputs)))  # 2 * 10 * 3, and 3
    63
    """
    graph = _frozen(model, shapes or {})
    for operation in graph.get_operations():
        if operation.type.endswith(("PartitionedCall", "While", "If", "Case", "MapDefun")):
            raise ValueError(
                "Expected a graph without loops, branches and compiled functions, as nobody knows "
                f"how often they run. Received: {operation.type} ({operation.name}). Count the "
                "model without the layer that makes it."
            )
        tensors = [*operation.inputs, *operation.outputs]
        if operation.type.startswith(HEAVY) and not all(
            tensor.shape.is_fully_defined() for tensor in tensors
        ):
            raise ValueError(
                f"Expected {operation.name} ({operation.type}) to have a known size. Received: "
                f"{[tensor.shape for tensor in tensors]}. Pass all sizes in `shapes`."
            )
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    found = profiler.profile(graph, options=options.with_empty_output().build())
    einsums = [each for each in graph.get_operations() if each.type == "Einsum"]
    return int(found.total_float_ops) + sum(map(_einsum_flops, einsums))


def _frozen(model, shapes):
    """The graph of one sample, its variables constants and its functions inlined."""
    from mmzoo.compat.internals import convert_to_constants

    specs = {}
    for tensor in model.inputs:
        shape = shapes.get(tensor.name, tuple(tensor.shape[1:]))
        if None in shape:
            raise ValueError(
                f"Expected every size of {tensor.name!r}, whose shape is {tensor.shape}. Received: "
                f"{dict(shapes)}. Pass them in `shapes`."
            )
        specs[tensor.name] = tf.TensorSpec([1, *shape], tensor.dtype)

    def call(inputs):
        taken = keras.tree.map_structure(lambda tensor: inputs[tensor.name], model.input)
        return model(taken, training=False)

    with portable_operators():  # no compiled functions
        concrete = tf.function(call, autograph=False).get_concrete_function(specs)
    freeze = convert_to_constants.convert_variables_to_constants_v2
    return freeze(concrete, lower_control_flow=False).graph  # so that a loop is seen as one


def _einsum_flops(operation):
    """Two for each combination of the letters' values: a product, and its part of the sum."""
    terms = operation.get_attr("equation").decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operation.inputs, strict=True):
        shape = list(tensor.shape)
        before, ellipsis, after = term.partition("...")
        if ellipsis:  # those of the batch, which broadcast
            rest = shape[len(before) : len(shape) - len(after)]
            size = math.prod(rest)
            sizes["..."] = max(sizes.get("...", 1), size)
            shape = shape[: len(before)] + shape[len(shape) - len(after) :]
        sizes.update(zip(re.sub(r"\W", "", term), shape, strict=True))
    return 2 * math.prod(sizes.values())
