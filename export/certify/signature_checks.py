"""The parts of a SavedModel, each run by itself, and put together again."""

import dataclasses
from pathlib import Path

from mmzoo.export.bundle.signatures import BYTES
from mmzoo.export.certify.check_plan import SMALL_RUN, for_signature, name_breaches
from mmzoo.export.certify.comparison import compare
from mmzoo.export.certify.edge_cases.image_files import picture_files
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples.samples import BATCHES, Samples
from mmzoo.tasks.features import Image
from mmzoo.tasks.tensors import Tensor

WHOLE = ("fuse",)  # a part that must answer as the whole model does


def check_parts(
    path: Path,
    parts: dict,
    samples: Samples,
    inputs: list[Tensor],
    reference: dict,
    tolerance: float,
):
    """Runs every part on the first samples, at the smallest and the largest batch.

    `fuse` is given what the artifact's own encoders gave, and must answer as the whole model.
    `serving_bytes` is given the samples' images as files of every kind (`picture_files`), and
    must answer as the model does on the pixels that Pillow reads in them.

    Args:
        path: The SavedModel.
        parts: Dict of signature to its `inputs` and `outputs`, as the manifest has them.
        samples, reference, tolerance: See `certificate.certify`.
        inputs: The model's.

    Returns:
        The checks made, the breaches in words, and how many checks there should be.
    """
    checks, breaches = [], []
    batches = (BATCHES[0], BATCHES[-1])
    given = samples.inputs
    count = min(SMALL_RUN, len(samples))
    order = sorted(parts, key=lambda name: (not name.startswith("encode_"), name))
    for signature in order:
        tensors = parts[signature]
        taken = given
        if signature == "serving_bytes":
            files = {
                t.name + BYTES: picture_files(samples.inputs[t.name][:count])[0]
                for t in inputs
                if t.kind == Image.kind
            }
            taken = given | samples.texts | files
        names = {tensor["name"] for tensor in tensors["inputs"]}
        if names - set(taken):
            continue  # an encoder failed, and is named among the breaches
        values = {name: taken[name][:count] for name in names}
        try:
            run = run_artifact(
                "saved_model", path, for_signature(values, tensors["inputs"]),
                [(batch, count) for batch in batches], signature=signature,
            )  # fmt: skip
        except RuntimeFailure as error:
            breaches.append(f"{signature}: {error}")
            continue
        breaches += name_breaches(signature, tensors, run.report)
        if signature.startswith("encode_"):
            given = given | run.outputs[-1]
        expected = reference.get("samples" if signature in WHOLE else signature, {})
        for batch, outputs in zip(batches, run.outputs, strict=True):
            for output in [tensor["name"] for tensor in tensors["outputs"]]:
                if output not in outputs or output not in expected:
                    continue
                found = compare(outputs[output], expected[output][:count], tolerance)
                checks.append({
                    "signature": signature, "batch": batch, "output": output,
                    "sizes": "samples", "samples": count, "holds": found.holds,
                    **dataclasses.asdict(found), "breaches": list(found.breaches),
                    "metric": None, "tolerance": tolerance,
                })  # fmt: skip
                breaches += [
                    f"{signature}, batch {batch}, output {output!r}: {breach}"
                    for breach in found.breaches
                ]
    subsets = draw_subsets(samples, inputs)
    if subsets is not None and "fuse" in parts and not breaches:
        breaches += _without(path, parts, subsets, reference["subsets"], tolerance)
    wanted = len(batches) * sum(len(tensors["outputs"]) for tensors in parts.values())
    return checks, breaches, wanted


def _without(path, parts, subsets, reference, tolerance):
    """Runs the head on subsets, with what the encoders made of NaN or another's content."""
    given = {name: value[:SMALL_RUN] for name, value in subsets.spoilt.inputs.items()}
    count = len(next(iter(given.values())))
    order = [name for name in parts if name.startswith("encode_")]
    try:
        for name in (*order, "fuse"):
            values = {t["name"]: given[t["name"]] for t in parts[name]["inputs"]}
            run = run_artifact("saved_model", path, values, [(BATCHES[-1], count)], signature=name)
            given |= run.outputs[0]
    except RuntimeFailure as error:
        return [f"{name}, absent modalities: {error}"]
    breaches = []
    for output, expected in reference.items():
        found = compare(run.outputs[0][output], expected[:count], tolerance)
        breaches += [f"fuse, absent modalities, output {output!r}: {b}" for b in found.breaches]
    return breaches
