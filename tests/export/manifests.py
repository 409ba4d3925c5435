"""Manifests of tests, with the task that their tensors are guessed to have."""

import dataclasses

from mmzoo.tasks import Image, Tensor, guess_task
from mmzoo.tasks.guess import kind_of


def declared(manifest, classes=None, fit="stretch", size=None):
    """The manifest with the kind of each input, and its task.

    Args:
        manifest: With `inputs` and `outputs`.
        classes: Names of classes, if one output has scores.
        fit, size: Of every image.
    """
    inputs = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    inputs = [
        t if t.presence_of else dataclasses.replace(t, kind=t.kind or kind_of(t)) for t in inputs
    ]
    outputs = [Tensor.from_json(tensor) for tensor in manifest["outputs"]]
    task = guess_task(inputs, outputs, classes)
    features = tuple(
        Image(each.name, size, fit) if isinstance(each, Image) else each for each in task.features
    )
    task = dataclasses.replace(task, features=features)
    return manifest | {"inputs": [t.to_json() for t in inputs], "task": task.to_json()}
