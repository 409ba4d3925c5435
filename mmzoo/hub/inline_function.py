"""Runs a restored function operator by operator, as if it were traced again.

TensorFlow calls a restored function as one operator. The gradient of that is another function,
to which every intermediate result is handed; it is built in every process, once a level of
nesting, and takes longer than to trace a native model. Where a gradient tape sees the
operators themselves, it builds the gradient once, in place.
"""

import functools
import inspect

import tensorflow as tf

V1_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}


def can_inline(concrete) -> bool:
    """Whether `inline_call` does what a call of a restored concrete function does.

    It does unless the function calls others (loops and branches do), has gradients of its own,
    has operators from outside TensorFlow, or has them in another order than they run in.
    """
    done: set[str] = set()
    for op in concrete.graph.get_operations():
        calls = any(attr.type in ("func", "list(func)") for attr in op.op_def.attr)
        before = {tensor.op.name for tensor in op.inputs} | {o.name for o in op.control_inputs}
        if calls or "_gradient_op_type" in op.node_def.attr or not before <= done:
            return False
        if op.type in V1_CONTROL_FLOW or not hasattr(tf.raw_ops, op.type):
            return False
        done.add(op.name)
    return True


def takes(concrete, inputs, training: bool) -> bool:
    """Whether a concrete function was traced for just such inputs and `training`."""
    (spec, *rest), options = concrete.structured_input_signature
    if [*rest, *options.values()] != [training]:
        return False
    try:
        pairs = tf.nest.map_structure(lambda s, t: s.is_compatible_with(t), spec, inputs)
    except (TypeError, ValueError):  # nested in another way
        return False
    return all(tf.nest.flatten(pairs))


@tf.autograph.experimental.do_not_convert
def inline_call(concrete, inputs):
    """Runs a concrete function's operators in the graph that is being traced.

    Args:
        concrete: A restored `ConcreteFunction` that `can_inline`.
        inputs: Its tensors, nested as its first argument is.

    Returns:
        Its outputs, nested as it returns them.
    """
    graph = concrete.graph
    captured = concrete.captured_inputs  # under a strategy, this replica's, or whole variables
    distributed = [value for value in captured if isinstance(value, tf.Variable)]
    captured = [v.handle if isinstance(v, tf.Variable) else v for v in captured]
    given = [*tf.nest.flatten(inputs), *captured]
    values = {p.name: value for p, value in zip(graph.inputs, given, strict=True)}
    # Read as variables, not by their handles, for a tape to know which they are.
    variables = {id(variable.handle): variable for variable in (*graph.variables, *distributed)}
    for op in graph.get_operations():
        taken = [values[tensor.name] for tensor in op.inputs]
        if op.type == "Placeholder":
            continue
        if op.type == "Const":
            made = tf.constant(tf.make_ndarray(op.get_attr("value")), op.outputs[0].dtype)
        elif op.type == "ReadVariableOp" and id(taken[0]) in variables:
            made = variables[id(taken[0])].read_value()
        else:
            made = getattr(tf.raw_ops, op.type)(**_arguments(op, taken))
        # A tensor, a list or named tuple of them, or the operation where it returns nothing.
        made = tf.nest.flatten(made) if op.outputs else []
        values |= {tensor.name: value for tensor, value in zip(op.outputs, made, strict=True)}
    # More stand behind them once a call's gradient was built.
    count = len(tf.nest.flatten(concrete.structured_outputs))
    outputs = [values[tensor.name] for tensor in graph.outputs[:count]]
    return tf.nest.pack_sequence_as(concrete.structured_outputs, outputs)


def _arguments(op, taken):
    """The keyword arguments with which `tf.raw_ops` makes such an operator."""
    arguments, inferred, start = {}, set(), 0
    for argument in op.op_def.input_arg:
        listed = argument.number_attr or argument.type_list_attr
        inferred |= {argument.type_attr, listed}
        if listed:
            count = op.get_attr(listed)
            end = start + (count if argument.number_attr else len(count))
            arguments[argument.name] = taken[start:end]
        else:
            end = start + 1
            arguments[argument.name] = taken[start]
        start = end
    names = [attr.name for attr in op.op_def.attr if attr.name not in inferred]
    arguments |= {name: op.get_attr(name) for name in names}
    # Python renames a few; their order stays.
    known = _parameters(op.type)
    new = [name for name in known if name not in arguments]
    renamed = dict(zip([name for name in arguments if name not in known], new, strict=True))
    return {renamed.get(name, name): value for name, value in arguments.items()}


@functools.cache
def _parameters(operator):
    parameters = inspect.signature(getattr(tf.raw_ops, operator)).parameters
    return [name for name in parameters if name != "name"]
