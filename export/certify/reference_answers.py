"""The Keras model's own answers, which every artifact is compared with."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from mmzoo.compat.functional import all_layers
from mmzoo.export.certify.check_plan import SMALL_RUN
from mmzoo.export.certify.comparison import TOLERANCE
from mmzoo.export.certify.edge_cases.image_files import picture_files
from mmzoo.export.certify.edge_cases.nonfinite import NONFINITE, draw_nonfinite, handles_nonfinite
from mmzoo.export.certify.edge_cases.other_sizes import other_sizes
from mmzoo.export.certify.edge_cases.probe_answers import answer_probes
from mmzoo.export.certify.edge_cases.size_answers import Refused, answer_at
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.certify.preconditions import check_finite, check_model
from mmzoo.export.certify.signature_checks import WHOLE
from mmzoo.export.convert.dtypes import check_dtypes
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.encoders import HALF
from mmzoo.export.surgery.model_description import describe, keras_reason
from mmzoo.export.surgery.traces import share_traces, trace
from mmzoo.tasks.features import Image


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
        Dict of "samples", each of `other_sizes`, "probes" and, where the model takes
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
        if key == "serving_bytes":
            few = {name: value[:SMALL_RUN] for name, value in samples.inputs.items()}
            images = [tensor.name for tensor in inputs if tensor.kind == Image.kind]
            decoded = {name: picture_files(few[name])[1] for name in images}
            found[key] = predict(model, few | decoded)
        elif key not in WHOLE:
            names = [tensor.name for tensor in part.inputs]
            given = {name: tf.constant(samples.inputs[name][:SMALL_RUN]) for name in names}
            found[key] = {name: value.numpy() for name, value in part.function(given).items()}
    return found, refused, probes


def _dtype(value):
    return "string" if value.dtype.kind in "SO" else value.dtype.name


def in_half_precision(model: keras.Model) -> bool:
    """Whether any layer computes in float16 or bfloat16."""
    return any(layer.compute_dtype in HALF for layer in all_layers(model))


def predict(model: keras.Model, inputs: dict, batch_size: int = 64) -> dict:
    """The Keras model's answers by name, on this machine."""
    function = trace(model, inputs)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {n: tf.constant(v[start : start + batch_size]) for n, v in inputs.items()}
        parts.append({name: value.numpy() for name, value in function(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
