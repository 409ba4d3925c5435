"""The certificate: every format, signature, batch and output against the Keras model."""

import dataclasses
import datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from mmzoo._version import __version__
from mmzoo.export.manifest import sha256
from mmzoo.export.parity import TOLERANCE, ParityError, accuracy, compare
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples import BATCHES, Samples

RUNTIME_PACKAGES = {"saved_model": "tensorflow", "tflite": "ai-edge-litert", "onnx": "onnxruntime"}
RUNTIME_NAMES = {
    "saved_model": "TensorFlow C API", "tflite": "ai-edge-litert", "onnx": "onnxruntime",
}  # fmt: skip
SMALL_RUN = 51  # samples for batches 1 and 3; the largest batch runs over all


def certify(bundle: Path, manifest: dict, samples: Samples, reference: dict) -> dict:
    """Runs every artifact of a bundle in its own runtime, in a fresh process each.

    Args:
        bundle: Folder that the manifest's paths are relative to.
        manifest: See `bundle.export_bundle`.
        samples: Real samples, at least 17.
        reference: Dict of output name to the Keras model's answers for all samples.

    Returns:
        The certificate: `holds`, `tolerance`, `samples`, and `formats`, each with `holds`,
        `runtime`, `checks`, `latency_ms`, `metric` and `breaches`. It is returned whether
        it holds or not.
    """
    formats = {
        name: _certify_format(bundle, name, entry, manifest, samples, reference)
        for name, entry in manifest["formats"].items()
    }
    packages = ("tensorflow", "keras", "ai-edge-litert", "onnxruntime", "onnx", "tf2onnx")
    return {
        "holds": all(entry["holds"] for entry in formats.values()),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"mmzoo": __version__, **{name: _version(name) for name in packages}},
        "tolerance": TOLERANCE,
        "samples": {"source": samples.source, "count": len(samples)},
        "formats": formats,
    }


def _certify_format(bundle, name, entry, manifest, samples, reference):
    plan = [(batch, min(SMALL_RUN, len(samples))) for batch in BATCHES[:-1]]
    plan.append((BATCHES[-1], len(samples)))
    result = {
        "holds": False,
        "runtime": f"{RUNTIME_NAMES[name]} {_version(RUNTIME_PACKAGES[name])}",
        "bytes": _size(bundle / entry["path"]),
        "checks": [],
        "latency_ms": {},
        "metric": None,
        "breaches": [],
    }
    for signature, tensors in entry["signatures"].items():
        inputs = _for_signature(samples.inputs, tensors["inputs"])
        try:
            run = run_artifact(name, bundle / entry["path"], inputs, plan, signature=signature)
        except RuntimeFailure as error:
            result["breaches"].append(f"{signature}: {error}")
            continue
        result["breaches"] += _name_breaches(signature, tensors, run.report)
        result["load_seconds"] = run.report["load_seconds"]
        result["peak_mib"] = run.report["peak_mib"]
        for (batch, count), outputs, timing in zip(
            plan, run.outputs, run.report["runs"], strict=True
        ):
            result["latency_ms"][str(batch)] = timing["median_ms"]
            for output, expected in reference.items():
                if output not in outputs:
                    continue  # named among the breaches
                difference = compare(outputs[output], expected[:count])
                check = dataclasses.asdict(difference)
                check["breaches"] = list(difference.breaches)
                result["checks"].append(
                    {"signature": signature, "batch": batch, "output": output,
                     "samples": count, "holds": difference.holds, **check}
                )  # fmt: skip
                result["breaches"] += [
                    f"{signature}, batch {batch}, output {output!r}: {breach}"
                    for breach in difference.breaches
                ]
        result["metric"] = _metric(run.outputs[-1], samples.labels, reference, manifest)
    result["holds"] = not result["breaches"]
    return result


def _for_signature(inputs, tensors):
    """Picks the inputs by name; text as strings where the signature takes strings."""
    values = {}
    for tensor in tensors:
        value = inputs[tensor["name"]]
        if tensor["dtype"] == "string":
            value = np.array([bytes(row).rstrip(b"\0") for row in value], "S")
        values[tensor["name"]] = value
    return values


def _name_breaches(signature, tensors, report):
    """What the runtime sees, against what the manifest promises: names, dtypes, shapes."""
    breaches = []
    for side in ("inputs", "outputs"):
        promised = {t["name"]: (t["dtype"], t["shape"]) for t in tensors[side]}
        found = {name: (t["dtype"], t["shape"]) for name, t in report[side].items()}
        for name in sorted(set(promised) | set(found)):
            if promised.get(name) != found.get(name):
                breaches.append(
                    f"{signature}: expected {side[:-1]} {name!r} as {promised.get(name)}, "
                    f"the runtime shows {found.get(name)}"
                )
    return breaches


def _metric(outputs, labels, reference, manifest):
    """Accuracy of the first output that holds a score a class, and its change."""
    if labels is None:
        return None
    for tensor in manifest["outputs"]:
        name = tensor["name"]
        if name in outputs and len(tensor["shape"]) == 2 and (tensor["shape"][1] or 0) > 1:
            keras, artifact = (accuracy(o[name], labels) for o in (reference, outputs))
            return {"name": "accuracy", "output": name, "keras": keras,
                    "artifact": artifact, "change": artifact - keras}  # fmt: skip
    return None


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _size(path):
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def changed_files(folder: Path, entry: dict) -> list[str]:
    """Files of one format that are not as the manifest's checksums say, in words."""
    breaches = []
    for name, expected in entry["files"].items():
        actual = sha256(folder / name) if (folder / name).is_file() else "no file"
        if actual != expected:
            breaches.append(f"{name}: expected SHA-256 {expected[:12]}…, found {actual[:12]}…")
    return breaches


def raise_on_breach(certificate: dict) -> None:
    """Raises `ParityError` with the worst output, unless the certificate holds."""
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
