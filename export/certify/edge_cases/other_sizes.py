"""The samples again at other sizes: what holds at one size may be wrong at another."""

import numpy as np

from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.features import Feature
from mmzoo.tasks.tensors import Tensor

RESCALED = {"short": 0.3, "long": 1.7}
FEW = 6  # samples of these
LARGE_FROM = 10  # times the samples' size


def other_sizes(samples: Samples, tensors: list[Tensor]) -> dict[str, dict]:
    """The first samples with every free axis resampled, by nearest index.

    A resize of 64 x 64 pixels to 64 x 64 does nothing, and a mistake in it shows elsewhere.

    Returns:
        Dict of a name to inputs: "short" and "long" (six samples, all free axes at 0.3 and 1.7
        times their size), and edge cases of one sample, one input at a time: "image 1x1",
        "image 3000x4000", "text empty", "audio 1", "audio 960000", "<another> 1". Token ids
        have none of these: at another length they are those of no text.
    """
    sets: dict[str, dict] = {}
    if any(size is None for tensor in tensors for size in tensor.shape[1:]):
        for key, factor in RESCALED.items():
            sets[key] = {
                tensor.name: _resample(
                    samples.inputs[tensor.name][:FEW],
                    {
                        axis: max(1, int(samples.inputs[tensor.name].shape[axis] * factor) + axis)
                        for axis in tensor.free_axes
                    },
                )
                for tensor in tensors
            }
    one = {tensor.name: samples.inputs[tensor.name][:1] for tensor in tensors}
    for tensor in tensors:
        free = tensor.free_axes
        if not free or tensor.tokens_of:
            continue
        if tensor.is_text:
            sets[f"{tensor.name} empty"] = one | {tensor.name: np.zeros((1, 1), tensor.dtype)}
            continue
        for sizes in Feature.kinds[tensor.kind or "array"].edge_sizes(tensor):
            if len(sizes) == len(free):
                name = f"{tensor.name} {'x'.join(map(str, sizes))}"
                value = _resample(one[tensor.name], dict(zip(free, sizes, strict=True)))
                sets[name] = one | {tensor.name: value}
    return sets


def is_large(samples: Samples, values: dict) -> bool:
    """Whether a size is so far above the samples' that a difference is stated, and no breach.

    A mean over millions of numbers in float32 is another one in each runtime, and in Keras on
    another machine: no artifact could hold.
    """
    grown = max(value[0].size / samples.inputs[name][0].size for name, value in values.items())
    return grown > LARGE_FROM


def _resample(value, sizes):
    """An array at other sizes: dict of axis to size."""
    for axis, new in sizes.items():
        old = value.shape[axis]
        value = np.take(value, np.arange(new) * old // new, axis)
    return value
