"""Re-runs every check on a bundle. Needs no TensorFlow in its own process."""

import dataclasses

import numpy as np

from mmzoo._version import __version__
from mmzoo.export.bundle.checksums import changed_files, changed_sums
from mmzoo.export.bundle.formats import PARTS, PATHS, QUANTIZED
from mmzoo.export.bundle.manifest import Bundle
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.export.certify.certificate import certify, raise_on_breach
from mmzoo.export.certify.metric_checks import different_metrics
from mmzoo.export.samples.calibration import calibration_breaches
from mmzoo.export.samples.files import load_samples
from mmzoo.export.samples.samples import NPZ_ERRORS
from mmzoo.io.files import sha256
from mmzoo.tasks.tensors import Tensor


def verify_bundle(path, public_key=None, *, expect_name=None, expect_version=None) -> Bundle:
    """Re-runs every check on an existing bundle: checksums, names, values, metric.

    A SavedModel may hold operators that write files, so one whose files were changed is not
    run at all. TFLite and ONNX files are run, so that the output that differs is named.

    Args:
        path: The bundle, or a run's folder that holds one.
        public_key: Path of the public half of the key that must have signed it: then nothing of
            a bundle is read that it did not sign. None: a signature is not checked.
        expect_name: The model's name that the manifest must have. A signature alone does not
            tell one bundle of a key from another.
        expect_version: The version that the manifest must have.

    Returns:
        The `Bundle` with the new certificate (the one on disk stays as it is).

    Raises:
        FileNotFoundError, ValueError: As `load_bundle`.
        SignatureError: If the signature is missing, or does not fit the files and the key.
        ParityError: If a check fails, with the worst output.
    """
    bundle = open_bundle(path, public_key)
    manifest, folder = bundle.manifest, bundle.path
    found = {"name": manifest["name"], "version": manifest["version"]}
    for what, expected in (("name", expect_name), ("version", expect_version)):
        if expected is not None and found[what] != expected:
            raise ValueError(
                f"Expected a bundle of the {what} {expected!r}. Received: {folder}, of the {what} "
                f"{found[what]!r}. Nothing of it was run; get the bundle that you mean."
            )
    if not (folder / "reference.npz").is_file():
        raise ValueError(f"Expected the reference answers. Received: none in {folder}.")
    if sha256(folder / "reference.npz") != manifest["reference_sha256"]:
        breach = "reference.npz is not the one that was exported"
        raise_on_breach({"holds": False, "tolerance": manifest["tolerance"], "formats": {},
                         "breaches": [breach]})  # fmt: skip
    changed = {name: changed_files(folder, manifest, name) for name in manifest["formats"]}
    samples = stored_samples(folder, manifest)
    try:
        with np.load(folder / "reference.npz", allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except NPZ_ERRORS as error:
        raise ValueError(
            f"Expected the reference answers. Received: {folder / 'reference.npz'}, which can't "
            f"be read: {error}. Export the model again."
        ) from error
    reference: dict[str, dict] = {}
    for key, value in arrays.items():
        chosen, _, name = key.partition("/")
        reference.setdefault(chosen, {})[name] = value
    outputs = {tensor["name"] for tensor in manifest["outputs"]}
    whole = [values for key, values in reference.items() if not PARTS.fullmatch(key)]
    if "samples" not in reference or any(set(values) != outputs for values in whole):
        raise ValueError(f"Expected reference answers of {sorted(outputs)} in {folder}.")
    runnable = dict(manifest["formats"])
    if changed.get("saved_model"):
        del runnable["saved_model"]
    certificate = certify(folder, {**manifest, "formats": runnable}, samples, reference)
    for name, breaches in changed.items():
        unrun = {"runtime": "not run: its files were changed", "checks": [], "breaches": []}
        entry = certificate["formats"].setdefault(name, unrun)
        entry["breaches"] += [f"{b} (its outputs: {', '.join(sorted(outputs))})" for b in breaches]
        entry["holds"] = not entry["breaches"]
    certificate["left_out"] = manifest["left_out"]
    certificate["breaches"] = _bundle_breaches(bundle, certificate)
    certificate["breaches"] += calibration_breaches(folder, manifest, samples)
    certificate["holds"] = not certificate["breaches"] and all(
        entry["holds"] for entry in certificate["formats"].values()
    )
    raise_on_breach(certificate)
    return dataclasses.replace(bundle, certificate=certificate)


def _bundle_breaches(bundle, certificate):
    """What is wrong with the bundle as a whole: its files, its stored certificate."""
    folder, manifest, stored = bundle.path, bundle.manifest, bundle.certificate
    breaches = changed_sums(folder)
    if sha256(folder / "manifest.json") != stored["manifest_sha256"]:
        breaches.append("manifest.json is not the one that was certified")
    for name in PATHS:
        if name not in manifest["formats"] and (folder / PATHS[name].split("/")[0]).exists():
            breaches.append(f"{PATHS[name]}: no part of the bundle")
    differ = []
    for name, entry in certificate["formats"].items():
        if not entry["holds"]:
            continue
        if name not in stored["formats"]:
            differ.append(f"it has no {name}")
            continue
        limit = manifest["formats"][name]["metric_limit"] if name in QUANTIZED else None
        words = different_metrics(stored["formats"][name], entry, limit)
        differ += [f"{name}: {word}" for word in words]
    if stored["holds"] is not True:
        differ.insert(0, "it does not hold")
    if differ:
        breaches.append(
            f"certificate.json does not say what the checks say ({'; '.join(differ[:4])})"
        )
    return breaches


def stored_samples(folder, manifest):
    """The samples that a bundle was checked on; ValueError if they are not those."""
    stored = manifest["samples"]
    tensors = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    samples = load_samples(folder / "samples.npz", stored=True).fit(tensors)
    samples = dataclasses.replace(samples, source=stored["source"])
    if samples.sha256() != stored["sha256"]:
        raise ValueError(
            f"Expected the samples {stored['source']!r} of SHA-256 {stored['sha256']}. "
            f"Received: {samples.sha256()}. The bundle was made with other samples, "
            f"by mmzoo {manifest.get('mmzoo')}; this is {__version__}."
        )
    return samples
