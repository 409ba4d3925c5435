"""A bundle: the artifacts of one model, their manifest and their certificate."""

import dataclasses
import datetime
import hashlib
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf

from mmzoo._version import __version__
from mmzoo.export.certificate import certify
from mmzoo.export.parity import ParityError
from mmzoo.export.samples import (
    CONCEPTS_TEST,
    Samples,
    concept_samples,
    default_samples,
    load_samples,
)
from mmzoo.export.signature import beside, call, describe, load_model
from mmzoo.export.to_onnx import to_onnx
from mmzoo.export.to_saved_model import to_saved_model
from mmzoo.export.to_tflite import to_tflite

PATHS = {
    "saved_model": "saved_model/1",
    "tflite": "tflite/model.tflite",
    "onnx": "onnx/model.onnx",
}
FORMATS = tuple(PATHS)
_EXPORTERS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder, manifest and certificate, as read."""

    path: Path
    manifest: dict
    certificate: dict


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
        path: Folder of the bundle. An old bundle there is replaced in one rename, once the
            new one holds, and is left as it was otherwise.
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
    if path.exists() and not (path / "manifest.json").is_file() and any(path.iterdir()):
        raise ValueError(
            f"Expected a new folder or an old bundle to replace. Received: {path}, which holds "
            "other files. Name another folder."
        )
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
        _write_json(place / "manifest.json", manifest)
        certificate = _stamp(certify(place, manifest, samples, reference))
        _raise_on_breach(certificate)
        _write_json(place / "certificate.json", certificate)
    return Bundle(path, manifest, certificate)


def predict(model, inputs: dict, batch_size: int = 64) -> dict:
    """The Keras model's answers by name, in float32 on this machine."""
    function = tf.function(lambda values: call(model, values), reduce_retracing=True)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {n: tf.constant(v[start : start + batch_size]) for n, v in inputs.items()}
        parts.append({name: value.numpy() for name, value in function(batch).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load_bundle(path) -> Bundle:
    """Reads the manifest and certificate of a bundle, or of a run that holds one.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If its manifest or certificate is not what we wrote.
    """
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / "manifest.json").is_file():
            break
    else:
        raise FileNotFoundError(
            f"Expected a bundle: a folder with manifest.json, or with bundle/. Received: {path}."
        )
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        certificate = json.loads((folder / "certificate.json").read_text())
        for entry in manifest["formats"].values():
            for name in (entry["path"], *entry["files"]):
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"the path {name!r} leads out of the bundle")
        _ = manifest["inputs"], manifest["outputs"], manifest["samples"]["source"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected a bundle that mmzoo wrote. Received: {folder}, which can't be read: "
            f"{type(error).__name__}: {error}. Export the model again."
        ) from error
    return Bundle(folder, manifest, certificate)


def verify_bundle(path) -> Bundle:
    """Re-runs every check on an existing bundle: checksums, names, values, metric.

    Returns:
        The `Bundle` with the new certificate (the one on disk stays as it is).

    Raises:
        FileNotFoundError, ValueError: As `load_bundle`.
        ParityError: If a check fails, with the worst output.
    """
    bundle = load_bundle(path)
    manifest, folder = bundle.manifest, bundle.path
    changed = {name: _changed_files(folder, e) for name, e in manifest["formats"].items()}
    samples = _stored_samples(folder, manifest)
    try:
        with np.load(folder / "reference.npz", allow_pickle=False) as archive:
            reference = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"Expected the reference answers. {folder}: {error}") from error
    certificate = certify(folder, manifest, samples, reference)
    for name, breaches in changed.items():
        entry = certificate["formats"][name]
        entry["breaches"] += breaches
        entry["holds"] = not entry["breaches"]
    if _sha256(folder / "reference.npz") != manifest["reference_sha256"]:
        certificate["breaches"] = ["reference.npz is not the one that was exported"]
    certificate["holds"] = not certificate.get("breaches") and all(
        entry["holds"] for entry in certificate["formats"].values()
    )
    certificate = _stamp(certificate)
    _raise_on_breach(certificate)
    return dataclasses.replace(bundle, certificate=certificate)


def _stored_samples(folder, manifest):
    stored = manifest["samples"]
    if stored["source"] == CONCEPTS_TEST:
        samples = concept_samples()
    else:
        samples = load_samples(folder / "samples.npz")
    samples = samples.select([tensor["name"] for tensor in manifest["inputs"]])
    if samples.sha256() != stored["sha256"]:
        raise ValueError(
            f"Expected the samples {stored['source']!r} of SHA-256 {stored['sha256']}. "
            f"Received: {samples.sha256()}. The bundle was made with other samples, "
            f"by mmzoo {manifest.get('mmzoo')}; this is {__version__}."
        )
    return samples


def _manifest(place, model, inputs, outputs, formats, samples, classes):
    signature = {
        "inputs": [tensor.to_json() for tensor in inputs],
        "outputs": [tensor.to_json() for tensor in outputs],
    }
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
            "files": {str(file.relative_to(place)): _sha256(file) for file in files},
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
            "source": samples.source, "count": len(samples), "sha256": samples.sha256(),
        },
        "reference_sha256": _sha256(place / "reference.npz"),
    }  # fmt: skip


def _changed_files(folder, entry):
    breaches = []
    for name, expected in entry["files"].items():
        actual = _sha256(folder / name) if (folder / name).is_file() else "no file"
        if actual != expected:
            breaches.append(f"{name}: expected SHA-256 {expected[:12]}…, found {actual[:12]}…")
    return breaches


def _stamp(certificate):
    packages = ("tensorflow", "keras", "ai-edge-litert", "onnxruntime", "onnx", "tf2onnx")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = {"mmzoo": __version__, **{name: metadata.version(name) for name in packages}}
    return {"holds": certificate["holds"], "time": now, "versions": versions, **certificate}


def _raise_on_breach(certificate):
    if certificate["holds"]:
        return
    breaches = [f"{b}" for b in certificate.get("breaches", [])]
    for name, entry in certificate["formats"].items():
        breaches += [f"{name}: {breach}" for breach in entry["breaches"]]
    checks = [
        (name, check)
        for name, entry in certificate["formats"].items()
        for check in entry["checks"]
        if not check["holds"]
    ]
    worst = ""
    if checks:
        # NaN is worse than any number.
        name, check = max(checks, key=lambda c: (np.isnan(c[1]["max_abs"]), c[1]["max_abs"]))
        worst = (
            f" Worst: {name}, output {check['output']!r}, batch {check['batch']}, "
            f"largest difference {check['max_abs']:.3g}."
        )
    raise ParityError(
        f"Expected every artifact to give the Keras model's answers.{worst} "
        f"Breaches: {'; '.join(breaches)}.",
        certificate,
    )


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")
