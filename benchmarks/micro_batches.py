"""What `compile(accumulate=k)` costs in time and saves in memory, each k in a process of its own.

python benchmarks/micro_batches.py [--rounds 3] [--out build/benchmarks]
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PIECES = (1, 2, 4, 8)
BATCH, SIDE, STEPS = 64, 96, 6


def measure(pieces):
    """Prints the highest memory of a few steps over that before, in MiB, and a step's seconds."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    from mmzoo import training

    x = h = keras.Input((SIDE, SIDE, 3), name="image")
    for _ in range(4):
        h = layers.Conv2D(32, 3, padding="same", activation="relu")(h)
    model = training.DistributedModel(x, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, accumulate=pieces)
    draw = np.random.default_rng(0)
    images = draw.random((BATCH, SIDE, SIDE, 3), "float32")
    data = tf.data.Dataset.from_tensors((images, draw.integers(0, 10, BATCH))).repeat()
    ends = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.fit(data, steps_per_epoch=STEPS, verbose=0, callbacks=[end])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    seconds = [b - a for a, b in itertools.pairwise(ends[1:])]
    print(json.dumps({"mib": peak / 1024, "seconds": statistics.median(seconds)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--pieces", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pieces:
        measure(args.pieces)
        return
    from mmzoo.io.files import atomic_write, write_json

    found = {k: [] for k in PIECES}
    for _ in range(args.rounds):  # in turns: whatever else the machine does falls on all
        for k in PIECES:
            done = subprocess.run(
                [sys.executable, __file__, "--pieces", str(k)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found[k].append(json.loads(done.stdout.splitlines()[-1]))
    print("| accumulate | MiB over the start | s a step | of one |\n| --- | --- | --- | --- |")
    for k, rounds in found.items():
        mib, seconds = (statistics.median(r[name] for r in rounds) for name in ("mib", "seconds"))
        ratio = statistics.median(
            r["seconds"] / one["seconds"] for r, one in zip(rounds, found[1], strict=True)
        )
        print(f"| {k} | {mib:,.0f} | {seconds:.2f} | {ratio:.2f} |")
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(args.out / "micro_batches.json") as path:
        write_json(path, {str(k): rounds for k, rounds in found.items()})


if __name__ == "__main__":
    main()
