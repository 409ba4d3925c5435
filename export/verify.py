"""Re-runs every check on a bundle. Needs no TensorFlow in its own process."""

import dataclasses

import numpy as np

from mmzoo._version import __version__
from mmzoo.export.certificate import certify, changed_files, raise_on_breach
from mmzoo.export.manifest import Bundle, load_bundle, sha256
from mmzoo.export.samples import CONCEPTS_TEST, concept_samples, load_samples


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
    changed = {name: changed_files(folder, e) for name, e in manifest["formats"].items()}
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
    if sha256(folder / "reference.npz") != manifest["reference_sha256"]:
        certificate["breaches"] = ["reference.npz is not the one that was exported"]
    certificate["holds"] = not certificate.get("breaches") and all(
        entry["holds"] for entry in certificate["formats"].values()
    )
    raise_on_breach(certificate)
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
