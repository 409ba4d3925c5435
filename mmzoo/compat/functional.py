"""The graph of a functional Keras model."""

from collections.abc import Callable
from typing import Any


def is_functional(model) -> bool:
    """Whether a Keras model was built from `keras.Input` tensors."""
    return hasattr(model, "_inputs_struct") and hasattr(model, "_outputs_struct")


def inputs_structure(model):
    """The inputs of a functional model as they were given: a tensor, a list or a dict."""
    return model._inputs_struct


def outputs_structure(model):
    """The outputs of a functional model as they were given."""
    return model._outputs_struct


def functional_of(model):
    """The functional model inside a built `keras.Sequential`."""
    return model._functional


def is_wrapper(operation) -> bool:
    """Whether an operation is a model that is a layer, functional or sequential."""
    return hasattr(operation, "_outputs_struct") or hasattr(operation, "_functional")


def maker_of(tensor) -> Any:
    """What made a symbolic tensor: the operation, the number of its call, and of its output."""
    return tensor._keras_history


def calls_of(layer) -> list:
    """The nodes of a layer, one for each call on symbolic tensors."""
    return layer._inbound_nodes


def nodes_by_depth(model) -> dict[int, list]:
    """The nodes of a functional model by their depth: 0 makes outputs."""
    return model._nodes_by_depth


def run_through_graph(model, inputs, call: Callable):
    """Calls a functional model operation by operation.

    Args:
        model: Functional model.
        inputs: In the structure of its inputs.
        call: Function of an operation and its arguments to its result.
    """
    return model._run_through_graph(inputs, call_fn=call)


def all_layers(model, include_self: bool = True, recursive: bool = True) -> list:
    """The layers in a model or layer.

    Args:
        model: Model or layer.
        include_self: Whether it is one of them.
        recursive: Whether those inside other layers are too.
    """
    return list(model._flatten_layers(include_self, recursive))
