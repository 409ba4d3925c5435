"""The certificate: every format, signature, batch, size and output against Keras."""

import dataclasses
import datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from mmzoo._version import __version__
from mmzoo.export.bundle.formats import (
    FIXED,
    PARTS,
    PATHS,
    QUANTIZED,
    STRINGS,
    reader_of,
    runtime_of,
)
from mmzoo.export.certify.check_plan import PROBES, for_signature, name_breaches, plan_checks
from mmzoo.export.certify.comparison import TOLERANCE, ParityError, compare
from mmzoo.export.certify.edge_cases.nonfinite import NONFINITE, draw_nonfinite, judge_nonfinite
from mmzoo.export.certify.first_divergence import first_wrong
from mmzoo.export.certify.metric_checks import paired_metric
from mmzoo.export.certify.quantization_limits import limit_breaches
from mmzoo.export.certify.second_runtimes import check_second_readers
from mmzoo.export.certify.signature_checks import check_parts
from mmzoo.export.runtimes.kept_process import keep_processes
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks import Task
from mmzoo.tasks.tensors import Tensor

RUNTIMES = {
    "saved_model": ("TensorFlow C API", "tensorflow"),
    "tflite": ("ai-edge-litert", "ai-edge-litert"),
    "onnx": ("onnxruntime", "onnxruntime"),
}


def certify(bundle: Path, manifest: dict, samples: Samples, reference: dict) -> dict:
    """Runs every artifact of a bundle in its own runtime, in a fresh process each.

    Args:
        bundle: Folder that the manifest's paths are relative to.
        manifest: See `export_bundle`.
        samples: Real samples.
        reference: The Keras model's answers: dict of "samples", and of each key of
            `other_sizes` that it runs, "probes", and "subsets" where the model takes
            presence, to a dict of output name to array.

    Returns:
        The certificate: `holds`, `tolerance`, `samples`, `not_run` (sizes that Keras itself
        does not run, and why), `probes` (see `answer_probes`), and `formats`, each with `holds`,
        `runtime`, `checks`, `latency_ms`, `metric`, `subsets` (the metric of each subset of
        modalities), `second_readers`, `limits` (differences at sizes far above the samples',
        stated), `nonfinite` (where NaN or infinity in an input is lost) and `breaches`. It is
        returned whether it holds or not.
    """
    formats = {
        name: _certify_format(bundle, name, entry, manifest, samples, reference)
        for name, entry in manifest["formats"].items()
    }
    packages = (
        "tensorflow",
        "tensorflow-text",
        "keras",
        "ai-edge-litert",
        "onnxruntime",
        "onnxruntime-extensions",
        "onnx",
        "tf2onnx",
    )
    return {
        "holds": bool(formats) and all(entry["holds"] for entry in formats.values()),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"mmzoo": __version__, **{name: _version(name) for name in packages}},
        "tolerance": manifest.get("tolerance", TOLERANCE),
        "samples": samples.describe(),
        "not_run": manifest["refused_sizes"],
        "probes": manifest["probes"],
        "formats": formats,
    }


def _certify_format(bundle, name, entry, manifest, samples, reference):
    artifact = bundle / entry["path"]
    task = Task.from_json(manifest["task"])
    result = _nothing_yet(name, artifact)
    inputs = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    stated = manifest.get("tolerance", TOLERANCE)
    wanted = 0
    parts = {key: t for key, t in entry["signatures"].items() if PARTS.fullmatch(key)}
    with keep_processes():  # one for all signatures of this artifact
        if name == "saved_model" and samples.texts:
            result["breaches"] += _tokenize_breaches(artifact, inputs, samples)
        for signature, tensors in entry["signatures"].items():
            if signature not in parts:
                wanted += _certify_signature(
                    result, name, artifact, signature, tensors, manifest, task, samples, reference
                )
        if parts:
            checks, breaches, count = check_parts(
                artifact, parts, samples, inputs, reference, stated
            )
            result["checks"] += checks
            result["breaches"] += breaches
            wanted += count
    # Of quantised files each runtime rounds otherwise; strings no second one reads.
    if name not in QUANTIZED and name not in STRINGS:
        result["second_readers"] = check_second_readers(
            runtime_of(name), artifact, samples, inputs, reference, stated,
            name == FIXED, manifest["half_precision"], task, manifest["probes"],
        )  # fmt: skip
        for reader in result["second_readers"]:
            result["breaches"] += reader.get("breaches", [])
    if name in QUANTIZED and not result["breaches"]:
        # Of probe rows a quantised file must give finite answers: they are outside its ranges.
        judged = [check for check in result["checks"] if PROBES not in check["sizes"]]
        lost = limit_breaches({**result, "checks": judged}, entry["metric_limit"])
        base = bundle / PATHS[runtime_of(name)]
        if lost and base.exists():
            lost.insert(0, first_wrong(base, artifact, samples))
        result["breaches"] += lost
    if not wanted or len(result["checks"]) != wanted:
        result["breaches"].append(f"{len(result['checks'])} of {wanted} checks were made")
    result["holds"] = not result["breaches"]
    return result


def _nothing_yet(name, artifact):
    runtime, package = RUNTIMES[runtime_of(name)]
    return {
        "holds": False,
        "runtime": f"{runtime} {_version(package)}"
        + (f", {STRINGS[name]} {_version(STRINGS[name])}" if name in STRINGS else ""),
        "bytes": size_of(artifact),
        "checks": [],
        "latency_ms": {},  # these five are of the last signature, `portable`
        "metric": None,
        "subsets": {},
        "second_readers": [],
        "limits": [],
        "nonfinite": [],
        "breaches": [],
    }


def _certify_signature(
    result, name, artifact, signature, tensors, manifest, task, samples, reference
):
    """Runs one signature and puts what came out into the result; returns the checks there are."""
    inputs = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    strings = any(t["dtype"] == "string" and t["name"] in samples.texts for t in tensors["inputs"])
    plan, further, lines = plan_checks(
        samples, inputs, reference, strings, name == FIXED, manifest["refused_sizes"],
        manifest["probes"],
    )  # fmt: skip
    wanted = len(lines) * len(manifest["outputs"])
    given = samples.inputs | (samples.texts if strings else {})
    names: list[str] = []
    if signature == "portable" and name != FIXED and name not in STRINGS:
        names, rows = draw_nonfinite(samples, inputs)
    if names and NONFINITE not in reference:
        raise ValueError(
            "Expected reference answers to rows with NaN and infinity. Received none. Export the "
            "model again."
        )
    if names:
        further.append((rows, len(names)))
    try:
        run = run_artifact(
            reader_of(name), artifact, for_signature(given, tensors["inputs"]), plan,
            signature=signature,
            further=[(for_signature(more, tensors["inputs"]), batch) for more, batch in further],
        )  # fmt: skip
    except RuntimeFailure as error:
        result["breaches"].append(f"{signature}: {error}")
        return wanted
    result["breaches"] += name_breaches(signature, tensors, run.report)
    result["load_seconds"] = run.report["load_seconds"]
    result["peak_mib"] = run.report["peak_mib"]
    result["latency_ms"] = {
        str(line["batch"]): line["median_ms"] for line in run.report["runs"][: len(plan)]
    }
    tolerance = None if name in QUANTIZED else manifest.get("tolerance", TOLERANCE)
    if names and not result["breaches"]:
        breaches, result["nonfinite"] = judge_nonfinite(
            names, run.outputs[-1], reference[NONFINITE], tolerance,
            manifest["probes"]["handles_nonfinite"],
        )  # fmt: skip
        result["breaches"] += [f"{signature}, {breach}" for breach in breaches]
    outputs = [tensor["name"] for tensor in manifest["outputs"]]
    for line in lines:
        made = run.outputs[line.run]
        there = [output for output in outputs if output in made]  # others are named as breaches
        picked = {output: line.pick(made[output], reference, output) for output in there}
        metric = None
        if all(actual.shape == expected.shape for actual, expected in picked.values()):
            actual, expected = ({o: pair[k] for o, pair in picked.items()} for k in (0, 1))
            metric = paired_metric(
                actual, expected, line, samples, task, manifest.get("tolerance", TOLERANCE)
            )
        for output, (one, other) in picked.items():
            allowed = None if line.large else tolerance
            difference = compare(
                one, other, allowed, task.answer(output), line.usual(reference, output)
            )
            if tolerance is not None and not difference.scale_relative <= tolerance:
                result["limits"] += _limits(output, line, difference)
            result["checks"].append({
                "signature": signature, "batch": line.batch, "output": output,
                "sizes": line.name, "samples": len(line.rows), "holds": difference.holds,
                **dataclasses.asdict(difference), "breaches": list(difference.breaches),
                "metric": metric if metric and metric["output"] == output else None,
                "tolerance": allowed,
            })  # fmt: skip
            result["breaches"] += [
                f"{signature}, batch {line.batch}, output {output!r}, {line.name}: {breach}"
                for breach in difference.breaches
            ]
        if metric and line.reference == "samples":
            result["metric"] = metric
        elif metric and line.name != "subsets":
            result["subsets"][line.name] = metric
    return wanted


def _limits(output, line, difference):
    """What a float32 artifact answers otherwise at a size that no sample comes near, in words."""
    if not line.large or not difference.holds or line.by_row:
        return []
    return [
        f"{line.name}, output {output!r}: off by {difference.scale_relative:.1e} of the scale; "
        "float32 does not carry a sum over so many values"
    ]


def _tokenize_breaches(path, tensors, samples):
    """Runs the signature `tokenize` on every text; its ids must be equal."""
    texts, count = samples.strings(), len(samples)
    try:
        run = run_artifact("saved_model", path, texts, [(count, count)], signature="tokenize")
    except RuntimeFailure as error:
        return [f"tokenize: {error}"]
    made = run.outputs[0]
    return [
        f"tokenize: other token ids {tensor.name!r} than the Keras model's tokenizer"
        for tensor in tensors
        if tensor.tokens_of
        and not np.array_equal(made.get(tensor.name), samples.inputs[tensor.name])
    ]


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def size_of(path):
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def raise_on_breach(certificate: dict) -> None:
    """Raises `ParityError` with the worst output, unless the certificate holds."""
    if certificate["holds"]:
        return
    breaches = list(certificate.get("breaches", []))
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
    shown = "; ".join(breaches[:8]) + (f"; and {len(breaches) - 8} more" * (len(breaches) > 8))
    raise ParityError(
        f"Expected every artifact to give the Keras model's answers.{worst} Breaches: {shown}.",
        certificate,
    )
