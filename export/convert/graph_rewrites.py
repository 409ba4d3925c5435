"""What converters stumble over in a SavedModel, written another way with the same meaning."""

from pathlib import Path

import numpy as np

from mmzoo.export.convert.stable_operators import put_stable

# Kept out of line and for XLA alone, a function is an operator that no converter knows: Keras
# puts a grouped convolution on the processor so.
OUT_OF_LINE = ("_XlaMustCompile", "_noinline")


def rewrite_graph(saved: Path, format: str) -> int:
    """Rewrites a SavedModel in place, for a converter to read.

    - Functions that are to be compiled by XLA become plain ones, which can be put in line.
    - A slice that does no more than to put in new axes (`x[:, None]`) becomes `ExpandDims`: of
      bools and with free sizes TFLite has no such slice.
    - What is wrong at edge values: see `stable_operators`.

    Args:
        saved: Its folder.
        format: "tflite" or "onnx".

    Returns:
        How many functions and slices were rewritten.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    count = 0
    for meta in model.meta_graphs:
        for function in meta.graph_def.library.function:
            count += OUT_OF_LINE[0] in function.attr
            for name in OUT_OF_LINE:
                function.attr.pop(name, None)
            for node in function.node_def:
                for name in OUT_OF_LINE:
                    node.attr.pop(name, None)
            count += _expand_axes(function)
        count += put_stable(meta.graph_def, format)
    path.write_bytes(model.SerializeToString())
    return count


def _expand_axes(function):
    constants = {node.name: node for node in function.node_def if node.op == "Const"}
    nodes, count = [], 0
    for node in function.node_def:
        axes = _new_axes(node, constants) if node.op == "StridedSlice" else None
        count += axes is not None
        nodes += [node] if axes is None else _expansions(node, axes)
    del function.node_def[:]
    function.node_def.extend(nodes)
    return count


def _new_axes(node, constants):
    """The axes that a slice puts in, in the order to do so; None if it does anything else."""
    kinds = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    # An attribute that is looked up by [] is there from then on.
    named = {kind: f"{kind}_mask" for kind in kinds}
    mask = {k: node.attr[name].i if name in node.attr else 0 for k, name in named.items()}
    strides = constants.get(node.input[3].split(":")[0])
    if not mask["new_axis"] or mask["shrink_axis"] or strides is None:
        return None
    steps = _value(strides)
    count = len(steps)
    ellipsis = next((k for k in range(count) if mask["ellipsis"] >> k & 1), count)
    front, back = [], []
    for k in range(count):
        new = mask["new_axis"] >> k & 1 and k != ellipsis
        whole = mask["begin"] >> k & 1 and mask["end"] >> k & 1 and steps[k] == 1
        if not (new or whole or k == ellipsis):
            return None
        if new:
            (front if k < ellipsis else back).append(k)
    # Those behind an ellipsis are counted from the end, the last one first.
    return front + [k - count for k in reversed(back)]


def _value(node):
    from mmzoo.compat.internals import tensor_util

    return np.atleast_1d(tensor_util.MakeNdarray(node.attr["value"].tensor))


def _expansions(node, axes):
    """`ExpandDims` operators in place of a slice; the last one takes its name."""
    import tensorflow as tf
    from tensorflow.core.framework import node_def_pb2

    made, value = [], node.input[0]
    for k, axis in enumerate(axes):
        last = k == len(axes) - 1
        place = node_def_pb2.NodeDef(name=f"{node.name}/axis_{k}", op="Const")
        place.attr["dtype"].type = tf.int32.as_datatype_enum
        place.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(axis, tf.int32))
        name = node.name if last else f"{node.name}/expanded_{k}"
        expand = node_def_pb2.NodeDef(name=name, op="ExpandDims")
        expand.input.extend([value, f"{place.name}:output:0"])
        expand.attr["T"].CopyFrom(node.attr["T"])
        expand.attr["Tdim"].type = tf.int32.as_datatype_enum
        if last and "_output_shapes" in node.attr:
            expand.attr["_output_shapes"].CopyFrom(node.attr["_output_shapes"])
        made += [place, expand]
        value = f"{name}:output:0"
    return made
