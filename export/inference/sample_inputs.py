"""Records to the inputs of a bundle's artifact, whose files must be the verified ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmzoo.export.bundle.checksums import changed_files
from mmzoo.export.bundle.formats import FIXED, PATHS
from mmzoo.export.bundle.manifest import Bundle
from mmzoo.io.files import sha256
from mmzoo.tasks import Feature, TooLargeError
from mmzoo.tasks.tensors import Tensor


def check_artifact(bundle: Bundle, format: str) -> Path:
    """The artifact of a bundle, verified, and unchanged since.

    Raises:
        ValueError: If it is not that, or the bundle has none in this format.
    """
    formats = bundle.manifest["formats"]
    if format not in formats:
        raise ValueError(
            f"Expected one of the bundle's formats {sorted(formats)}. Received: {format!r}."
            + f" Export the model with --formats {format}." * (format in PATHS)
        )
    certificate = bundle.certificate
    right = certificate["manifest_sha256"] == sha256(bundle.path / "manifest.json")
    if certificate["holds"] is not True or not right:
        raise ValueError(
            f"Expected a bundle whose certificate holds for its manifest. Received: {bundle.path}. "
            "`mmzoo verify` says what is wrong."
        )
    changed = changed_files(bundle.path, bundle.manifest, format)
    if changed:
        raise ValueError(f"Expected the files that were verified. Changed: {'; '.join(changed)}.")
    return bundle.path / formats[format]["path"]


def check_tokenizer(bundle: Bundle) -> Path:
    """The SavedModel of a bundle, whose signature `tokenize` makes token ids for all formats.

    Raises:
        ValueError: If the bundle has none, or it was changed.
    """
    formats = bundle.manifest["formats"]
    if "saved_model" not in formats:
        raise ValueError(
            "Expected a bundle with a SavedModel, whose signature `tokenize` makes token ids of "
            f"texts. Received: {sorted(formats)}. Export with saved_model too."
        )
    return check_artifact(bundle, "saved_model")


def stack_inputs(
    features: Sequence[Feature], tensors: Sequence[Tensor], samples: Sequence[dict], shapes: dict
) -> dict:
    """One array an input, zero padded.

    Args:
        features: The task's.
        tensors: What the artifact takes. Token ids are left out: see `stack_texts`.
        samples: A dict a sample, of each feature that it has to what `Feature.read` returned.
        shapes: Dict of input name to the shape of the zeros where no sample has it; such zeros are
            not felt.

    Returns:
        Dict of input name to array `(samples, ...)`; of a string input, UTF-8 bytes.

    Raises:
        ValueError: If a text holds a NUL, which is the padding.
        TooLargeError: If a text or a recording is longer than the model takes.
    """
    known = {feature.name: feature for feature in features}
    inputs = {}
    for tensor in tensors:
        name = tensor.name
        if tensor.presence_of:
            inputs[name] = np.array([tensor.presence_of in sample for sample in samples])
        elif tensor.dtype == "string":
            inputs |= stack_texts([tensor], samples)
        elif not tensor.tokens_of:
            rows = [sample.get(name) for sample in samples]
            inputs[name] = known[name].stack(rows, tensor, shapes[name])
    return inputs


def stack_texts(tensors: Sequence[Tensor], samples: Sequence[dict]) -> dict:
    """Dict of each text that comes in as strings, or as token ids, to its UTF-8 bytes `(samples,)`.

    Args:
        tensors, samples: See `stack_inputs`.
    """
    sources = {t.tokens_of or t.name for t in tensors if t.tokens_of or t.dtype == "string"}
    return {
        source: np.array([sample.get(source, "").encode() for sample in samples], "S")
        for source in sorted(sources)
    }


def to_size(features: Sequence[Feature], inputs: dict, shapes: dict) -> dict:
    """One record's inputs, padded with zeros to the shapes that a file of fixed size takes.

    Args:
        features: The task's.
        inputs: Dict of input name to array `(1, ...)`.
        shapes: Dict of input name to the shape of a sample.

    Raises:
        TooLargeError: If one is larger.
    """
    whole = {feature.name for feature in features if not feature.padded}
    made = {}
    for name, value in inputs.items():
        shape = tuple(shapes[name])
        if name in whole and value.shape[1:] != shape:
            raise TooLargeError(
                f"Expected a picture of the size {shape}, which {FIXED} is made for. "
                f"Received: {value.shape[1:]}. Use --format tflite, which takes any."
            )
        missing = [size - have for have, size in zip(value.shape[1:], shape, strict=True)]
        if min([0, *missing]) < 0:
            raise TooLargeError(
                f"Expected a record of at most the size {shape}, which {FIXED} is made for. "
                f"Received: {value.shape[1:]}. Use --format tflite, which takes any."
            )
        made[name] = np.pad(value, [(0, 0), *((0, size) for size in missing)])
    return made
