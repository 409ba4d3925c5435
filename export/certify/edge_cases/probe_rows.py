"""Probe rows: inputs that samples seldom hold, and at which operators are known to go wrong."""

import dataclasses
from typing import Any

import numpy as np

from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.tensors import Tensor

FAR = 95.0  # exp(88.8) is infinite in float32
NEAR = 1e-20  # its square is subnormal: TensorFlow takes it for 0
GROWN = 10  # times the largest and smallest values of the samples
MOST = 18  # probe rows; more where a model has many inputs
EVERY = 3  # after so many probe rows stands an unchanged sample
NORMAL = "sample"  # what the names of unchanged samples begin with


@dataclasses.dataclass(frozen=True)
class Probes:
    """A batch of probe rows, mixed with unchanged samples.

    Attributes:
        names: What each row is: "x=95", "all inputs=0", "image absent", "sample in row 3".
        samples: The rows, as `Samples` has them: dict of input to array, and texts.
        ids: Whether a row's token ids are those of no text.
    """

    names: list[str]
    inputs: dict
    texts: dict
    ids: np.ndarray

    def __len__(self):
        return len(self.names)

    def without(self, names) -> "Probes":
        """Returns the rows but for those of these names."""
        keep = [k for k, name in enumerate(self.names) if name not in names]
        return Probes(
            [self.names[k] for k in keep],
            {name: value[keep] for name, value in self.inputs.items()},
            {name: value[keep] for name, value in self.texts.items()},
            self.ids[keep],
        )

    def rows_of(self, names) -> np.ndarray:
        """Indices of the rows of these names."""
        return np.array([k for k, name in enumerate(self.names) if name in names], int)


def draw_probes(samples: Samples, tensors: list[Tensor]) -> Probes:
    """Draws the probe rows of a model's inputs; the same at each call.

    By the kind of an input: 0, 1, 10 times the largest and the smallest value of the samples, 95,
    -95 and 1e-20 for floats; -1, 0, 1, the largest value and 10 times it for integers; 0, 1 and
    255 for uint8; all false, all true and the first alone true for bool. Each input takes them
    alone, beside the others' samples, and all inputs take them together, but for 1e-20. A modality
    is absent alone, and all are.

    Args:
        samples: What `Samples.fit` returned for `tensors`.
        tensors: The model's inputs.

    Returns:
        `Probes`: about 24 rows, every fourth an unchanged sample, and at least one of them.
    """
    kinds = {t.name: _values(samples.inputs[t.name], t) for t in tensors if not t.presence_of}
    presence = [t for t in tensors if t.presence_of]
    tokens = {t.name for t in tensors if t.tokens_of}
    together = {
        name: [(label, value) for label, value in values if label != f"{NEAR:g}"]
        for name, values in kinds.items()
        if name not in tokens
    }
    changes: list[tuple[str, dict]] = []
    if len(together) > 1:
        for k in range(max(map(len, together.values()))):
            change = {n: values[k % len(values)] for n, values in together.items()}
            shown = sorted({label for label, _ in change.values()})
            name = f"all inputs={'/'.join(shown)}"
            again = sum(each.split(" #")[0] == name for each, _ in changes)
            changes.append((f"{name} #{again + 1}" if again else name, change))
    everything = {t.name: ("absent", False) for t in presence}
    if len(presence) > 1:
        changes.append(("all absent", everything))
    changes += [(f"{t.presence_of} absent", {t.name: everything[t.name]}) for t in presence]
    for k in range(max(map(len, kinds.values()), default=0)):
        for name, values in kinds.items():
            if k < len(values):
                changes.append((f"{name}={values[k][0]}", {name: values[k]}))
    changes = changes[: max(MOST, min(2 * len(tensors), 2 * MOST) + 8)]
    rows: list[tuple[str, dict]] = []
    for k, (name, change) in enumerate(changes):
        rows.append((name, change))
        if k % EVERY == EVERY - 1:
            rows.append((f"{NORMAL} in row {len(rows)}", {}))
    if not any(name.startswith(NORMAL) for name, _ in rows):
        rows.append((f"{NORMAL} in row {len(rows)}", {}))
    origin = np.arange(len(rows)) % len(samples)
    inputs = {t.name: samples.inputs[t.name][origin].copy() for t in tensors}
    for place, (_, change) in enumerate(rows):
        for name, (_, value) in change.items():
            inputs[name][place] = value
    texts = {name: value[origin] for name, value in samples.texts.items()}
    ids = np.array([bool(tokens & set(change)) for _, change in rows])
    return Probes([name for name, _ in rows], inputs, texts, ids)


def _values(met, tensor):
    """The values that an input takes, each once: list of a label and a value, or one sample's."""
    if met.dtype.kind in "SUO":
        return [("empty", b"" if met.dtype.kind == "S" else "")]
    if met.dtype.kind == "b":
        values: list[tuple[str, Any]] = [("false", False), ("true", True)]
        if met.ndim > 1:
            first = np.zeros(met.shape[1:], bool)
            first.reshape(-1)[:1] = True
            values.append(("first alone", first))
        return values
    if met.dtype.kind in "iu":
        wanted = _integers(met, tensor)
    else:
        known = met[np.isfinite(met)].astype("float64")
        low, high = (float(known.min()), float(known.max())) if known.size else (-1.0, 1.0)
        limit = 3e38 if met.dtype.itemsize >= 4 else 6e4  # float16 ends at 65,504
        grown = [min(max(GROWN * value, -limit), limit) for value in (high, low)]
        wanted = [0, grown[0], FAR, -FAR, 1, grown[1], NEAR]
    found = {f"{value:g}": value for value in wanted}
    return list(found.items())


def _integers(met, tensor):
    kind = np.iinfo(met.dtype)
    if tensor.dtype == "uint8":
        return [0, 255, 1]
    low, high = (int(met.min()), int(met.max())) if met.size else (0, 1)
    wanted = [-1, high, 0, 1, GROWN * high, GROWN * low]
    return [value for value in wanted if kind.min <= value <= kind.max]
