"""The real samples on which every artifact is held to the Keras model."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from mmzoo.export.manifest import Tensor

BATCHES = (1, 3, 17)
CONCEPTS_TEST = "concept128/test"


@dataclasses.dataclass(frozen=True)
class Samples:
    """Named inputs, and labels where they are known.

    Attributes:
        inputs: Dict of input name to array `(samples, ...)`; text as uint8 bytes.
        labels: Optional int array `(samples,)`.
        source: "concept128/test", which is drawn anew at each check, or "file".
    """

    inputs: dict
    labels: np.ndarray | None = None
    source: str = "file"

    def __post_init__(self):
        counts = {name: len(value) for name, value in self.inputs.items()}
        if len(set(counts.values())) != 1 or min(counts.values()) < max(BATCHES):
            raise ValueError(
                f"Expected at least {max(BATCHES)} samples, as many of each input. "
                f"Received: {counts}."
            )

    def __len__(self):
        return len(next(iter(self.inputs.values())))

    def sha256(self) -> str:
        """Hex digest of all inputs, with names, dtypes and shapes."""
        digest = hashlib.sha256()
        for name in sorted(self.inputs):
            value = np.ascontiguousarray(self.inputs[name])
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()

    def select(self, names) -> "Samples":
        """Returns the samples with only the named inputs."""
        missing = sorted(set(names) - set(self.inputs))
        if missing:
            raise ValueError(
                f"Expected samples of every input. Received none of {missing}, only "
                f"{sorted(self.inputs)}. Pass an .npz file with an array an input."
            )
        return dataclasses.replace(self, inputs={name: self.inputs[name] for name in names})

    def save(self, path: Path) -> None:
        """Writes the samples as a compressed .npz file."""
        arrays = {f"input/{name}": value for name, value in self.inputs.items()}
        if self.labels is not None:
            arrays["labels"] = self.labels
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def concept_samples() -> Samples:
    """The 1,024 test samples of Concept-128."""
    from mmzoo.data import concepts

    inputs, labels = concepts.draw_samples("test")
    return Samples(inputs, labels, CONCEPTS_TEST)


def load_samples(path: Path) -> Samples:
    """Reads an .npz file: an array an input (`image` or `input/image`), maybe `labels`.

    Raises:
        ValueError: If the file is missing, is no .npz archive, or holds too few samples.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.removeprefix("input/"): archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"Expected an .npz file of samples. Received: {path}, which NumPy can't read: {error}"
        ) from error
    labels = arrays.pop("labels", None)
    return Samples(arrays, labels)


def default_samples(inputs: list[Tensor]) -> Samples:
    """The Concept-128 test samples, if a model takes nothing but its modalities.

    Raises:
        ValueError: If the model has an input that Concept-128 does not know.
    """
    known = {"image": ("uint8", 4), "text": ("uint8", 2), "audio": ("float32", 2)}
    for tensor in inputs:
        if known.get(tensor.name) != (tensor.dtype, len(tensor.shape)):
            raise ValueError(
                "Expected samples for a model whose inputs are not those of Concept-128 "
                f"({sorted(known)}). Received: an input {tensor.name!r} of dtype "
                f"{tensor.dtype} and shape {tensor.shape}. Pass `samples` (--samples FILE.npz)."
            )
    return concept_samples().select([tensor.name for tensor in inputs])
