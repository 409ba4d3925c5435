"""A Keras model's answers when every result is rounded a little differently.

No runtime adds up in the order of another, so an answer that hangs on the last digit of a sum in
the middle of a model (a mean of equal values, taken away from each of them and divided by their
spread) is no runtime's fault. What moves when the weights alone do does not show it.
"""

import keras
import tensorflow as tf

from mmzoo.export.surgery.model_description import call
from mmzoo.export.surgery.traces import input_specs

# Units in the last place. A sum is off by more, and so are the terms that it is made of here.
NOISE = 1
EPSILON = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}
# Operators whose results differ in their last digits from one runtime to the next.
ROUNDED = frozenset({
    "AddN", "AddV2", "AvgPool", "AvgPool3D", "BatchMatMulV2", "BiasAdd", "Conv2D", "Conv3D", "Cos",
    "Cumsum", "DepthwiseConv2dNative", "Einsum", "Elu", "Erf", "Erfc", "Exp", "Expm1",
    "FusedBatchNormV3", "L2Loss", "Log", "Log1p", "LogSoftmax", "MatMul", "Mean", "Mul", "Pow",
    "Prod", "ReadVariableOp", "RealDiv", "Reciprocal", "ResizeBicubic", "ResizeBilinear", "Rsqrt",
    "SegmentSum", "Selu", "Sigmoid", "Sin", "Softmax", "Softplus", "Sqrt", "SquaredDifference",
    "Sub", "Sum", "Tan", "Tanh",
})  # fmt: skip

KIND = {"ReadVariableOp": "dtype", "Placeholder": "dtype"}  # the attribute that names the type


def round_differently(model: keras.Model, inputs: dict) -> tf.types.experimental.GenericFunction:
    """Traces a model so that it rounds at random, differently at each call.

    Weights, and the results of the operators in `ROUNDED`, are multiplied by 1 and a few units in
    the last place, each element by a number of its own. Functions that the graph calls (the bodies
    of loops, the programs of TF-Hub's modules) are left as they are; where there are any, the
    inputs get noise too.

    Args:
        model, inputs: See `traces.trace`.

    Returns:
        A function of a dict of tensors to a dict of tensors.
    """
    specs = input_specs(inputs)

    def read_first(values):
        read = [(v, tf.convert_to_tensor(v.value)) for v in model.variables]
        with keras.StatelessScope(state_mapping=read):
            return call(model, values)

    traced = tf.function(read_first, autograph=False).get_concrete_function(specs)
    graph = traced.graph
    definition = graph.as_graph_def()
    renamed = _add_noise(definition)
    given = dict(zip(sorted(specs), traced.inputs, strict=False))  # what is captured follows
    wanted = [_renamed(tensor.name, renamed) for tensor in graph.structured_outputs.values()]

    def rounded(values):
        fed = {tensor.name: values[name] for name, tensor in given.items()}
        # An identity, since what is eager can't be fed to a graph.
        fed |= {inside.name: tf.identity(outside) for outside, inside in graph.captures}
        found = tf.graph_util.import_graph_def(definition, fed, wanted)
        return dict(zip(graph.structured_outputs, found, strict=True))

    return tf.function(rounded, autograph=False)


def _renamed(source, renamed):
    """A reference to an operator's first output, "a" or "a:0", by the name of the noisy one."""
    name, _, output = source.partition(":")
    return renamed[name] if output in ("", "0") and name in renamed else source


def _add_noise(definition):
    """Puts noise behind operators of a graph; returns dict of a name to the noisy one."""
    rounded = ROUNDED | ({"Placeholder"} if definition.library.function else set())
    types = {
        node.name: tf.dtypes.as_dtype(node.attr[KIND.get(node.op, "T")].type)
        for node in definition.node
        if node.op in rounded
    }
    types = {name: dtype for name, dtype in types.items() if dtype.name in EPSILON}
    renamed = {name: f"{name}/rounded" for name in types}
    for node in definition.node:
        node.input[:] = [_renamed(source, renamed) for source in node.input]
    for seed, (name, dtype) in enumerate(types.items(), 1):
        _put_noise(definition, name, dtype, seed)
    return renamed


def _put_noise(definition, name, dtype, seed):
    """Adds `name/rounded`: an operator's result times (1 - most) + random * 2 * most."""
    code, integer = dtype.as_datatype_enum, tf.int32.as_datatype_enum
    most = NOISE * EPSILON[dtype.name]

    def add(label, op, *sources):
        node = definition.node.add(name=f"{name}/{label}", op=op, input=sources)
        node.attr["dtype" if op in ("Const", "RandomUniform") else "T"].type = code
        return node.attr

    add("size", "Shape", name)["out_type"].type = integer
    random = add("random", "RandomUniform", f"{name}/size")
    random["T"].type, random["seed"].i, random["seed2"].i = integer, 7, seed
    for label, value in (("step", 2 * most), ("least", 1 - most)):
        add(label, "Const")["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
    add("scaled", "Mul", f"{name}/random", f"{name}/step")
    add("factor", "AddV2", f"{name}/scaled", f"{name}/least")
    add("rounded", "Mul", name, f"{name}/factor")
