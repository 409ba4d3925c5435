"""One sample of a user's own through an artifact, in its own runtime."""

import numpy as np

from mmzoo.export.bundle.formats import FIXED, STRINGS, reader_of
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.export.bundle.tensors import Tensor, scores_output
from mmzoo.export.inference.image_fit import fit_of
from mmzoo.export.inference.sample_inputs import (
    check_artifact,
    check_tokenizer,
    read_value,
    stack_inputs,
    stack_texts,
    to_size,
)
from mmzoo.export.runtimes.process import run_artifact


def predict_sample(path, format: str, values: dict, *, top: int = 5, public_key=None) -> list[dict]:
    """Classifies one sample.

    Args:
        path: A bundle, or the folder of a run.
        format: "saved_model", "tflite", "onnx", or a variant that the bundle has.
        values: One entry for each input of the model: `image`, a picture's path; `text`, a
            string; `audio`, a recording's path. A picture is brought to size as the manifest's
            `image_fit` says; a recording becomes 16 kHz mono. Whatever the model takes the
            presence of may be left out, but not all of it.
        top: How many classes to return; of fewer, all.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Returns:
        List of `{"class": name, "score": float}`, the best first.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, format or file, if an input is
            missing, unknown, or empty, or `top < 1`.
        RuntimeFailure: If the runtime refuses the artifact.
    """
    if top < 1:
        raise ValueError(f"`top` must be a positive int. Received: top={top}.")
    bundle = open_bundle(path, public_key)
    manifest = bundle.manifest
    artifact = check_artifact(bundle, format)
    _check_values([Tensor.from_json(tensor) for tensor in manifest["inputs"]], values)
    output = scores_output(manifest)
    if output is None:
        raise ValueError(
            "Expected one output with a score a class, or one called 'probability'. Received: "
            f"{manifest['outputs']}. Export the model with its class names (--classes FILE)."
        )
    shapes = manifest["samples"]["shapes"]
    tensors = [
        Tensor.from_json(tensor)
        for tensor in manifest["formats"][format]["signatures"]["portable"]["inputs"]
    ]
    rate = manifest["audio"]["sample_rate"]
    fit = fit_of(manifest)
    samples = [{name: read_value(name, value, fit, rate) for name, value in values.items()}]
    inputs = stack_inputs(tensors, samples, shapes)
    if format not in STRINGS and any(tensor.tokens_of for tensor in tensors):
        tokenizer, texts = check_tokenizer(bundle), stack_texts(tensors, samples)
        run = run_artifact("saved_model", tokenizer, texts, [(1, 1)], signature="tokenize")
        inputs |= {t.name: run.outputs[0][t.name] for t in tensors if t.tokens_of}
    if format == FIXED:
        inputs = to_size(inputs, shapes)
    scores = run_artifact(reader_of(format), artifact, inputs, [(1, 1)]).outputs[0][output][0]
    if not np.isfinite(scores).all():
        raise ValueError(f"Expected finite scores. {format} answered NaN in {output!r}.")
    classes = manifest["classes"] or [str(k) for k in range(len(scores))]
    best = np.argsort(-scores, kind="stable")[:top]
    return [{"class": classes[k], "score": float(scores[k])} for k in best]


def _check_values(tensors, values):
    """Raises ValueError unless a model can answer with these values."""
    optional = {tensor.presence_of for tensor in tensors if tensor.presence_of}
    names = dict.fromkeys(t.tokens_of or t.name for t in tensors if not t.presence_of)
    missing, unknown = set(names) - set(values) - optional, set(values) - set(names)
    if missing or unknown:
        raise ValueError(
            f"Expected a value for each of the model's inputs: {', '.join(names)}. "
            + (f"Missing: {', '.join(sorted(missing))}; this model can't do without. "
               * bool(missing))
            + (f"Unknown: {', '.join(sorted(unknown))}. " * bool(unknown))
        )  # fmt: skip
    text = values.get("text")
    if text is not None and not str(text).strip():
        raise ValueError(
            "Expected a text. Received an empty one. "
            + ("Leave it out: the model can do without." if "text" in optional else "Write one.")
        )
    if not values:
        raise ValueError(
            f"Expected at least one of {', '.join(names)}. Received: nothing, of which the model "
            "knows no more than how frequent each class is."
        )
