"""One sample of a user's own through an artifact, in its own runtime."""

import numpy as np

from mmzoo.export.manifest import (
    FIXED,
    PATHS,
    STRINGS,
    Tensor,
    changed_files,
    load_bundle,
    reader_of,
    scores_output,
)
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.files import sha256


def predict_sample(path, format: str, values: dict, *, top: int = 5) -> list[dict]:
    """Classifies one sample.

    Args:
        path: A bundle, or the folder of a run.
        format: "saved_model", "tflite", "onnx", or a variant that the bundle has.
        values: One entry for each input of the model: `image`, a picture's path; `text`, a
            string; `audio`, a recording's path. A picture is fitted into the size that the
            model was proven on, on white; a recording becomes 16 kHz mono. Whatever the model
            takes the presence of may be left out, but not all of it.
        top: How many classes to return.

    Returns:
        List of `{"class": name, "score": float}`, the best first.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, format or file, or if an
            input is missing or unknown.
        RuntimeFailure: If the runtime refuses the artifact.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    if format not in manifest["formats"]:
        raise ValueError(
            f"Expected one of the bundle's formats {sorted(manifest['formats'])}. "
            f"Received: {format!r}."
            + f" Export the model with --formats {format}."
            * (format in PATHS)
        )
    certificate = bundle.certificate
    if certificate["holds"] is not True or certificate["manifest_sha256"] != sha256(
        bundle.path / "manifest.json"
    ):
        raise ValueError(
            f"Expected a bundle whose certificate holds for its manifest. Received: {bundle.path}. "
            "`mmzoo verify` says what is wrong."
        )
    tensors = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    _check_values(tensors, values)
    output = scores_output(manifest)
    if output is None:
        raise ValueError(
            "Expected one output with a score a class, or one called 'probability'. Received: "
            f"{manifest['outputs']}. Export the model with its class names (--classes FILE)."
        )
    strings = format in STRINGS
    tokenized = any(tensor.tokens_of for tensor in tensors) and not strings
    if tokenized and "saved_model" not in manifest["formats"]:
        raise ValueError(
            "Expected a bundle with a SavedModel, whose signature `tokenize` makes token ids of "
            f"texts. Received: {sorted(manifest['formats'])}. Export with saved_model too."
        )
    for name in {format, "saved_model"} if tokenized else {format}:
        changed = changed_files(bundle.path, manifest, name)
        if changed:
            raise ValueError(f"Expected the files that were proven. Changed: {'; '.join(changed)}.")
    inputs = {}
    for tensor in tensors:
        if tensor.presence_of:
            inputs[tensor.name] = np.array([tensor.presence_of in values])
        elif tensor.is_text and strings:
            source = tensor.tokens_of or tensor.name
            inputs[source] = np.array([values.get(source, "").encode()], "S")
        elif tensor.name in values and not tensor.tokens_of:
            inputs[tensor.name] = _read(tensor.name, values[tensor.name], manifest)[None]
        elif not tensor.tokens_of:  # absent: whatever is there is not felt
            shape = manifest["samples"]["shapes"][tensor.name]
            inputs[tensor.name] = np.zeros((1, *shape), tensor.dtype)
    if tokenized:
        texts = {
            t.tokens_of: np.array([values.get(t.tokens_of, "").encode()], "S")
            for t in tensors
            if t.tokens_of
        }
        saved = bundle.path / manifest["formats"]["saved_model"]["path"]
        run = run_artifact("saved_model", saved, texts, [(1, 1)], signature="tokenize")
        inputs |= run.outputs[0]
    if format == FIXED:
        inputs = {n: _to_size(v, manifest["samples"]["shapes"][n]) for n, v in inputs.items()}
    artifact = bundle.path / manifest["formats"][format]["path"]
    scores = run_artifact(reader_of(format), artifact, inputs, [(1, 1)]).outputs[0][output][0]
    if not np.isfinite(scores).all():
        raise ValueError(f"Expected finite scores. {format} answered NaN in {output!r}.")
    classes = manifest["classes"] or [str(k) for k in range(len(scores))]
    best = np.argsort(-scores, kind="stable")[:top]
    return [{"class": classes[k], "score": float(scores[k])} for k in best]


def _to_size(value, shape):
    """One sample padded with zeros to a shape."""
    if any(have > size for have, size in zip(value.shape[1:], shape, strict=True)):
        raise ValueError(
            f"Expected a sample of at most the size {tuple(shape)}, which {FIXED} is made for. "
            f"Received: {value.shape[1:]}. Use --format tflite, which takes any."
        )
    pairs = zip(value.shape[1:], shape, strict=True)
    return np.pad(value, [(0, 0), *((0, size - have) for have, size in pairs)])


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
    if not values:
        raise ValueError(
            f"Expected at least one of {', '.join(names)}. Received: nothing, of which the model "
            "knows no more than how frequent each class is."
        )


def _read(name, value, manifest):
    from mmzoo.data import encode_text, read_audio, read_image

    if name == "image":
        return read_image(value, size=tuple(manifest["samples"]["shapes"]["image"][:2]))
    if name == "audio":
        return read_audio(value, sample_rate=manifest["audio"]["sample_rate"])
    if name == "text":
        return encode_text([value])[0]
    raise ValueError(f"Expected inputs named image, text or audio. Received: {name!r}.")
