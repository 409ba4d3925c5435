"""What an artifact makes of NaN and infinity: equal to Keras where Keras copes with them."""

from __future__ import annotations

import typing

import numpy as np

from mmzoo.export.certify.comparison import TOLERANCE, compare
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.tensors import Tensor

if typing.TYPE_CHECKING:
    import keras

NONFINITE = "nonfinite"  # key of the reference answers
VALUES = {"NaN": np.nan, "infinity": np.inf, "-infinity": -np.inf}


def draw_nonfinite(samples: Samples, tensors: list[Tensor]) -> tuple[list[str], dict]:
    """Draws rows with one NaN or infinity in one input of floats.

    Args:
        samples: What `Samples.fit` returned for `tensors`.
        tensors: The model's inputs.

    Returns:
        The rows' names ("NaN in 'x'"), and a dict of input to array. No rows if the model takes
        no floats, or takes texts as token ids.
    """
    floats = [t.name for t in tensors if samples.inputs[t.name].dtype.kind == "f"]
    cells = [(name, label) for name in floats for label in VALUES]
    inputs = {
        name: value[np.zeros(len(cells), int)].copy() for name, value in samples.inputs.items()
    }
    for tensor in tensors:
        if tensor.presence_of:  # what is absent is not read
            inputs[tensor.name][:] = True
    for row, (name, label) in enumerate(cells):
        inputs[name][row].reshape(-1)[:1] = VALUES[label]
    return [f"{label} in {name!r}" for name, label in cells], inputs


def handles_nonfinite(model: keras.Model, inputs: dict) -> bool:
    """Whether a model asks somewhere if a value is NaN or infinite: then its answers to such are
    meant. Others pass NaN on, or lose it as the operators of one machine happen to."""
    from mmzoo.export.surgery.traces import trace

    graph = trace(model, inputs).graph.as_graph_def()
    nodes = [*graph.node, *(n for each in graph.library.function for n in each.node_def)]
    return any(node.op in ("IsNan", "IsInf", "IsFinite") for node in nodes)


def judge_nonfinite(
    names: list[str], actual: dict, expected: dict, tolerance: float | None, handled: bool
) -> tuple[list[str], list[str]]:
    """Compares the answers to rows with NaN or infinity.

    Args:
        names: The rows'.
        actual, expected: Dicts of output to array, of the artifact and of Keras.
        tolerance: Largest difference of a finite answer, as a part of its scale; None of a
            quantised artifact.
        handled: See `handles_nonfinite`.

    Returns:
        Breaches, where the model handles such values, Keras gives a finite answer and the artifact
        a different one. And sentences for the manifest and the card: where the artifact's answer is
        different in a model that does not handle them, and where Keras gives NaN or infinity and
        the artifact a number, which hides that the input was wrong.
    """
    breaches: list[str] = []
    different: dict[str, list[str]] = {}
    hidden: dict[str, list[str]] = {}
    for output, wanted in expected.items():
        found = actual[output]
        for row, name in enumerate(names):
            pair = found[row : row + 1], wanted[row : row + 1]
            if wanted.dtype.kind != "f" or np.isfinite(pair[1]).all():
                difference = compare(*pair, TOLERANCE if tolerance is None else tolerance)
                if difference.breaches and handled and tolerance is not None:
                    breaches.append(f"{name}, output {output!r}: {difference.breaches[0]}")
                elif difference.breaches:
                    different.setdefault(name, []).append(repr(output))
            elif (np.isfinite(pair[0]) & ~np.isfinite(pair[1])).any():
                hidden.setdefault(name, []).append(repr(output))
    said = [
        f"{n} gives a different {', '.join(found)} than Keras" for n, found in different.items()
    ]
    said += [
        f"{name} gives a number in {', '.join(outputs)}, where Keras gives NaN or infinity"
        for name, outputs in hidden.items()
    ]
    return breaches, said
