"""A bundle: the artifacts of one model, their manifest and their certificate."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from mmzoo._version import __version__
from mmzoo.export.certificate import certify, raise_on_breach
from mmzoo.export.manifest import (
    FORMATS,
    PATHS,
    Bundle,
    beside,
    check_replaceable,
    sha256,
    write_json,
)
from mmzoo.export.samples import CONCEPTS_TEST, Samples, default_samples
from mmzoo.export.signature import call, describe, load_model
from mmzoo.export.to_onnx import to_onnx
from mmzoo.export.to_saved_model import to_saved_model
from mmzoo.export.to_tflite import to_tflite

_EXPORTERS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}


def export_bundle(
    model,
    path,
    *,
    formats=FORMATS,
    samples: Samples | None = None,
    classes: list[str] | None = None,
) -> Bundle:
    """Exports a model to every format, proves each, and only then puts it in place.

    Args:
        model: Functional Keras model, or the path of a `.keras` file.
        path: Folder of the bundle. An old bundle there is replaced once the new one holds,
            and is left as it was otherwise.
        formats: Any of "saved_model", "tflite", "onnx".
        samples: Real samples. None: the Concept-128 test samples.
        classes: Optional class names, in the order of the scores.

    Returns:
        The `Bundle`.

    Raises:
        ValueError: If a format is unknown, `path` is a folder of something else, or a
            format can't carry the model.
        ParityError: If an artifact's answers differ; nothing is left at `path`.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ValueError(f"`formats` must be some of {FORMATS}. Received: {tuple(formats)}.")
    path = Path(path)
    check_replaceable(path)
    model = load_model(model)
    inputs, outputs = describe(model)
    samples = default_samples(inputs) if samples is None else samples
    samples = samples.select([tensor.name for tensor in inputs])
    reference = predict(model, samples.inputs)
    with beside(path) as place:
        place.mkdir()
        for name in formats:
            (place / PATHS[name]).parent.mkdir()
            _EXPORTERS[name](model, place / PATHS[name])
        if samples.source != CONCEPTS_TEST:
            samples.save(place / "samples.npz")
        np.savez_compressed(place / "reference.npz", **reference)
        manifest = _manifest(place, model, inputs, outputs, formats, samples, classes)
        write_json(place / "manifest.json", manifest)
        certificate = certify(place, manifest, samples, reference)
        raise_on_breach(certificate)
        write_json(place / "certificate.json", certificate)
    return Bundle(path, manifest, certificate)


def predict(model, inputs: dict, batch_size: int = 64) -> dict:
    """The Keras model's answers by name, in float32 on this machine."""
    function = tf.function(lambda values: call(model, values), reduce_retracing=True)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {n: tf.constant(v[start : start + batch_size]) for n, v in inputs.items()}
        parts.append({name: value.numpy() for name, value in function(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _manifest(place, model, inputs, outputs, formats, samples, classes):
    signature = {
        "inputs": [tensor.to_json() for tensor in inputs],
        "outputs": [tensor.to_json() for tensor in outputs],
    }  # in the model's order; every format binds by name
    strings = {
        **signature,
        "inputs": [
            {"name": tensor.name, "dtype": "string", "shape": [None]}
            if tensor.is_text
            else tensor.to_json()
            for tensor in inputs
        ],
    }
    entries = {}
    for name in formats:
        top = place / PATHS[name].split("/")[0]
        files = [file for file in sorted(top.rglob("*")) if file.is_file()]
        entries[name] = {
            "path": PATHS[name],
            "signatures": {"portable": signature},
            "files": {str(file.relative_to(place)): sha256(file) for file in files},
        }
        if name == "saved_model":
            entries[name]["signatures"] = {"serving_default": strings, "portable": signature}
    return {
        "mmzoo": __version__,
        "model": model.name,
        **signature,
        "classes": classes,
        "text": "UTF-8 bytes, zero padded",
        "audio": {"sample_rate": 16_000, "channels": 1, "range": [-1, 1]},
        "formats": entries,
        "samples": {
            "source": samples.source,
            "count": len(samples),
            "sha256": samples.sha256(),
            "shapes": {name: list(value.shape[1:]) for name, value in samples.inputs.items()},
        },
        "reference_sha256": sha256(place / "reference.npz"),
    }
