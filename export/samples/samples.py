"""The real samples on which every artifact is held to the Keras model."""

import dataclasses
import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mmzoo.export.samples.checks import (
    LABELS,
    check_arrays,
    check_finite_values,
    check_names,
    check_presence,
)
from mmzoo.tasks.guess import guess_features
from mmzoo.tasks.tensors import Tensor

BATCHES = (1, 3, 17)
LARGEST = 2**28  # bytes of samples that a bundle is checked on and keeps
RANDOM = "random values"
TARGET = "target/"  # what the names of targets begin with in a file
# What np.load raises for a missing, truncated, altered or foreign file.
NPZ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Named inputs, and targets where they are known.

    Attributes:
        inputs: Dict of input name to array `(samples, ...)`; text as uint8 bytes.
        targets: Dict of target name to array `(samples, ...)`, as the task's metrics take them;
            an int array `(samples,)` alone is the target "labels". None: there are none.
        source: Where they are from, for people.
        texts: Dict of the name of a text to uint8 bytes `(samples, length)`, for the inputs
            that are token ids.
        image_fit: How the pictures were brought to size, one of `image_fit.FITS`, which is then
            how `predict` and `embed` do it; "" where that is not known.
        path: The user's file that they were read from: its arrays must be the model's inputs,
            all of them, and finite. "" for others.
        given: How many there were, where they were fewer than the largest batch that is checked
            and are repeated to fill it; 0 where each is there once.
    """

    inputs: dict
    targets: dict = dataclasses.field(default_factory=dict)
    source: str = "file"
    texts: dict = dataclasses.field(default_factory=dict)
    image_fit: str = ""
    path: str = ""
    given: int = 0

    def __post_init__(self):
        if self.targets is None or isinstance(self.targets, np.ndarray):
            named = {} if self.targets is None else {LABELS: self.targets}
            object.__setattr__(self, "targets", named)
        check_arrays(self.name, {**self.inputs, **self.texts}, self.targets)
        count = len(self)
        if count < max(BATCHES):
            rows = np.arange(max(BATCHES)) % count
            changed = {
                "inputs": {name: value[rows] for name, value in self.inputs.items()},
                "texts": {name: value[rows] for name, value in self.texts.items()},
                "targets": {name: value[rows] for name, value in self.targets.items()},
                "given": self.given or count,
            }
            for name, value in changed.items():  # as frozen dataclasses are made
                object.__setattr__(self, name, value)

    @property
    def labels(self) -> np.ndarray | None:
        """The target "labels", if there is one."""
        return self.targets.get(LABELS)

    @property
    def name(self) -> str:
        """What messages call them."""
        return self.path or "`samples`"

    def describe(self) -> dict:
        """What the manifest and the certificate say of them: `source`, `count`, maybe `given`."""
        said = {"source": self.source, "count": len(self)}
        return said | ({"given": self.given} if self.given else {})

    def __len__(self):
        return len(next(iter(self.inputs.values())))

    def sha256(self) -> str:
        """Hex digest of all inputs and targets, with names, dtypes and shapes."""
        digest = hashlib.sha256()
        arrays = {f"input/{name}": self.inputs[name] for name in sorted(self.inputs)}
        arrays |= {f"text/{name}": self.texts[name] for name in sorted(self.texts)}
        arrays |= {target_key(name): self.targets[name] for name in sorted(self.targets)}
        for name, array in arrays.items():
            value = np.ascontiguousarray(array)
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()

    def with_ids(self, tokenizers) -> "Samples":
        """Returns the samples with token ids made of their texts; given ids are not believed.

        Raises:
            ValueError: If there is no text for a tokenizer.
        """
        inputs, texts = dict(self.inputs), dict(self.texts)
        for tokenizer in tokenizers:
            text = texts.get(tokenizer.source, inputs.pop(tokenizer.source, None))
            if text is not None and text.dtype.kind in "SUO":
                text = as_bytes(text)
            if text is None or text.dtype != "uint8" or text.ndim != 2:
                raise ValueError(
                    f"Expected samples: {tokenizer.source!r} takes texts, as strings (samples,) or "
                    f"as UTF-8 bytes, uint8 (samples, length). Received: {sorted(self.inputs)}. "
                    "Pass `samples`."
                )
            texts[tokenizer.source] = text
            inputs |= tokenizer.ids_of_bytes(text)
        return dataclasses.replace(self, inputs=inputs, texts=texts)

    def limited(self, most: int = LARGEST) -> "Samples":
        """Returns the samples, or of more bytes than `most` a part that is drawn with a seed."""
        size = sum(value.nbytes for value in (*self.inputs.values(), *self.texts.values()))
        if size <= most:
            return self
        count = max(max(BATCHES), int(len(self) * most / size))
        rows = np.sort(np.random.default_rng(0).permutation(len(self))[:count])
        return dataclasses.replace(
            self,
            inputs={name: value[rows] for name, value in self.inputs.items()},
            texts={name: value[rows] for name, value in self.texts.items()},
            targets={name: value[rows] for name, value in self.targets.items()},
            source=f"{self.source}, {count:,} of {len(self):,}",
        )

    def strings(self) -> dict:
        """The texts as arrays of bytes `(samples,)`."""
        return {name: as_strings(rows) for name, rows in self.texts.items()}

    def fit(self, tensors: list[Tensor]) -> "Samples":
        """Returns the samples of just these inputs; where none say otherwise, all is present.

        Raises:
            ValueError: If an input has no samples, or they differ from it in dtype or shape.
        """
        names = [tensor.name for tensor in tensors]
        if self.path:
            check_names(self.name, self.inputs, tensors)
        if self.path or any(
            tensor.presence_of and tensor.name in self.inputs for tensor in tensors
        ):
            check_presence(self.name, self.inputs, tensors)
        present = {t.name: np.ones(len(self), bool) for t in tensors if t.presence_of}
        inputs = present | self.inputs
        missing = sorted(set(names) - set(inputs))
        if missing:
            raise ValueError(
                f"{self.name}: expected samples of every input. Received none of {missing}, only "
                f"{sorted(self.inputs)}. Pass an .npz file with an array an input."
            )
        for tensor in tensors:
            value = inputs[tensor.name]
            if tensor.dtype == "string" and value.dtype.kind in "SUO":
                value = encode_strings(value)
                if tensor.shape == (None, 1) and value.ndim == 1:  # one text a sample
                    value = value[:, None]
                inputs[tensor.name] = value
            fits = len(value.shape) == len(tensor.shape) and all(
                size in (None, actual)
                for size, actual in zip(tensor.shape, value.shape, strict=True)
            )
            dtype = "string" if value.dtype.kind == "S" else value.dtype
            if value.dtype.kind in "SUO" and tensor.dtype != "string":
                raise ValueError(
                    f"{self.name}: {tensor.name!r} is an array of {value.dtype}. Expected numbers; "
                    "of texts, UTF-8 bytes: `mmzoo.data.encode_text` makes them."
                )
            if not fits or dtype != tensor.dtype:
                raise ValueError(
                    f"{self.name}: expected samples of {tensor.name!r} as {tensor.dtype} of shape "
                    f"{tensor.shape}. Received: {value.dtype} of shape {value.shape}."
                    + f" Convert it: {tensor.name}.astype({tensor.dtype!r}). "
                    * fits
                )
        if self.path:
            check_finite_values(self.name, inputs, tensors)
        return dataclasses.replace(self, inputs={name: inputs[name] for name in names})

    def save(self, path: Path) -> None:
        """Writes the samples as a compressed .npz file."""
        arrays = {f"input/{name}": value for name, value in self.inputs.items()}
        arrays |= {f"text/{name}": value for name, value in self.texts.items()}
        arrays |= {target_key(name): value for name, value in self.targets.items()}
        if self.image_fit:
            arrays["image_fit"] = np.array(self.image_fit)
        if self.given:
            arrays["given"] = np.array(self.given)
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def target_key(name: str) -> str:
    """What a target is called in an .npz file of samples."""
    return name if name == LABELS else f"{TARGET}{name}"


def encode_strings(values: np.ndarray) -> np.ndarray:
    """Strings or bytes, in any kind of array, as an array of UTF-8 bytes (dtype S)."""
    if values.dtype.kind == "S":
        return values
    return np.array([v.encode() if isinstance(v, str) else bytes(v) for v in values.flat], "S"
                    ).reshape(values.shape)  # fmt: skip


def as_bytes(texts: np.ndarray) -> np.ndarray:
    """Strings `(samples,)` or `(samples, 1)` as UTF-8 bytes, uint8 `(samples, length)`."""
    encoded = encode_strings(texts).reshape(len(texts))
    return encoded.view("uint8").reshape(len(texts), encoded.itemsize)


def as_strings(rows: np.ndarray) -> np.ndarray:
    """UTF-8 bytes, uint8 `(samples, length)`, zero padded, as byte strings `(samples,)`."""
    return np.array([bytes(row).rstrip(b"\0") for row in rows], "S")


def random_samples(inputs: list[Tensor], count: int = 20) -> Samples:
    """Seeded random values of each feature's kind, for a model whose data we don't have.

    Free axes get a small size.

    Raises:
        ValueError: If an input is a string, of which there is no random one to draw.
    """
    rng = np.random.default_rng(0)
    known = {feature.name: feature for feature in guess_features(inputs)}
    values = {}
    for tensor in inputs:
        if tensor.tokens_of:
            raise ValueError(
                f"Expected samples: {tensor.tokens_of!r} takes texts. Pass `samples` (--samples "
                "FILE.npz)."
            )
        if not tensor.presence_of:  # `fit` makes those
            values[tensor.name] = known[tensor.feature].draw(rng, tensor, count)
    return Samples(values, source=RANDOM)
