"""One record of a user's own through an artifact, in its own runtime."""

import numpy as np

from mmzoo.export.bundle.formats import FIXED, STRINGS, reader_of
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.export.inference.sample_inputs import (
    check_artifact,
    check_tokenizer,
    stack_inputs,
    stack_texts,
    to_size,
)
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.tasks import Task, Tensor


def predict_sample(path, format: str, values: dict, *, top: int = 5, public_key=None) -> dict:
    """Asks an artifact for its answers to one record.

    Args:
        path: A bundle, or the folder of a run.
        format: "saved_model", "tflite", "onnx", or a variant that the bundle has.
        values: Dict of feature name to a cell, as the kind of the feature reads it: an image's or
            a recording's path, a string, a number. Features whose presence the model takes may be
            left out, but not all of them.
        top: How many classes to return; of fewer, all.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Returns:
        Dict of each of the task's answers by name to what `Answer.read` makes of it: of scores a
        list of `{"class": name, "score": float}`, the best first.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, format or file, if a feature is
            missing, unknown, or empty, or `top < 1`.
        RuntimeFailure: If the runtime refuses the artifact.
    """
    if top < 1:
        raise ValueError(f"`top` must be a positive int. Received: top={top}.")
    bundle = open_bundle(path, public_key)
    manifest = bundle.manifest
    task = Task.from_json(manifest["task"])
    artifact = check_artifact(bundle, format)
    _check_values(task, [Tensor.from_json(tensor) for tensor in manifest["inputs"]], values)
    shapes = manifest["samples"]["shapes"]
    tensors = [
        Tensor.from_json(tensor)
        for tensor in manifest["formats"][format]["signatures"]["portable"]["inputs"]
    ]
    samples = [{name: task.feature(name).read(value) for name, value in values.items()}]
    inputs = stack_inputs(task.features, tensors, samples, shapes)
    if format not in STRINGS and any(tensor.tokens_of for tensor in tensors):
        tokenizer, texts = check_tokenizer(bundle), stack_texts(tensors, samples)
        run = run_artifact("saved_model", tokenizer, texts, [(1, 1)], signature="tokenize")
        inputs |= {t.name: run.outputs[0][t.name] for t in tensors if t.tokens_of}
    if format == FIXED:
        inputs = to_size(task.features, inputs, shapes)
    made = run_artifact(reader_of(format), artifact, inputs, [(1, 1)]).outputs[0]
    for name, value in made.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"Expected finite answers. {format} answered NaN in {name!r}.")
    return {answer.name: answer.read(made[answer.name][0], top) for answer in task.answers}


def _check_values(task, tensors, values):
    """Raises ValueError unless a model can answer with these values."""
    optional = {tensor.presence_of for tensor in tensors if tensor.presence_of}
    names = [feature.name for feature in task.features]
    missing, unknown = set(names) - set(values) - optional, set(values) - set(names)
    if missing or unknown:
        raise ValueError(
            f"Expected a value for each of the model's inputs: {', '.join(names)}. "
            + (f"Missing: {', '.join(sorted(missing))}; this model can't do without. "
               * bool(missing))
            + (f"Unknown: {', '.join(sorted(unknown))}. " * bool(unknown))
        )  # fmt: skip
    for feature in task.features:
        text = values.get(feature.name)
        if feature.kind == "text" and text is not None and not str(text).strip():
            raise ValueError(
                "Expected a text. Received an empty one. "
                + ("Leave it out: the model can do without." if feature.name in optional
                   else "Write one.")
            )  # fmt: skip
    if not values:
        raise ValueError(
            f"Expected at least one of {', '.join(names)}. Received: nothing, of which the model "
            "knows no more than how frequent each class is."
        )
