"""Holds one artifact to its Keras model."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmzoo.data.media import IMAGE_FIT
from mmzoo.export.answer_at import Refused, answer_at
from mmzoo.export.certificate import certify, raise_on_breach
from mmzoo.export.checks import SMALL_RUN
from mmzoo.export.dtypes import check_dtypes
from mmzoo.export.manifest import STRINGS, Tensor, signature_names, with_strings
from mmzoo.export.model_checks import check_finite, check_model, check_names, check_padding
from mmzoo.export.nonfinite import NONFINITE, draw_nonfinite, handles_nonfinite
from mmzoo.export.parity import TOLERANCE
from mmzoo.export.part_checks import WHOLE
from mmzoo.export.parts import FEW, feels_absence, find_parts
from mmzoo.export.picture_files import picture_files
from mmzoo.export.probe_answers import answer_probes
from mmzoo.export.samples import Samples, default_samples, random_samples, takes_concepts
from mmzoo.export.signature import describe, keras_reason, load_model
from mmzoo.export.sizes import other_sizes
from mmzoo.export.subsets import draw_subsets
from mmzoo.export.tokens import split_tokenizers
from mmzoo.export.towers import HALF
from mmzoo.export.traces import share_traces, trace
from mmzoo.files import beside


def write_proven(
    name: str, model, path: Path, write, *, samples, tolerance, signatures=None
) -> Path:
    """Writes one artifact beside `path`, proves it, and only then puts it in place.

    Args:
        name: "saved_model", "tflite" or "onnx".
        model: Functional Keras model, or the path of a `.keras` file.
        path: Where the artifact goes.
        write: Function of the model (that of token ids, where tokenizers were cut off), the
            place to write to, the tokenizers, and the parts that a SavedModel has.
        samples, tolerance, signatures: See `prove`.

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
    with beside(path) as target:
        write(portable, target, tokenizers, parts)
        prove(name, target, portable, samples, entries, tokenizers, tolerance, known)
    return path


def choose_samples(model: keras.Model, tokenizers, samples=None) -> Samples:
    """The samples that a model is compared on.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        samples: `Samples` of the user. None: the Concept-128 test samples where the model takes
            nothing else, else seeded random values.

    Raises:
        ValueError: If the samples don't fit the model.
    """
    inputs, _ = describe(model, tokenizers)
    if samples is None:
        known = takes_concepts(inputs)
        samples = default_samples(inputs, tokenizers) if known else random_samples(inputs)
    return samples.with_ids(tokenizers).fit(inputs)


def choose_parts(model: keras.Model, tokenizers, samples: Samples) -> dict:
    """The parts that a model has: without towers and head if these need more than the head knows.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.
        samples: What `choose_samples` returned.

    Returns:
        As `find_parts`.
    """
    image = samples.inputs.get("image")
    size = None if image is None or image.ndim != 4 else image.shape[1:3]
    parts = find_parts(model, tokenizers, size, samples.image_fit or IMAGE_FIT)
    subsets = draw_subsets(samples, describe(model, tokenizers)[0])
    if subsets is not None and "fuse" in parts:
        few = {name: value[:FEW] for name, value in subsets.blank.inputs.items()}
        if feels_absence(parts, subsets, predict(model, few)):
            parts = {k: p for k, p in parts.items() if k != "fuse" and not k.startswith("encode_")}
    return parts


def prove(
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
        **describe_signatures(name, inputs, outputs)["portable"], "classes": None,
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
        name: See `prove`.
        inputs, outputs: The model's.
        parts: What `find_parts` found, of a SavedModel.
        chosen: Names of some of them; None: all.

    Raises:
        ValueError: If one is unknown, or is proven on what others give that are not chosen.
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
            f"Expected {lacking} beside 'fuse', which is proven on what they give. "
            f"Received: {tuple(chosen)}."
        )
    return {key: entries[key] for key in chosen or entries}


def describe_signatures(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> dict:
    """The signatures of a format as JSON, in the model's order; every format binds by name."""
    portable = {
        "inputs": [tensor.to_json() for tensor in inputs],
        "outputs": [tensor.to_json() for tensor in outputs],
    }
    strings = {**portable, "inputs": with_strings(portable["inputs"])}
    signatures = {
        "serving_default": strings,
        "portable": strings if name in STRINGS else portable,
    }
    return {key: signatures[key] for key in signature_names(name, **portable)}


@share_traces()
def answers(
    model: keras.Model,
    samples: Samples,
    original: keras.Model | None = None,
    tokenizers=(),
    parts: dict | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[dict, dict[str, str], dict]:
    """The Keras model's answers for samples, other sizes, subsets and probe rows.

    Where tokenizers were cut off it, the samples' answers are those of the model that it was
    cut from, on strings: what went wrong in the cut can't prove itself.

    Returns:
        Dict of "samples", each of `sizes.other_sizes`, "probes" and, where the model takes
        presence, "subsets" to a dict of output name to array; and the first samples' of each part
        that gives or takes something else than the model. And a dict of the sizes that Keras itself
        refuses (an input shorter than a convolution) to its reason. And what `answer_probes`
        says of the probe rows.

    Raises:
        ValueError: If Keras can't run the samples themselves, or as `check_model`.
    """
    inputs, outputs = describe(model, tokenizers)
    sets = {"samples": samples}
    subsets = draw_subsets(samples, inputs)
    if subsets is not None:
        sets["subsets"] = subsets.blank
    found = {}
    for key, chosen in sets.items():
        try:
            if chosen.texts and original is not None:
                names = {tensor.name for tensor in describe(original)[0]}
                taken = {**chosen.inputs, **chosen.strings()}
                found[key] = predict(original, {name: taken[name] for name in names})
            else:
                found[key] = predict(model, chosen.inputs)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            raise ValueError(
                "Expected samples that the Keras model can run"
                f"{', absent modalities as zeros' * (key == 'subsets')}. Keras answered: "
                f"{keras_reason(error)}"
            ) from error
    # As they are: of a lookup from ids to strings Keras says that it gives integers.
    given = [dataclasses.replace(t, dtype=_dtype(found["samples"][t.name])) for t in outputs]
    check_dtypes("saved_model", inputs, given)  # what it can't carry, no format can
    own = found
    if samples.texts:  # those are of strings: a wrong tokenizer is no dependence on the batch
        own = found | {"samples": predict(model, samples.inputs)}
    check_model(model, samples, own, subsets)
    found["probes"], probes = answer_probes(model, samples, inputs, found["samples"], tolerance)
    names, rows = draw_nonfinite(samples, inputs)
    refused = {}
    for key, values in other_sizes(samples, inputs).items():
        try:
            found[key] = answer_at(model, values)
        except Refused as error:
            refused[key] = str(error)
    check_finite({f"samples ({key})": value for key, value in found.items()})
    if names:
        found[NONFINITE] = predict(model, rows)
    probes["handles_nonfinite"] = bool(names) and handles_nonfinite(model, rows)
    for key, part in (parts or {}).items():
        if key == "encoded":
            few = {name: value[:SMALL_RUN] for name, value in samples.inputs.items()}
            _, pictures = picture_files(few["image"])
            found[key] = predict(model, {**few, "image": pictures})
        elif key not in WHOLE:
            names = [tensor.name for tensor in part.inputs]
            given = {name: tf.constant(samples.inputs[name][:SMALL_RUN]) for name in names}
            found[key] = {name: value.numpy() for name, value in part.function(given).items()}
    return found, refused, probes


def _dtype(value):
    return "string" if value.dtype.kind in "SO" else value.dtype.name


def in_half_precision(model: keras.Model) -> bool:
    """Whether any layer computes in float16 or bfloat16."""
    return any(layer.compute_dtype in HALF for layer in model._flatten_layers())


def predict(model: keras.Model, inputs: dict, batch_size: int = 64) -> dict:
    """The Keras model's answers by name, on this machine."""
    function = trace(model, inputs)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {n: tf.constant(v[start : start + batch_size]) for n, v in inputs.items()}
        parts.append({name: value.numpy() for name, value in function(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
