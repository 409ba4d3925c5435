"""Additive attention: mmzoo's kernel beside `keras.layers.AdditiveAttention`, time and memory.

Run: python benchmarks/interactive_attention.py --rounds 3
Both attend from T queries to S = T keys of H = 256 units, on the same numbers: scores, softmax,
weighted sum; a training step adds the gradient of queries, keys and scale. Keras' layer is taken
with and without XLA, and the faster of the two counts. Every measurement is a fresh process, in
turn; a row gives medians over the rounds. Peak memory is what the process grew by. The limit is
that of the divisions alone, at the rate at which this machine divides in XLA's own code.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

UNITS = 256
SIZES = {16: 32, 64: 8, 128: 8, 256: 4, 512: 2, 1024: 2, 2048: 1}  # tokens: batch
WHATS = ("forward", "training step")
VARIANTS = ("keras", "keras XLA", "mmzoo")
DIVISIONS = {"forward": 1 / 4, "training step": 1 / 4 + 1 / 4 + 2 * 1 / 2}  # a term
TOO_MUCH = 9e9  # bytes of stored terms, of which Keras' gradient holds four or more


def measure(variant, what, tokens, repeats):
    """In a fresh process: milliseconds of each repeat, and megabytes that it took."""
    import keras
    import numpy as np
    import tensorflow as tf

    from mmzoo.ops import additive_scores

    rng = np.random.default_rng(0)
    shape = (SIZES[tokens], tokens, UNITS)
    queries, keys, upstream = (tf.constant(rng.standard_normal(shape), "float32") for _ in range(3))
    if variant == "mmzoo":
        scale = tf.Variable(rng.standard_normal(UNITS).astype("float32"))

        def attend():
            weights = tf.nn.softmax(additive_scores(queries, keys, scale))
            return tf.matmul(weights, keys)
    else:
        layer = keras.layers.AdditiveAttention()
        layer.build([shape, shape])
        scale = layer.scale.value
        scale.assign(rng.standard_normal(UNITS))

        def attend():
            return layer([queries, keys])

    @tf.function(jit_compile=variant == "keras XLA", autograph=False)
    def run():
        if what == "forward":
            return attend()
        with tf.GradientTape() as tape:
            tape.watch([queries, keys])
            result = attend()
        return tape.gradient(result, [queries, keys, scale], upstream)

    small = tf.matmul(tf.ones([64, 64]), tf.ones([64, 64]))  # TensorFlow's own start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for turn in range(repeats + 2):
        start = time.perf_counter()
        found = tf.nest.flatten(run())
        checksum = [float(tf.reduce_sum(each)) for each in found]
        if turn >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    del small
    return {"ms": statistics.median(times), "MB": peak / 1e3, "checksum": checksum}


def division_rate(repeats):
    """Divisions a second that XLA's code reaches on all cores, from the cache."""
    import tensorflow as tf

    terms = 64

    @tf.function(jit_compile=True, autograph=False)
    def divide(x):
        return tf.add_n([1 / (x + k) for k in range(1, terms + 1)])

    x = tf.random.uniform([1 << 20], seed=1)
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        divide(x).numpy()
        times.append(time.perf_counter() - start)
    return {"rate": terms * (1 << 20) / statistics.median(times)}


def fresh(*arguments):
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--rate", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        variant, what, tokens = args.measure
        print(json.dumps(measure(variant, what, int(tokens), args.repeats)))
        return
    if args.rate:
        print(json.dumps(division_rate(args.repeats)))
        return
    rate = fresh("--rate")["rate"]
    print(f"{rate / 1e9:.1f} G divisions a second\n")
    names = ("what", "batch x T", "Keras ms", "Keras XLA ms", "mmzoo ms", "faster",
             "of the limit", "Keras MB", "mmzoo MB", "memory")  # fmt: skip
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for what in WHATS:
        for tokens in args.tokens:
            print(row(what, tokens, rate, args), flush=True)


def row(what, tokens, rate, args):
    terms = SIZES[tokens] * tokens * tokens * UNITS
    rounds = []
    for turn in range(args.rounds):
        order = VARIANTS if turn % 2 else VARIANTS[::-1]
        found = {
            variant: fresh("--measure", variant, what, tokens, "--repeats", args.repeats)
            for variant in order
            if variant == "mmzoo" or 4 * terms * (4 if what != "forward" else 2) < TOO_MUCH
        }
        rounds.append(found)

    def middle(variant, key):
        return statistics.median(found[variant][key] for found in rounds)

    limit = 1e3 * terms * DIVISIONS[what] / rate
    cells = [what, f"{SIZES[tokens]} x {tokens}"]
    ours, memory = middle("mmzoo", "ms"), middle("mmzoo", "MB")
    if "keras" not in rounds[0]:
        return "| " + " | ".join(
            [*cells, "—", "—", f"{ours:.1f}", "—", f"{limit / ours:.2f}", "—", f"{memory:.0f}", "—"]
        ) + " |"  # fmt: skip
    for found in rounds:
        for a, b in zip(found["keras"]["checksum"], found["mmzoo"]["checksum"], strict=True):
            if not abs(a - b) <= 1e-3 * max(1, abs(a)):
                raise SystemExit(f"Not the same numbers: {found}")
    best = min(("keras", "keras XLA"), key=lambda variant: middle(variant, "ms"))
    faster = statistics.median(found[best]["ms"] / found["mmzoo"]["ms"] for found in rounds)
    theirs = middle(best, "MB")
    return "| " + " | ".join([
        *cells, f"{middle('keras', 'ms'):.1f}", f"{middle('keras XLA', 'ms'):.1f}", f"{ours:.1f}",
        f"{faster:.1f}", f"{limit / ours:.2f}", f"{theirs:.0f}", f"{memory:.0f}",
        f"1/{theirs / max(memory, 0.1):.0f}",
    ]) + " |"  # fmt: skip


if __name__ == "__main__":
    main()
