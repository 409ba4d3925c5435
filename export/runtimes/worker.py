"""The inside of a fresh process: loads one artifact in its runtime and runs it.

Run as `python -m mmzoo.export.runtimes.worker JOB.json`, or `--serve`, which reads the paths of
jobs from its standard input; see `process.run_artifact`.
"""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from mmzoo.export.runtimes.kept_process import SERVE, serve
from mmzoo.export.runtimes.with_parent import end_with_parent, kill_with_parent

RUNTIMES = {
    "saved_model": "c_api",
    "saved_model by OpenVINO": "openvino_runtime",
    "tflite": "litert",
    "tflite without XNNPACK": "litert_plain",
    "tflite by OpenVINO": "openvino_runtime",
    "tflite with tensorflow-text": "litert_text",
    "onnx": "onnx_runtime",
    "onnx by OpenVINO": "openvino_runtime",
    "onnx with extensions": "onnx_extensions",
}


def main(argument: str) -> None:
    if argument == SERVE:
        kill_with_parent()
        serve(run)
    elif json.loads(Path(argument).read_text()).get("ends_with_parent"):
        end_with_parent()  # not where a person starts it by hand
    run(argument)


def run(job_path: str) -> None:
    """Does one job: loads its artifact, runs its plan, and writes the answers and a report."""
    job = json.loads(Path(job_path).read_text())
    module = importlib.import_module(f"mmzoo.export.runtimes.{RUNTIMES[job['format']]}")
    with np.load(job["inputs"]) as archive:
        arrays = {key: archive[key] for key in archive.files}
    sets: dict[int, dict] = {}
    for key, value in arrays.items():
        chosen, _, name = key.partition("/")
        sets.setdefault(int(chosen), {})[name] = value
    start = time.perf_counter()
    runtime = module.Runtime(Path(job["artifact"]), job["signature"])
    report = {
        "load_seconds": time.perf_counter() - start,
        "inputs": runtime.inputs,
        "outputs": runtime.outputs,
        "runs": [],
    }
    arrays = {}
    for k, (chosen, batch, count) in enumerate(job["plan"]):
        results, seconds = [], []
        for first in range(0, count, batch):
            part = {n: v[first : min(first + batch, count)] for n, v in sets[chosen].items()}
            start = time.perf_counter()
            results.append({n: np.array(v) for n, v in runtime.run(part).items()})
            seconds.append(time.perf_counter() - start)
        for name in runtime.outputs:
            arrays[f"{k}/{name}"] = np.concatenate([result[name] for result in results])
        report["runs"].append(
            {"batch": batch, "samples": count, "median_ms": 1e3 * float(np.median(seconds))}
        )
    report["peak_mib"] = peak_mib()
    if hasattr(runtime, "close"):  # else what it holds goes with it
        runtime.close()
    report["python_tensorflow"] = hasattr(sys.modules.get("tensorflow"), "__version__")
    np.savez(job["outputs"], **arrays)
    Path(job["report"]).write_text(json.dumps(report))


def peak_mib():
    """The most memory that this process has taken, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory, from before exec
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


if __name__ == "__main__":
    main(sys.argv[1])
