"""Runs an artifact in a fresh process that holds nothing but its own runtime.

Or, within `kept_process.keep_processes`, in one that has run others in that runtime.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mmzoo.export.runtimes.kept_process import run_worker
from mmzoo.io.working_folder import working_folder


class RuntimeFailure(RuntimeError):
    """An artifact did not load or run in its own runtime."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of one process.

    Attributes:
        outputs: One dict a line of the plan, then one for each of `further`: output name to
            array, all batches joined.
        report: `inputs`, `outputs` (dtype and shape as the runtime names them),
            `load_seconds`, `peak_mib`, and `runs` with the median latency in ms.
        log: What the process wrote to its standard error.
    """

    outputs: list
    report: dict
    log: str = ""


def run_artifact(
    format: str,
    artifact: Path,
    inputs: dict,
    plan: list,
    *,
    signature: str = "portable",
    further: tuple | list = (),
    time_limit: float = 600.0,
    # -P: no module of the user's own folder takes the place of an installed one.
    python: tuple[str, ...] = (sys.executable, "-P"),
    environment: dict[str, str] | None = None,
) -> Result:
    """Loads `artifact` in its runtime and runs `inputs` through it.

    Args:
        format: "saved_model" (TensorFlow's C API), "tflite" (ai-edge-litert), "onnx"
            (onnxruntime), or another of `worker.RUNTIMES`.
        artifact: Its folder or file.
        inputs: Dict of input name to array `(samples, ...)`; strings as bytes.
        plan: List of `(batch size, samples)`: the first `samples` rows in such batches,
            the last one possibly smaller.
        signature: Which signature to run.
        further: List of `(other inputs, batch size)`, each run after the plan.
        time_limit: Seconds until the process is killed.
        python: Command of the interpreter, with its options: of another processor, say.
        environment: Its environment variables; None: those of this process.

    Raises:
        RuntimeFailure: If the runtime refuses the artifact, crashes or is too slow; with
            the last lines that it printed.
    """
    sets = [inputs, *(values for values, _ in further)]
    runs = [(0, batch, count) for batch, count in plan]
    runs += [
        (k, batch, len(next(iter(values.values()))))
        for k, (values, batch) in enumerate(further, start=1)
    ]
    with working_folder(Path(tempfile.gettempdir()) / "job") as place:
        job = {
            "ends_with_parent": True,
            "format": format, "artifact": str(artifact), "signature": signature,
            "plan": runs, "inputs": str(place / "inputs.npz"),
            "outputs": str(place / "outputs.npz"), "report": str(place / "report.json"),
        }  # fmt: skip
        arrays = {f"{k}/{n}": value for k, values in enumerate(sets) for n, value in values.items()}
        np.savez(place / "inputs.npz", **arrays)  # type: ignore[arg-type]
        job_path = str(place / "job.json")
        Path(job_path).write_text(json.dumps(job))
        try:
            done = run_worker(format, python, job_path, time_limit, environment)
        except subprocess.TimeoutExpired as error:
            raise RuntimeFailure(
                f"{format}: expected {artifact} to finish in {time_limit:.0f} s. It did not."
            ) from error
        if done.returncode != 0:
            last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise RuntimeFailure(
                f"{format}: expected {artifact} to load and run. Its process ended with code "
                f"{done.returncode}: {' | '.join(last) or 'no message'}"
            )
        report = json.loads((place / "report.json").read_text())
        with np.load(place / "outputs.npz") as archive:
            outputs = [
                {name: archive[f"{k}/{name}"] for name in report["outputs"]}
                for k in range(len(runs))
            ]
    return Result(outputs, report, done.stderr)
