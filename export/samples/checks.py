"""What is wrong with the samples that a user passes: each fault names its array and the way out."""

import difflib

import numpy as np

from mmzoo.tasks.tensors import Tensor

LABELS = "labels"


def check_names(path: str, inputs: dict, tensors: list[Tensor]) -> None:
    """Raises ValueError if an array is none of the model's inputs."""
    known = [tensor.name for tensor in tensors]
    for name in inputs:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, LABELS], 1, 0.5)
            raise ValueError(
                f"{path}: there is an array {name!r}, which is no input of the model "
                f"({', '.join(known)}) and not `labels`. "
                + (f"Is it {near[0]!r}? Rename it, or leave it out." if near else "Leave it out.")
            )


def check_presence(path: str, inputs: dict, tensors: list[Tensor]) -> None:
    """Raises ValueError if a modality that may be absent has no presence array."""
    for tensor in tensors:
        if tensor.presence_of and tensor.name not in inputs:
            raise ValueError(
                f"{path}: there is no array {tensor.name!r}, which says in which samples "
                f"{tensor.presence_of!r} is there. Add it, bool (samples,): True where it is; "
                "np.ones(samples, bool) if it is in all."
            )


def check_finite_values(path: str, inputs: dict, tensors: list[Tensor]) -> None:
    """Raises ValueError if a float array holds NaN or infinity where its feature is present.

    NaN in a number stands for a missing one.
    """
    numbers = {tensor.name for tensor in tensors if tensor.kind == "number"}
    for name, value in inputs.items():
        if value.dtype.kind != "f":
            continue
        bad = ~(np.isfinite(value) | (np.isnan(value) & (name in numbers))).reshape(
            len(value), -1
        ).all(axis=1)
        here = inputs.get(f"{name}_present")
        if here is not None and here.shape == bad.shape and here.dtype == bool:
            bad &= here  # what an absent modality holds is not read
        if bad.any():
            raise ValueError(
                f"{path}: {name!r} holds NaN or infinity in {bad.sum():,} of {len(bad):,} samples, "
                f"sample {int(np.argmax(bad))} first. Replace these values, or leave these samples "
                "out."
            )


def is_text(value: np.ndarray) -> bool:
    """Whether an array holds strings or bytes."""
    if value.dtype.kind == "O":
        return all(isinstance(each, (str, bytes)) for each in value.flat)
    return value.dtype.kind in "SU"


def check_arrays(path: str, inputs: dict, targets: dict) -> None:
    """Raises ValueError unless all arrays have one length, at least 1, of numbers or texts."""
    if not inputs:
        raise ValueError(
            f"{path}: there is no array of an input. Expected an array an input, called like it."
        )
    for name, value in [*inputs.items(), *targets.items()]:
        if not value.ndim:
            raise ValueError(
                f"{path}: {name!r} is a single value. Expected an array (samples, ...)."
            )
        text = name in inputs and is_text(value)
        number = value.dtype.kind in "biuf" or "float" in value.dtype.name
        if not number and not text:
            raise ValueError(
                f"{path}: {name!r} is an array of {value.dtype}. Expected numbers"
                + "; of labels, integers from 0: the places of the classes" * (name == LABELS)
                + "."
            )
    counts = {name: len(value) for name, value in inputs.items()}
    common = max(set(counts.values()), key=list(counts.values()).count)
    odd = [name for name, count in counts.items() if count != common]
    if odd or common < 1:
        raise ValueError(
            f"{path}: expected at least one sample, and as many of each input. Received: "
            f"{', '.join(f'{name!r} {count:,}' for name, count in counts.items())}."
            + f" Cut {', '.join(map(repr, odd))} and the others to one length."
            * bool(odd)
        )
    empty = [name for name, value in inputs.items() if not value.size]
    if empty:
        raise ValueError(
            f"{path}: {empty[0]!r} is empty, of shape {inputs[empty[0]].shape}. Give it values."
        )
    for name, value in targets.items():
        if name == LABELS and (len(value) != common or value.dtype.kind not in "biu"):
            raise ValueError(
                f"{path}: expected {common} integer labels, of shape ({common},). Received: "
                f"`labels` as {value.dtype} of shape {value.shape}."
            )
        if len(value) != common:
            raise ValueError(
                f"{path}: expected {common} values of the target {name!r}, one a sample. "
                f"Received: {len(value)}."
            )
