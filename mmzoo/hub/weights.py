"""A layer's weights in a store, by name."""

import numpy as np


def write_weights(store, weights: dict) -> None:
    """Writes weights under their names, "/" as "." (a "/" would be a group in HDF5)."""
    for name, weight in weights.items():
        store[name.replace("/", ".")] = weight


def read_weights(store, weights: dict, where: str) -> None:
    """Assigns every weight from the store.

    Raises:
        ValueError: If a name is missing or unexpected or a shape differs; lists them all, and
            assigns nothing.
    """
    names = {name.replace("/", "."): name for name in weights}
    values = {names.get(key, key): np.asarray(store[key]) for key in store.keys()}  # noqa: SIM118
    check_same(
        {name: weight.shape for name, weight in weights.items()},
        {name: value.shape for name, value in values.items()},
        where,
    )
    for name, weight in weights.items():
        weight.assign(values[name])


def check_same(expected: dict, received: dict, where: str) -> None:
    """Raises ValueError unless two dicts of name to shape agree."""
    problems = [f"missing: {name}" for name in expected if name not in received]
    problems += [f"unexpected: {name}" for name in received if name not in expected]
    problems += [
        f"{name}: expected shape {tuple(shape)}, received {tuple(received[name])}"
        for name, shape in expected.items()
        if name in received and tuple(shape) != tuple(received[name])
    ]
    if problems:
        raise ValueError(
            f"Expected the weights of {where}, by name and shape. {len(problems)} differ:\n  "
            + "\n  ".join(problems)
        )
