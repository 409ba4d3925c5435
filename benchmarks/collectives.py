"""Time of an all-reduce between workers, by size: the constants of docs/benchmarks/scaling.md.

python benchmarks/collectives.py [--workers 2] [--out build/benchmarks]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from mmzoo.io.files import atomic_write, write_json
from mmzoo.training.launch.cluster import run_cluster

SIZES = (1, 1 << 10, 1 << 16, 1 << 18, 1 << 20, 1 << 22)  # of float32
CALLS = 15


def worker():
    import numpy as np
    import tensorflow as tf

    from mmzoo import training

    strategy = training.strategy("multiworker")
    found = {}
    for size in SIZES:
        values = tf.constant(np.random.default_rng(0).standard_normal(size), "float32")

        @tf.function
        def summed(values):
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(values))

        times = []
        for _ in range(CALLS + 3):
            start = time.perf_counter()
            local = strategy.run(summed, args=(values,))
            strategy.experimental_local_results(local)[0].numpy()
            times.append(time.perf_counter() - start)
        found[4 * size] = statistics.median(times[3:])
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker()
        return
    logs = args.out / "collectives"
    command = [sys.executable, __file__, "--worker"]
    run_cluster(command, workers=args.workers, logs=logs, restarts=0, tell=lambda line: None)
    last = (logs / "worker-0.log").read_text(encoding="utf-8").splitlines()[-1]
    found = {int(size): seconds for size, seconds in json.loads(last).items()}
    print("| bytes | ms | MB/s |\n| --- | --- | --- |")
    for size, seconds in found.items():
        print(f"| {size:,} | {1000 * seconds:.2f} | {size / seconds / 1e6:.0f} |")
    with atomic_write(args.out / "collectives.json") as path:
        write_json(path, {"workers": args.workers, "seconds": found})


if __name__ == "__main__":
    main()
