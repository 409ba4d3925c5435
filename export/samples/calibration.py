"""The samples from which int8 learns its ranges: never those that it is judged on."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from mmzoo.export.samples.samples import BATCHES, NPZ_ERRORS, Samples
from mmzoo.tasks.tensors import Tensor

CALIBRATION = "calibration.npz"
LEAST = 4  # fewer say nothing of a range
MOST = 64


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Named inputs `(samples, ...)`, where they come from, and how they were chosen."""

    inputs: dict
    source: str
    how: str

    def __len__(self):
        return len(next(iter(self.inputs.values())))

    def to_json(self) -> dict:
        """As the manifest has it."""
        return {
            "source": self.source,
            "count": len(self),
            "sha256": hashlib.sha256("".join(row_hashes(self.inputs)).encode()).hexdigest(),
            "split": self.how,
        }


def row_hashes(inputs: dict) -> list[str]:
    """Hex digest of each sample: of the content of all its inputs, with their names."""
    names = sorted(inputs)
    hashes = []
    for k in range(len(inputs[names[0]])):
        digest = hashlib.sha256()
        for name in names:
            value = np.ascontiguousarray(inputs[name][k])
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
        hashes.append(digest.hexdigest())
    return hashes


def split(samples: Samples) -> tuple[Calibration, Samples]:
    """Two parts with no sample in both: one to calibrate on, one to check on.

    A quarter, at most 64, calibrates. The order of the file plays no part: samples are chosen by
    the hash of their content, from each label in turn, and equal samples stay together.

    Raises:
        ValueError: If there are too few for both.
    """
    hashes = row_hashes(samples.inputs)
    groups: dict[str, list[int]] = {}
    for row, digest in enumerate(hashes):
        groups.setdefault(digest, []).append(row)
    room = len(samples) - max(BATCHES)
    wanted = min(MOST, max(LEAST, len(samples) // 4), room)
    strata = strata_of(samples)
    seen: dict = {}
    order = []
    for digest in sorted(groups):
        label = None if strata is None else int(strata[groups[digest][0]])
        seen[label] = seen.get(label, 0) + 1
        order.append((seen[label], digest))
    taken: list[int] = []
    for _, digest in sorted(order):
        if len(taken) + len(groups[digest]) <= wanted:
            taken += groups[digest]
    if len(taken) < LEAST:
        raise ValueError(
            f"int8 needs at least {max(BATCHES) + LEAST} different samples: {max(BATCHES)} that it "
            f"is checked on, and {LEAST} others that it learns its ranges from. Received: "
            f"{len(samples)} samples, {len(groups)} of them different. Pass more, or leave int8 "
            "out."
        )
    mine = np.zeros(len(samples), bool)
    mine[taken] = True
    how = (
        f"{len(taken)} of {len(samples)} samples, chosen by the hash of their content"
        f"{'' if strata is None else ', from each label in turn'}; the other "
        f"{len(samples) - len(taken)} are checked"
    )
    calibration = Calibration({n: v[mine] for n, v in samples.inputs.items()}, samples.source, how)
    checked = dataclasses.replace(
        samples,
        inputs={name: value[~mine] for name, value in samples.inputs.items()},
        targets={name: value[~mine] for name, value in samples.targets.items()},
        texts={name: value[~mine] for name, value in samples.texts.items()},
    )
    return calibration, checked


def strata_of(samples: Samples) -> np.ndarray | None:
    """The target by which samples are drawn in turn: the first of ints `(samples,)`."""
    for value in samples.targets.values():
        if value.ndim == 1 and value.dtype.kind in "iu":
            return value
    return None


def calibrate_and_check(
    samples: Samples, given: Samples | None, tensors: list[Tensor], tokenizers=()
) -> tuple[Calibration, Samples]:
    """The samples that int8 learns from, and those that everything is checked on.

    Args:
        samples: Those to check on.
        given: Others to learn from, of another split. None: a part of `samples`, which is then
            not among those that are checked.
        tensors: The model's inputs.
        tokenizers: Those that were cut off it.

    Raises:
        ValueError: If there are too few, or one is among those that are checked.
    """
    if given is None:
        return split(samples)
    inputs = given.with_ids(tokenizers).fit(tensors).inputs
    both = len(set(row_hashes(inputs)) & set(row_hashes(samples.inputs)))
    if both:
        raise ValueError(
            f"Expected `calibration` of other samples than `samples`. Received: {both} that are in "
            "both. int8 must not be judged on what it learned its ranges from."
        )
    how = "samples of their own, none of them among those that are checked"
    return Calibration(inputs, given.source, how), samples


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes `calibration.npz` into a bundle."""
    arrays = {f"input/{name}": value for name, value in calibration.inputs.items()}
    np.savez_compressed(folder / CALIBRATION, **arrays)  # type: ignore[arg-type]


def calibration_breaches(folder: Path, manifest: dict, samples: Samples) -> list[str]:
    """What is wrong with a bundle's calibration samples, in words.

    Args:
        folder: The bundle.
        manifest: Its manifest.
        samples: Those that everything is checked on.
    """
    stated, path = manifest.get("calibration"), folder / CALIBRATION
    if stated is None:
        return [f"{CALIBRATION}: no part of the bundle"] if path.exists() else []
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs = {name.removeprefix("input/"): archive[name] for name in archive.files}
        found = Calibration(inputs, stated["source"], stated["split"])
        described = found.to_json()
    except (*NPZ_ERRORS, StopIteration, IndexError) as error:
        return [f"{CALIBRATION}: can't be read: {error}"]
    if described != stated:
        return [f"{CALIBRATION}: not the samples that the manifest names"]
    both = len(set(row_hashes(inputs)) & set(row_hashes(samples.inputs)))
    if both:
        return [f"{CALIBRATION}: {both} of its samples are among those that int8 is judged on"]
    return []
