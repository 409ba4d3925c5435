"""The same artifact in other runtimes, which read it independently."""

import importlib.util
from pathlib import Path

import numpy as np

from mmzoo.export.checks import SMALL_RUN
from mmzoo.export.manifest import Tensor
from mmzoo.export.parity import compare
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples import BATCHES, Samples
from mmzoo.export.subsets import draw_subsets

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
) -> list[dict]:
    """Runs the first samples, and those of every subset, in each other runtime there is.

    Args:
        format: "saved_model" (its signature `portable`), "tflite" or "onnx".
        path: The float32 artifact.
        samples, inputs, reference, tolerance: See `certificate.certify`.
        fixed: Whether it takes one sample at a time.
        half: Whether it computes in float16 or bfloat16, which OpenVINO does in float32.

    Returns:
        A list of dicts: `runtime`, `samples`, `max_abs` and `breaches`; or `runtime` and
        `not_run`, where OpenVINO is not installed, or reads no such file.
    """
    batch = 1 if fixed else BATCHES[-1]
    given = {name: value[:SMALL_RUN] for name, value in samples.inputs.items()}
    count = len(next(iter(given.values())))
    sets = [(reference["samples"], given)]
    subsets = draw_subsets(samples, inputs)
    if subsets is not None:
        few = {name: value[:SMALL_RUN] for name, value in subsets.spoilt.inputs.items()}
        sets.append((reference["subsets"], few))
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
        try:
            run = run_artifact(
                reader, path, given, [(batch, count)],
                further=[(values, batch) for _, values in sets[1:]],
            )  # fmt: skip
        except RuntimeFailure as error:
            if reader.endswith("OpenVINO"):  # that it can't read a file is its own fault
                found[-1] = {"runtime": reader, "not_run": str(error)}
            else:
                entry["breaches"].append(str(error))
            continue
        for (expected, values), outputs in zip(sets, run.outputs, strict=True):
            rows = len(next(iter(values.values())))
            for name, value in expected.items():
                if name not in outputs:
                    entry["breaches"].append(f"{reader}: no output {name!r}")
                    continue
                difference = compare(outputs[name], value[:rows], tolerance)
                entry["max_abs"] = float(np.maximum(entry["max_abs"], difference.max_abs))
                entry["breaches"] += [f"{reader}, {name!r}: {b}" for b in difference.breaches]
    return found
