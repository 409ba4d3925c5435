"""Runs the TFLite files of a bundle on ARM, emulated, beside this processor.

Run: python tools/run_on_arm.py build/demo/bundle
Expect: a line a file, and exit status 0; 1 if an answer differs or XNNPACK was not used, 2 if an
    ARM Python can't be put together (it needs apt-get and pip, and 200 MB in ~/.cache/mmzoo/arm).

The processor is a Cortex-A76 as qemu emulates it, so times say nothing of a phone's. A file of
float32 is held to the Keras model's answers by the bundle's tolerance; one of fewer bits, which
every processor rounds otherwise, to what it answers here: its top-1 on all but one in fifty
samples, and its accuracy to the bundle's limit.
"""

import argparse
import sys
from pathlib import Path

from mmzoo.export.bench.checks import checked_samples
from mmzoo.export.bundle.formats import FIXED, PATHS, QUANTIZED, STRINGS
from mmzoo.export.bundle.manifest import load_bundle
from mmzoo.export.certify.comparison import compare
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.tasks import Task

sys.path.insert(0, str(Path(__file__).parent))
from arm_root import CORE, NoArm, arm_python, default_cache

XNNPACK = "Created TensorFlow Lite XNNPACK delegate for CPU"
TFLITE = [n for n, path in PATHS.items() if path.endswith(".tflite") and n not in STRINGS]
AGREE = 0.98  # of the samples: a quantised file's first class, here and there
BATCH = 17


def run_on_arm(bundle, count: int, arm: tuple, names=None) -> list[dict]:
    """Runs TFLite files here and on ARM.

    Args:
        bundle: The `Bundle`.
        count: How many of its samples.
        arm: What `arm_python` returned.
        names: Which of its formats; None: all TFLite files of builtin operators.

    Returns:
        A dict a file: `name`, `against` ("Keras", or "this processor"), `max_abs`,
        `scale_relative`, `agreement` (share of decisions), `ms` a sample under emulation,
        `breaches`.
    """
    samples, reference = checked_samples(bundle)
    count = min(count, len(samples))
    task = Task.from_json(bundle.manifest["task"])
    inputs = {name: value[:count] for name, value in samples.inputs.items()}
    python, environment = arm
    found = []
    for name in names or [n for n in bundle.manifest["formats"] if n in TFLITE]:
        batch = 1 if name == FIXED else BATCH
        path = bundle.path / bundle.manifest["formats"][name]["path"]
        result = {"name": name, "breaches": []}
        found.append(result)
        runs = {}
        for reader in ("tflite", "tflite without XNNPACK"):
            few = {key: value[: count if reader == "tflite" else batch]
                   for key, value in inputs.items()}  # fmt: skip
            size = len(next(iter(few.values())))
            try:
                runs[reader] = run_artifact(reader, path, few, [(batch, size)], python=python,
                                            environment=environment)  # fmt: skip
            except RuntimeFailure as error:
                result["breaches"].append(f"on ARM: {error}")
        if result["breaches"]:
            continue
        if XNNPACK not in runs["tflite"].log:
            result["breaches"].append(f"XNNPACK was not created: {runs['tflite'].log[-300:]}")
        if XNNPACK in runs["tflite without XNNPACK"].log:
            result["breaches"].append("XNNPACK was created though it was switched off")
        [there] = runs["tflite"].outputs
        exact = name not in QUANTIZED
        [here] = run_artifact("tflite", path, inputs, [(batch, count)]).outputs
        expected = {key: value[:count] for key, value in reference.items()} if exact else here
        tolerance = bundle.manifest["tolerance"] if exact else None
        differences = [
            compare(there[key], expected[key], tolerance, task.answer(key)) for key in expected
        ]
        result["breaches"] += [breach for each in differences for breach in each.breaches]
        agreement = min((d.agreement for d in differences if d.agreement is not None), default=1.0)
        if not agreement >= (1.0 if exact else AGREE):
            result["breaches"].append(f"{agreement:.1%} of the decisions agree")
        result |= {
            "against": "Keras" if exact else "this processor",
            "max_abs": max(each.max_abs for each in differences),
            "scale_relative": max(each.scale_relative for each in differences),
            "agreement": agreement,
            "ms": runs["tflite"].report["runs"][0]["median_ms"] / batch,
        }
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--samples", type=int, default=102, help="how many of the bundle's")
    parser.add_argument("--cache", type=Path, default=default_cache())
    args = parser.parse_args(argv)
    try:
        bundle = load_bundle(args.bundle)
        arm = arm_python(args.cache)
        found = run_on_arm(bundle, args.samples, arm)
    except (FileNotFoundError, ValueError, NoArm) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"On an emulated {CORE}, {args.samples} samples; times are of the emulation.\n")
    print("| artifact | against | largest difference | of the scale | top-1 | ms | holds |")
    print("|---|---|---|---|---|---|---|")
    for each in found:
        figures = " | " * 4
        if "against" in each:
            figures = (
                f"{each['against']} | {each['max_abs']:.1e} | {each['scale_relative']:.1e} | "
                f"{each['agreement']:.1%} | {each['ms']:.0f}"
            )
        print(f"| {each['name']} | {figures} | {'no' if each['breaches'] else 'yes'} |")
    for each in found:
        for breach in each["breaches"]:
            print(f"{each['name']}: {breach}", file=sys.stderr)
    if not found:
        print(f"Expected TFLite files. Found none in {bundle.path}.", file=sys.stderr)
        return 2
    return 1 if any(each["breaches"] for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
