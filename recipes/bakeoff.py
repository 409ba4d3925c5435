"""Compares every kind of fusion, at equal size and equal training, on the same encoders.

Data: Concept-128, its speech in loud noise, encoded once by the shipped modules; and three
    synthetic tasks whose answers are known beforehand.
Run: mmzoo bakeoff concepts --seeds 5 --out build/bakeoff
    (or: python -m mmzoo.recipes.bakeoff concepts --kinds LateFusion,Concatenation --seeds 1)
Expect: on Concept-128 a product of experts ahead of every learned fusion, on xor the reverse;
    an hour on 2 CPU cores with 5 seeds. A run that is cut off goes on where it was.
Paper: Liang et al., 2021 (MultiBench, arXiv:2107.07502), whose comparison this is in small.
"""

import argparse
import functools
import itertools
import time
from pathlib import Path

import keras
import numpy as np
import rich
import tensorflow as tf

from mmzoo import training
from mmzoo.data import concept128, synthetic
from mmzoo.evaluation.flops import count_flops
from mmzoo.export.bench.model_cost import measure_tflite
from mmzoo.export.certify.comparison import ParityError
from mmzoo.fusion import zoo
from mmzoo.io.files import atomic_write, write_json
from mmzoo.io.place_lock import lock_place
from mmzoo.io.run_place import check_run_place
from mmzoo.recipes.comparison import encoded_tasks as tasks
from mmzoo.recipes.comparison.contenders import AS_TEXT, AsText, Classifier
from mmzoo.recipes.comparison.imbalance import compare_joint_training
from mmzoo.recipes.comparison.report import write_bakeoff_report
from mmzoo.recipes.comparison.results import interval, verdict
from mmzoo.training.launch.arguments import positive_int, some_of
from mmzoo.training.resume.partial_results import PartialResults

MODALITIES = concept128.MODALITIES
KINDS = (*zoo.KINDS, *MODALITIES, AS_TEXT)
TASKS = ("concepts", *synthetic.TASKS)
NEAR = 0.1  # of the number of parameters asked for
# Why a kind does what it does.
NOTES = {
    "StackedFusion": "Its weights learn from experts on what these were trained on, where they "
    "are too sure.",
    "TensorFusion": "A product of three vectors has so many entries that the vectors must be "
    "narrow.",
    AS_TEXT: "The names of what is seen and heard and the phrase, one string, go through the text "
    "encoder; three classifiers, one after the other. A name does not say how sure its expert was.",
}


def make_data(name, args, encoder):
    """Returns a task: samples for training, validation and test, all encoded."""
    if name == "concepts":
        return tasks.encode_concepts(args, encoder)
    return tasks.draw_synthetic(name, args)


def train_kind(kind, task, seeds):
    """Trains a kind once a seed. Returns its entry, and the model of the last seed."""
    contender = AsText(task) if kind == AS_TEXT else Classifier(kind, task)
    everything = "+".join(contender.modalities)
    validation: list[float] = []
    tested: dict[str, list] = {"+".join(subset): [] for subset in subsets_of(contender.modalities)}
    seconds = []
    for seed in range(seeds):
        start = time.perf_counter()
        contender.fit(seed)
        seconds.append(time.perf_counter() - start)
        validation.append(contender.accuracy("validation", contender.modalities))
        for name, accuracies in tested.items():
            accuracies.append(contender.accuracy("test", name.split("+")))
    parameters = zoo.trainable_parameters(contender.model)
    note = NOTES.get(kind, "")
    if abs(parameters - task.parameters) > NEAR * task.parameters:
        note = f"{note} No width comes nearer to {task.parameters:,} parameters.".strip()
    entry = {
        "kind": kind,
        "family": contender.family,
        "parameters": parameters,
        "accuracy": interval(tested[everything]),
        "validation": interval(validation),
        "subsets": {name: float(np.mean(values)) for name, values in tested.items()},
        "train_seconds": float(np.mean(seconds)),
        "note": note,
    }
    return entry, contender.model


def subsets_of(modalities):
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def measure(model, inputs, shapes=None):
    """Returns what a model costs; `breaches` says what is wrong with its TFLite file."""
    dtypes = {tensor.name: keras.backend.standardize_dtype(tensor.dtype) for tensor in model.inputs}
    found = measure_tflite(model, {name: x.astype(dtypes[name]) for name, x in inputs.items()})
    return {
        "flops": count_flops(model, shapes),
        "latency_ms": found.latency_ms,
        "max_difference": found.max_difference,
        "breaches": list(found.breaches),
    }


def measure_encoders(encoder):
    """Returns what all kinds have in common."""
    inputs, _ = concept128.draw_samples("test", per_class=1)
    return {"parameters": encoder.count_params(), **measure(encoder, inputs, tasks.RAW)}


def make_entry(name, kind, task, seeds):
    """Returns the entry of a kind; on Concept-128 with what it costs beside the encoders."""
    entry, model = train_kind(kind, task, seeds)
    if name == "concepts":
        # Some samples of every subset of the modalities.
        parts = [
            {key: x[k::64] for key, x in task.test.inputs_of(model, subset).items()}
            for k, subset in enumerate(subsets_of(task.test.modalities))
        ]
        inputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        entry |= measure(model, inputs)
        if entry["breaches"]:
            wrong = "; ".join(entry["breaches"])
            entry["note"] = f"{entry['note']} Its TFLite file answers otherwise: {wrong}.".strip()
    keras.backend.clear_session()
    return entry


def compare_kinds(name, args, done, encoder):
    """Returns what `bakeoff.json` holds of a task, with `breaches` in its entries, and the task."""
    task = functools.cache(lambda: make_data(name, args, encoder()))
    title, about = tasks.ABOUT[name]
    facts = done.get(
        f"{name}/facts", lambda: {"samples": len(task().test), "chance": 1 / task().classes}
    )
    entries = []
    for kind in args.kinds:
        if name == "concepts" or kind not in ("audio", AS_TEXT):  # which these tasks don't have
            make = functools.partial(lambda kind: make_entry(name, kind, task(), args.seeds), kind)
            entries.append(done.get(f"{name}/{kind}", make))
            show(name, entries[-1])
    return {"title": title, "about": about, **facts, "entries": entries}, task


def show(name, entry):
    accuracy = entry["accuracy"]
    cost = f"{entry['latency_ms']:.3f} ms" if "latency_ms" in entry else ""
    rich.print(
        f"{name:<8} {entry['kind']:<25} {accuracy['mean']:.3f} "
        f"({accuracy['low']:.3f} to {accuracy['high']:.3f}) {cost}"
    )


def main(argv=None) -> dict:
    """Trains, measures and compares. Returns what `bakeoff.json` holds."""
    args = parse(argv)
    check_run_place(args.out, ["bakeoff.partial.json"], "bakeoff.partial.json",
                    {"arguments": None, "done": None})  # fmt: skip
    check_run_place(args.out, ["bakeoff.json", "bakeoff.html"], "bakeoff.json",
                    {"recipe": "bakeoff"})  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)  # what can't be written fails now, not after
    with lock_place(args.out):
        return _compare(args)


def _compare(args):
    tf.config.experimental.enable_op_determinism()
    depends = {
        **{key: getattr(args, key) for key in ("seeds", "parameters", "steps", "batch_size")},
        "noise_db": args.noise_db,
        "versions": training.package_versions(),
        "data": {"name": "concept128", "sha256": concept128.checksum()},
    }
    done = PartialResults(args.out / "bakeoff.partial.json", depends)
    encoder = functools.cache(tasks.build_encoder)
    common = done.get("encoders", lambda: measure_encoders(encoder()))
    found, imbalance = {}, None
    for name in args.tasks:
        found[name], task = compare_kinds(name, args, done, encoder)
        if name == "concepts":
            rich.print("concepts  joint training, with and without gradient modulation …")
            make = functools.partial(lambda task: compare_joint_training(task(), args.seeds), task)
            imbalance = done.get("imbalance", make)
    wrong = [f"encoders: {breach}" for breach in common["breaches"]]
    for entry in found["concepts"]["entries"]:
        wrong += [f"{entry['kind']}: {breach}" for breach in entry.pop("breaches")]
    results = {
        "recipe": "bakeoff",
        "data": depends["data"],
        "versions": depends["versions"],
        "seeds": list(range(args.seeds)),
        "budget": {key: depends[key] for key in ("parameters", "steps", "batch_size")},
        "noise_db": args.noise_db,
        "encoders": {key: common[key] for key in ("parameters", "flops", "latency_ms")},
        "seconds": done.seconds,
        "tasks": found,
        "imbalance": imbalance,
        "verdict": verdict(
            found["concepts"]["entries"], found["xor"]["entries"] if "xor" in found else None
        ),
    }
    with atomic_write(args.out / "bakeoff.json") as path:
        write_json(path, results)
    report = write_bakeoff_report(args.out / "bakeoff.html", results)
    rich.print(results["verdict"]["text"])
    print(f"Report: {report}")  # not by rich, which would break a long path
    if wrong:
        raise ParityError(
            f"Expected TFLite files that answer as Keras does. Received: {'; '.join(wrong)}. "
            f"The results are in {args.out / 'bakeoff.json'}, with a note at each.",
            results,
        )
    done.path.unlink()  # the next run is a new one
    return results


def parse(argv):
    parser = argparse.ArgumentParser(prog="bakeoff", description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("concepts",), help="what the encoders read")
    parser.add_argument("--seeds", type=positive_int, default=5, help="how many")
    parser.add_argument("--out", type=Path, default=Path("build/bakeoff"))
    parser.add_argument("--kinds", type=some_of(KINDS), default=KINDS)
    parser.add_argument("--tasks", type=some_of(TASKS), default=TASKS)
    parser.add_argument("--parameters", type=positive_int, default=150_000, help="of a kind")
    parser.add_argument("--steps", type=positive_int, default=800)
    parser.add_argument("--batch-size", type=positive_int, default=64)
    parser.add_argument("--noise-db", type=float, default=-7.0, help="speech over noise, in dB")
    args = parser.parse_args(argv)
    families = {zoo.KINDS[kind].family for kind in args.kinds if kind in zoo.KINDS}
    if "late" not in families or not families & set(zoo.LEARNED):
        parser.error("argument --kinds: expected a late kind of fusion, and another one")
    if "concepts" not in args.tasks:
        parser.error("argument --tasks: expected concepts among them")
    return args


if __name__ == "__main__":
    main()
