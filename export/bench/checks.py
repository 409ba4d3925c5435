"""What must hold before a benchmark says anything: the bundle's files, and every timed answer."""

import numpy as np

from mmzoo.export.bundle.checksums import changed_files, changed_sums
from mmzoo.export.bundle.formats import QUANTIZED
from mmzoo.export.bundle.manifest import Bundle
from mmzoo.export.certify.certificate import raise_on_breach
from mmzoo.export.certify.check_plan import Line
from mmzoo.export.certify.comparison import compare
from mmzoo.export.certify.metric_checks import paired_metric
from mmzoo.export.certify.quantization_limits import limit_breaches
from mmzoo.export.certify.verification import stored_samples
from mmzoo.export.samples.samples import Samples
from mmzoo.io.files import sha256
from mmzoo.tasks import Task


def checked_samples(bundle: Bundle) -> tuple[Samples, dict]:
    """Returns the samples and Keras' answers, of a bundle whose files are those that hold.

    Raises:
        ValueError: If a file was changed, or the certificate doesn't hold.
    """
    folder, manifest = bundle.path, bundle.manifest
    breaches = changed_sums(folder)
    for name in manifest["formats"]:
        breaches += changed_files(folder, manifest, name)
    if bundle.certificate["holds"] is not True:
        breaches.append("its certificate does not hold")
    if bundle.certificate["manifest_sha256"] != sha256(folder / "manifest.json"):
        breaches.append("manifest.json is not the one that was certified")
    if manifest["reference_sha256"] != sha256(folder / "reference.npz"):
        breaches.append("reference.npz is not the one that was exported")
    if breaches:
        raise ValueError(
            f"Expected a bundle as it was certified. Received: {folder}: "
            f"{'; '.join(breaches[:8])}. `mmzoo verify` says what is wrong; export it again."
        )
    samples = stored_samples(folder, manifest)
    with np.load(folder / "reference.npz", allow_pickle=False) as archive:
        whole = [key for key in archive.files if key.startswith("samples/")]
        reference = {key.partition("/")[2]: archive[key] for key in whole}
    return samples, reference


def check_answers(
    bundle: Bundle, name: str, answers: dict, reference: dict, samples: Samples
) -> float:
    """Returns the largest difference of any timed answer from the Keras model's.

    Args:
        bundle: The bundle.
        name: Of the artifact.
        answers: `<batch>/rows`, the samples that were asked, and `<batch>/<way>/<output>`.
        reference: Output name to the Keras model's answers to all samples.
        samples: All samples, with their targets where these are known.

    Raises:
        ParityError: If an answer is wrong.
    """
    manifest = bundle.manifest
    tolerance = None if name in QUANTIZED else manifest["tolerance"]
    task = Task.from_json(manifest["task"])
    largest, checks, breaches = 0.0, [], []
    for key, actual in answers.items():
        batch, way, output = (*key.split("/", 2), "")[:3]
        if way == "rows":
            continue
        rows = answers[f"{batch}/rows"]
        expected = reference[output][rows]
        difference = compare(actual, expected, tolerance, task.answer(output))
        largest = max(largest, difference.max_abs)
        what = f"{name}, {way}, batch {batch}, output {output!r}"
        breaches += [f"{what}: {breach}" for breach in difference.breaches]
        if way == "bare" and f"{batch}/mmzoo/{output}" in answers:
            same = compare(actual, answers[f"{batch}/mmzoo/{output}"], manifest["tolerance"])
            breaches += [f"{what}, against mmzoo's way: {breach}" for breach in same.breaches]
        if tolerance is None and not difference.breaches:
            # Judged as in the certificate; each sample once, or its repeats would count as many.
            once, first = np.unique(rows, return_index=True)
            line = Line(0, "timed", int(batch), "samples", len(once), once, once)
            pair = {output: actual[first]}, {output: expected[first]}
            metric = paired_metric(*pair, line, samples, task, manifest["tolerance"])
            again = compare(actual[first], expected[first], None, task.answer(output))
            checks.append({
                "sizes": "timed samples", "batch": batch, "output": output, "samples": len(once),
                "scale_relative": difference.scale_relative, "agreement": again.agreement,
                "metric": metric if metric and metric["output"] == output else None,
            })  # fmt: skip
    if checks:
        limit = manifest["formats"][name]["metric_limit"]
        breaches += [f"{name}: {b}" for b in limit_breaches({"checks": checks}, limit)]
    raise_on_breach({
        "holds": not breaches, "tolerance": manifest["tolerance"], "formats": {},
        "breaches": breaches,
    })  # fmt: skip
    return largest
