"""What a function reads besides variables: lookup tables, tokenizers, asset files."""

import keras
import tensorflow as tf

from mmzoo.compat.functional import all_layers
from mmzoo.hub.layer import HubLayer

# Of a lookup table, of an asset file, of a variable that is no weight: a random seed's.
HANDLES = ("resource_handle", "asset_path", "handle")


def find_resources(model: keras.Model, functions) -> list:
    """Finds the trackable objects that hold what traced functions captured.

    A SavedModel must track each of them, and a Keras model as its root would lose others. Random
    seeds inside a module are among them.

    Args:
        model: The Keras model that was traced.
        functions: Its concrete functions.

    Returns:
        List of trackable objects, without the model's own variables.
    """
    captured = {id(tensor) for function in functions for tensor in function.captured_inputs}
    captured -= {id(variable.value.handle) for variable in model.variables}
    if not captured:
        return []
    found = {}
    for layer in all_layers(model, include_self=False):
        roots = [layer, layer.module.root] if isinstance(layer, HubLayer) else [layer]
        for root in roots:
            for each in tf.train.TrackableView(root).descendants():
                handles = (getattr(each, name, None) for name in HANDLES)
                if any(id(handle) in captured for handle in handles if handle is not None):
                    found[id(each)] = each
    return list(found.values())
