"""TF-Hub modules in Keras 3: the layer, handles, caches, contracts, publishing.

What needs TensorFlow loads on first use.
"""

import importlib
from typing import TYPE_CHECKING

from mmzoo.hub.contract import Contract, Input, Outputs, read_contract
from mmzoo.hub.resolution import ResolveError, resolve

if TYPE_CHECKING:
    from mmzoo.hub.layer import HubLayer
    from mmzoo.hub.publishing import publish

_LAZY = {"HubLayer": "layer", "publish": "publishing"}
__all__ = [
    "Contract",
    "HubLayer",
    "Input",
    "Outputs",
    "ResolveError",
    "publish",
    "read_contract",
    "resolve",
]


def __getattr__(name: str):
    if name in _LAZY:
        value = getattr(importlib.import_module(f"mmzoo.hub.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmzoo.hub' has no attribute {name!r}")
