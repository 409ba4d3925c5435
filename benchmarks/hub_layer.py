"""What a TF-Hub module costs beside the same encoder built in Keras.

Run: python benchmarks/hub_layer.py --runs 5
Native: the three small encoders and a head, from a `.keras` file. Hub: the same encoders as
the modules that ship with mmzoo, and the same head, from a `.keras` file too. Loading and first
calls are taken in fresh processes, in turn; steps alternate within one process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODALITIES = ("image", "text", "audio")
KINDS = ("native", "hub")
BATCH = 32


def build(kind, folder):
    """Writes one model as a `.keras` file."""
    import keras
    from keras import layers

    from mmzoo import encoders, hub

    inputs = {
        "image": keras.Input((64, 64, 3), dtype="uint8", name="image"),
        "text": keras.Input((48,), dtype="uint8", name="text"),
        "audio": keras.Input((12_800,), dtype="float32", name="audio"),
    }
    makers = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}
    pooled = []
    for name in MODALITIES:
        handle = f"mmzoo/concept128-{name}/1"
        if kind == "hub":
            encoder = hub.HubLayer(handle, trainable=True, name=f"{name}_encoder")
        else:
            encoder = makers[name]()
            values = hub.HubLayer(handle).module.variables
            for weight in encoder.weights:
                weight.assign(values[weight.path])
        pooled.append(encoder(inputs[name])["pooled"])
    logits = layers.Dense(128, name="logits")(layers.Concatenate(name="joined")(pooled))
    keras.Model(inputs, logits).save(folder / f"{kind}.keras")


def load(kind, folder):
    """In a fresh process: seconds to load and to answer once, and what the weights take."""
    import keras
    import tensorflow as tf

    import mmzoo.encoders  # noqa: F401
    from mmzoo import hub

    hub.HubLayer  # noqa: B018  the import itself is measured in start_up.py
    tf.constant(0.0) + 1.0  # TensorFlow's own start
    start = time.perf_counter()
    model = keras.models.load_model(folder / f"{kind}.keras")
    loaded = time.perf_counter()
    inputs, _ = batch()
    model(inputs)
    first = time.perf_counter()
    model.compile(optimizer="sgd", loss=loss())
    model.train_on_batch(*batch())
    stepped = time.perf_counter()
    return {
        "load": loaded - start, "first call": first - loaded, "first step": stepped - first,
        "weights MB": weights_in_memory(model) / 1e6,
    }  # fmt: skip


def weights_in_memory(model):
    """Bytes of all variables that are alive, the model's and any other."""
    import gc

    import tensorflow as tf

    gc.collect()
    alive = {id(v): v for v in gc.get_objects() if isinstance(v, tf.Variable)}
    shared = {v.handle._id: v for v in alive.values()}
    del model
    return sum(v.shape.num_elements() * v.dtype.size for v in shared.values())


def steps(folder, count):
    """Milliseconds a training step and an inference call, the two models in turn."""
    import keras

    import mmzoo.encoders
    import mmzoo.hub.layer  # noqa: F401

    models = {kind: keras.models.load_model(folder / f"{kind}.keras") for kind in KINDS}
    for model in models.values():
        model.compile(optimizer="sgd", loss=loss())
    inputs, labels = batch()
    times = {kind: {"train step": [], "inference": []} for kind in KINDS}
    for turn in range(count + 3):
        for kind in KINDS if turn % 2 else KINDS[::-1]:
            start = time.perf_counter()
            models[kind].train_on_batch(inputs, labels)
            middle = time.perf_counter()
            models[kind].predict_on_batch(inputs)
            end = time.perf_counter()
            if turn >= 3:
                times[kind]["train step"].append(1e3 * (middle - start))
                times[kind]["inference"].append(1e3 * (end - middle))
    return times


def batch():
    from mmzoo.data import concept128

    inputs, labels = concept128.draw_samples("validation", 1)
    return {name: value[:BATCH] for name, value in inputs.items()}, labels[:BATCH]


def loss():
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fresh(*arguments):
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--part", choices=("build", "load", "steps"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, default="hub", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        parts = {"build": lambda: build(args.kind, args.folder),
                 "load": lambda: load(args.kind, args.folder),
                 "steps": lambda: steps(args.folder, args.steps)}  # fmt: skip
        print(json.dumps(parts[args.part]()))
        return
    times = {kind: {} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            fresh("--part", "build", "--kind", kind, "--folder", folder)
        for turn in range(args.runs):
            for kind in KINDS if turn % 2 else KINDS[::-1]:
                found = fresh("--part", "load", "--kind", kind, "--folder", folder)
                for name, value in found.items():
                    times[kind].setdefault(name, []).append(value)
        found = fresh("--part", "steps", "--folder", folder, "--steps", args.steps)
        for kind in KINDS:
            times[kind] |= found[kind]
    print("| what | native | hub | hub / native, median of pairs |\n|---|---|---|---|")
    for name in times["hub"]:
        native, hub = times["native"][name], times["hub"][name]
        ratio = statistics.median(b / a for a, b in zip(native, hub, strict=True))
        unit = "ms" if name in found["hub"] else "" if "MB" in name else "s"
        print(
            f"| {name} {unit} | {statistics.median(native):.2f} | {statistics.median(hub):.2f} "
            f"| {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
