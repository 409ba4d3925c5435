"""Holds one artifact to its Keras model."""

from pathlib import Path

import keras

from mmzoo.export.bundle.signatures import describe_signatures
from mmzoo.export.certify.certificate import certify, raise_on_breach
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.certify.preconditions import check_names, check_padding
from mmzoo.export.certify.reference_answers import answers, in_half_precision, predict
from mmzoo.export.samples.samples import Samples, random_samples
from mmzoo.export.surgery.extra_signatures import FEW, feels_absence, find_parts
from mmzoo.export.surgery.model_description import describe, load_model
from mmzoo.export.surgery.tokenizers import split_tokenizers
from mmzoo.io.files import atomic_write
from mmzoo.tasks import Image, guess_task
from mmzoo.tasks.tensors import Tensor


def write_verified(
    name: str, model, path: Path, write, *, samples, tolerance, signatures=None
) -> Path:
    """Writes one artifact beside `path`, verifies it, and only then puts it in place.

    Args:
        name: "saved_model", "tflite" or "onnx".
        model: Functional Keras model, or the path of a `.keras` file.
        path: Where the artifact goes.
        write: Function of the model (that of token ids, where tokenizers were cut off), the
            place to write to, the tokenizers, and the parts that a SavedModel has.
        samples, tolerance, signatures: See `verify_artifact`.

    Returns:
        `path`.
    """
    original = load_model(model)
    portable, tokenizers = split_tokenizers(original)
    samples = choose_samples(portable, tokenizers, samples)
    parts = {}
    if name == "saved_model":
        parts = choose_parts(portable, tokenizers, samples)
    tensors = describe(portable, tokenizers)
    check_names(*tensors)
    entries = choose_signatures(name, *tensors, parts, signatures)
    known = answers(portable, samples, original, tokenizers, parts, tolerance)
    with atomic_write(path) as target:
        write(portable, target, tokenizers, parts)
        verify_artifact(name, target, portable, samples, entries, tokenizers, tolerance, known)
    return path


def choose_samples(model: keras.Model, tokenizers, samples=None) -> Samples:
    """The samples that a model is compared on.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        samples: `Samples` of the user. None: seeded random values of the features' kinds.

    Raises:
        ValueError: If the samples don't fit the model.
    """
    inputs, _ = describe(model, tokenizers)
    if samples is None:
        samples = random_samples(inputs)
    return samples.with_ids(tokenizers).fit(inputs)


def choose_parts(model: keras.Model, tokenizers, samples: Samples, images=()) -> dict:
    """The parts that a model has: without towers and head if these need more than the head knows.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        samples: What `choose_samples` returned.
        images: `Image` features of the task, where it is declared.

    Returns:
        As `find_parts`.
    """
    inputs, _ = describe(model, tokenizers)
    known = {image.name: image for image in images or ()}
    found = [
        known.get(t.name, Image(t.name)).completed(samples.inputs[t.name].shape[1:])
        for t in inputs
        if t.kind == Image.kind
    ]
    parts = find_parts(model, tokenizers, found)
    subsets = draw_subsets(samples, inputs)
    if subsets is not None and "fuse" in parts:
        few = {name: value[:FEW] for name, value in subsets.blank.inputs.items()}
        if feels_absence(parts, subsets, predict(model, few)):
            parts = {k: p for k, p in parts.items() if k != "fuse" and not k.startswith("encode_")}
    return parts


def verify_artifact(
    name: str,
    artifact: Path,
    model: keras.Model,
    samples: Samples,
    signatures: dict,
    tokenizers,
    tolerance: float,
    known: tuple,
) -> None:
    """Runs one artifact in its runtime, in a fresh process, against the Keras model.

    Args:
        name: "saved_model", "tflite" or "onnx".
        artifact: The file or folder.
        model: The functional model it was made from.
        samples: What `choose_samples` returned.
        signatures: Those to run, as `choose_signatures` returned them.
        tokenizers: Those that were cut off the model.
        tolerance: Largest difference of a float output, as a part of its scale.
        known: What `answers` returned for the model.

    Raises:
        ParityError: If an answer differs.
    """
    inputs, outputs = describe(model, tokenizers)
    entry = {"path": artifact.name, "signatures": signatures}
    if "serving_default" in signatures:
        check_padding(model, samples, inputs)
    reference, refused, probes = known
    manifest = {
        **describe_signatures(name, inputs, outputs)["portable"],
        "task": guess_task(inputs, outputs).to_json(),
        "formats": {name: entry}, "tolerance": tolerance, "refused_sizes": refused,
        "probes": probes, "half_precision": in_half_precision(model),
    }  # fmt: skip
    certificate = certify(artifact.parent, manifest, samples, reference)
    raise_on_breach(certificate)


def choose_signatures(
    name: str, inputs: list[Tensor], outputs: list[Tensor], parts: dict, chosen=None
) -> dict:
    """The signatures that a format has, or these of them: dict of name to JSON.

    Args:
        name: See `verify_artifact`.
        inputs, outputs: The model's.
        parts: What `find_parts` found, of a SavedModel.
        chosen: Names of some of them; None: all.

    Raises:
        ValueError: If one is unknown, or is verified on what others give that are not chosen.
    """
    entries = describe_signatures(name, inputs, outputs)
    entries |= {key: part.to_json() for key, part in parts.items()}
    unknown = sorted(set(chosen or ()) - set(entries))
    if unknown:
        raise ValueError(
            f"`signatures` may hold {sorted(entries)} for these tensors. Received: {unknown}. "
            "With strings as input an output can't have a free axis."
        )
    lacking = sorted(key for key in parts if key.startswith("encode_"))
    if chosen and "fuse" in chosen and not set(lacking) <= set(chosen):
        raise ValueError(
            f"Expected {lacking} beside 'fuse', which is verified on what they give. "
            f"Received: {tuple(chosen)}."
        )
    return {key: entries[key] for key in chosen or entries}
