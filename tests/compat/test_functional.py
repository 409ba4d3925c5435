"""What mmzoo uses of Keras' and TensorFlow's private parts is still as it was.

Where one of these fails after an upgrade, `mmzoo/compat` is the place to mend.
"""

import keras
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.compat import functional, internals


@pytest.fixture
def model():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    both = layers.Concatenate(name="both")([a, b])
    return keras.Model({"a": a, "b": b}, {"y": layers.Dense(2, name="dense")(both)})


def test_structures_are_those_that_were_given(model):
    assert functional.is_functional(model)
    assert list(functional.inputs_structure(model)) == ["a", "b"]
    assert list(functional.outputs_structure(model)) == ["y"]
    assert not functional.is_functional(layers.Dense(2))


def test_a_tensor_knows_what_made_it(model):
    operation, call, output = functional.maker_of(model.output["y"])
    assert (operation.name, call, output) == ("dense", 0, 0)
    assert functional.maker_of(model.output["y"]).operation is operation
    [node] = functional.calls_of(model.get_layer("both"))
    assert [tensor.name for tensor in node.input_tensors] == ["a", "b"]
    assert len(node.output_tensors) == 1


def test_nodes_come_from_the_outputs_to_the_inputs(model):
    depths = functional.nodes_by_depth(model)
    assert [node.operation.name for node in depths[0]] == ["dense"]
    assert {node.operation.name for node in depths[max(depths)]} == {"a", "b"}


def test_a_model_runs_operation_by_operation(model):
    seen = []

    def call(operation, *args, **kwargs):
        seen.append(operation.name)
        return operation(*args, **kwargs)

    given = {name: tf.ones((2, 3)) for name in "ab"}
    found = functional.run_through_graph(model, given, call=call)
    assert seen == ["both", "dense"] and found["y"].shape == (2, 2)


def test_layers_at_any_depth(model):
    outer = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="first"), layers.ReLU()])
    names = [layer.name for layer in functional.all_layers(outer, include_self=False)]
    assert "first" in names and outer.name not in names
    assert outer.name in [layer.name for layer in functional.all_layers(outer)]
    assert functional.is_wrapper(outer) and functional.is_wrapper(model)
    assert functional.is_functional(functional.functional_of(outer))


def test_internal_modules_have_what_is_used():
    assert internals.in_safe_mode() in (True, False, None)
    assert callable(internals.CompileLoss) and callable(internals.get_random_seed)
    assert callable(internals.convert_to_constants.convert_variables_to_constants_v2)
    assert internals.op_def_registry.get("MatMul").name == "MatMul"
    assert internals.tensor_util.MakeNdarray(tf.make_tensor_proto([1, 2])).tolist() == [1, 2]
