"""The same artifact in other runtimes, which read it independently."""

import importlib.util
from pathlib import Path

import numpy as np

from mmzoo.export.certify.check_plan import SMALL_RUN, Line, plan_probes
from mmzoo.export.certify.comparison import compare
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples.samples import BATCHES, Samples
from mmzoo.tasks import Task
from mmzoo.tasks.tensors import Tensor

READERS = {
    "saved_model": ("saved_model by OpenVINO",),
    "tflite": ("tflite without XNNPACK", "tflite by OpenVINO"),
    "onnx": ("onnx by OpenVINO",),
}


def check_second_readers(
    format: str,
    path: Path,
    samples: Samples,
    inputs: list[Tensor],
    reference: dict,
    tolerance: float,
    fixed: bool,
    half: bool = False,
    task: Task | None = None,
    probes: dict | None = None,
) -> list[dict]:
    """Runs the first samples, and those of every subset, in each other runtime there is.

    Args:
        format: "saved_model" (its signature `portable`), "tflite" or "onnx".
        path: The float32 artifact.
        samples, inputs, reference, tolerance: See `certificate.certify`.
        fixed: Whether it takes one sample at a time.
        half: Whether it computes in float16 or bfloat16, which OpenVINO does in float32.
        task: The model's, whose answers may decide; None: nothing decides.
        probes: See `check_plan.plan_checks`. TFLite's own operators are held to the probe rows too;
            OpenVINO, which no file is made for, is not.

    Returns:
        A list of dicts: `runtime`, `samples`, `max_abs` and `breaches`; or `runtime` and
        `not_run`, where OpenVINO is not installed, or reads no such file.
    """
    batch = 1 if fixed else BATCHES[-1]
    given = {name: value[:SMALL_RUN] for name, value in samples.inputs.items()}
    count = len(next(iter(given.values())))
    sets = [given]
    whole = np.arange(count)
    lines = [Line(0, "samples", batch, "samples", count, whole)]
    subsets = draw_subsets(samples, inputs)
    if subsets is not None:
        few = {name: value[:SMALL_RUN] for name, value in subsets.spoilt.inputs.items()}
        rows = np.arange(len(next(iter(few.values()))))
        sets.append(few)
        lines.append(Line(1, "subsets", batch, "subsets", len(rows), rows))
    found: list[dict] = []
    for reader in READERS.get(format, ()):
        if reader.endswith("OpenVINO") and importlib.util.find_spec("openvino") is None:
            found.append({"runtime": reader, "not_run": "OpenVINO is not installed"})
            continue
        if reader.endswith("OpenVINO") and half:
            found.append({"runtime": reader, "not_run": "it computes half precision in float32"})
            continue
        entry: dict = {"runtime": reader, "samples": count, "max_abs": 0.0, "breaches": []}
        found.append(entry)
        mine, asked = list(sets), list(lines)
        if probes is not None and not reader.endswith("OpenVINO"):

            def run_too(values, _batch, mine=mine):
                mine.append(values)
                return len(mine) - 1, len(next(iter(values.values())))

            plan_probes(asked, run_too, [batch], samples, inputs, reference, False, probes)
        try:
            run = run_artifact(
                reader, path, given, [(batch, count)],
                further=[(values, batch) for values in mine[1:]],
            )  # fmt: skip
        except RuntimeFailure as error:
            if reader.endswith("OpenVINO"):  # that it can't read a file is its own fault
                found[-1] = {"runtime": reader, "not_run": str(error)}
            else:
                entry["breaches"].append(str(error))
            continue
        for line in asked:
            outputs = run.outputs[line.run]
            for name in reference[line.reference]:
                if name not in outputs:
                    entry["breaches"].append(f"{reader}: no output {name!r}")
                    continue
                actual, expected = line.pick(outputs[name], reference, name)
                answer = task.answer(name) if task else None
                difference = compare(
                    actual, expected, None if line.large else tolerance, answer,
                    line.usual(reference, name),
                )  # fmt: skip
                if not line.by_row:  # the largest of huge answers says nothing
                    entry["max_abs"] = float(np.maximum(entry["max_abs"], difference.max_abs))
                what = f"{reader}, {name!r}" + f", {line.name}" * line.by_row
                entry["breaches"] += [f"{what}: {b}" for b in difference.breaches]
    return found
