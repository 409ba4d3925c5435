"""What start-up costs: importing mmzoo beside TensorFlow, and loading Concept-128.

Run: python benchmarks/start_up.py --runs 5
Each figure is taken in fresh processes, in turn, and printed as median and range.
"""

import argparse
import statistics
import subprocess
import sys

CASES = {
    "import tensorflow": "import tensorflow",
    "import tensorflow, mmzoo": "import tensorflow; import mmzoo",
    "import mmzoo": "import mmzoo",
    "import tensorflow, keras": "import tensorflow; import keras",
    "… and mmzoo.encoders, fusion, export": (
        "import tensorflow; import keras; from mmzoo import encoders, export, fusion"
    ),
}
LOADS = {
    f"load and draw Concept-128, {split}": (
        "from mmzoo.data import concept128",
        f"concept128.draw_samples({split!r})",
    )
    for split in ("train", "validation", "test")
}


def seconds(setup, code):
    program = (
        f"import time\n{setup}\nstart = time.perf_counter()\n{code}\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    cases = {name: ("", code) for name, code in CASES.items()} | LOADS
    times = {name: [] for name in cases}
    for _ in range(runs):
        for name, (setup, code) in cases.items():
            times[name].append(seconds(setup, code))
    print(f"| what | median s | range s |\n|---|---|---|   ({runs} fresh processes each)")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f}–{max(values):.2f} |")
    pairs = zip(times["import tensorflow, mmzoo"], times["import tensorflow"], strict=True)
    over = statistics.median(a - b for a, b in pairs)
    print(f"mmzoo over tensorflow, median of the pairs' differences: {over:.3f} s")


if __name__ == "__main__":
    main()
