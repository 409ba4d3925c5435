"""Draws models at random, exports each to every format, and looks for a wrong answer that passed.

Run: python tools/random_models.py --count 400 --workers 2 --resume models.jsonl \
    --out docs/benchmarks/random_models.md
Expect: no wrong answer and no crash; a line a model, and a page with passes, refusals, and what
    the certificate caught. A model is the same for the same number (--first); exit status 1 on a
    find. Run again with the same --resume, it goes on where it stopped.

Most models are graphs of random layers and operators (see `random_layers`). Each twentieth has
one to three modalities, each with an encoder of random layers, some of which a format can't carry,
and one of the fusions. What an export lets through is run again on samples that its certificate
has not seen (see `random_answers`).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
from keras import layers, ops

from mmzoo.encoders.blocks import AllTrue
from mmzoo.export import ParityError, Samples, export_bundle
from mmzoo.export.bundle.formats import FORMATS, PATHS
from mmzoo.export.certify import second_runtimes
from mmzoo.export.runtimes.kept_process import keep_processes
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.fusion import zoo
from mmzoo.io.files import atomic_write

sys.path.insert(0, str(Path(__file__).parent))
import random_answers
from random_encoders import ENCODERS
from random_layers import draw_graph
from random_processes import MARK, try_models
from random_report import report

SAMPLES = 17
FUSIONS = 20  # each such model is a fusion, which takes twenty times as long
BREACHED = "Its answers are not the Keras model's"
READERS = {"saved_model": (), "tflite": ("tflite without XNNPACK",), "onnx": ()}


def draw_model(number, kind="all"):
    """Returns a functional model, what it is called, and the rows of the table that it has."""
    rng = np.random.default_rng(number)
    keras.utils.set_random_seed(number)
    if kind == "all":
        kind = "fusions" if number % FUSIONS == 0 else "operators"
    if kind == "operators":
        model, drawn = draw_graph(rng, f"model_{number}")
        title = kind
    else:
        (model, title), drawn = _draw_fusion(rng, number), []
    for variable in model.variables:  # running means and zero-initialised weights too
        statistic = variable.path.endswith(("moving_mean", "moving_variance"))
        if variable.trainable or statistic:
            noise = 0.1 * rng.standard_normal(variable.shape)
            value = np.asarray(variable) + noise
            variable.assign(np.abs(value) if variable.path.endswith("variance") else value)
    return model, title, drawn


def _draw_fusion(rng, number):
    count = int(rng.integers(1, 4))
    chosen = [str(m) for m in rng.permutation(list(ENCODERS))[:count]]
    inputs, tokens, masks = {}, {}, {}
    for modality in chosen:
        inputs[modality], tokens[modality], masks[modality] = ENCODERS[modality](rng)
    kind = str(rng.choice(list(zoo.KINDS)))
    shapes = {m: (None, t.shape[-1]) for m, t in tokens.items()}
    fused = zoo.build_kind(kind, shapes, classes=5, width=16)
    given = {}
    for tensor in fused.inputs:
        modality, _, role = tensor.name.rpartition("_")
        if role == "mask":
            mask = masks[modality]
            all_true = AllTrue(name=tensor.name)
            given[tensor.name] = all_true(tokens[modality]) if mask is None else mask
        elif role == "present":
            inputs[tensor.name] = keras.Input((), dtype="bool", name=tensor.name)
            given[tensor.name] = inputs[tensor.name]
        elif len(tensor.shape) == 3:
            given[tensor.name] = tokens[tensor.name]
        else:
            pool = rng.choice([layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D])
            real = tokens[tensor.name]
            if masks[tensor.name] is not None:
                real = ops.where(masks[tensor.name][..., None], real, 0.0)
                pool = layers.GlobalMaxPooling1D  # a mean would count what is not real
            given[tensor.name] = pool(name=f"{tensor.name}_pooled")(real)
    made = fused(given)["logits"]
    outputs = {"probability": layers.Softmax(name="probability")(made)}
    if rng.random() < 0.5:
        outputs["logits"] = layers.Identity(name="logits")(made)
    return keras.Model(inputs, outputs, name=f"model_{number}"), kind


def draw_inputs(model, seed, count, grow=1.0):
    """Real-looking inputs by name; every subset of the modalities, but for none at all."""
    rng = np.random.default_rng(seed)
    free = {"image": (8, 10), "text": (9,), "audio": (800,), "signal": (10,)}
    values = {}
    for tensor in model.inputs:
        name = tensor.name
        if name.endswith("_present"):
            values[name] = rng.random(count) < 0.8
            continue
        sizes = iter(free.get(name, ()))
        grown = [int(next(sizes) * grow) if s is None else (next(sizes, 0), s)[1]
                 for s in tensor.shape[1:]]  # fmt: skip
        if tensor.dtype == "uint8":
            values[name] = rng.integers(1, 256, (count, *grown)).astype("uint8")
            if name == "text":  # texts of every length, padded
                lengths = rng.integers(1, grown[0] + 1, count)
                values[name] *= np.arange(grown[0]) < lengths[:, None]
        elif tensor.dtype == "bool":
            values[name] = rng.random((count, *grown)) < 0.5
        elif tensor.dtype == "int32":
            values[name] = rng.integers(0, 10, (count, *grown)).astype("int32")
        else:
            values[name] = rng.standard_normal((count, *grown)).astype("float32")
    presences = [name for name in values if name.endswith("_present")]
    if presences:
        values[presences[0]] |= ~np.any([values[name] for name in presences], 0)
    return values


def try_export(model, path):
    """Exports a bundle; returns outcomes by format, None where an artifact was let through."""
    samples = Samples(draw_inputs(model, 1, SAMPLES))
    try:
        bundle = export_bundle(model, path, samples=samples)
    except ParityError as error:
        entries, left_out = error.certificate["formats"], error.certificate["left_out"]
        words = {name: f"{BREACHED}: {entry['breaches'][:3]}" for name, entry in entries.items()}
        words |= left_out
    except ValueError as error:
        return dict.fromkeys(FORMATS, ("refused", str(error)))
    except Exception as error:  # noqa: BLE001 whatever else: it is what we look for
        return dict.fromkeys(FORMATS, ("crashed", f"{type(error).__name__}: {error}"))
    else:
        words = bundle.manifest["left_out"]
    return {
        name: ("caught" if words[name].startswith(BREACHED) else "refused", words[name])
        if name in words
        else None
        for name in FORMATS
    }


def try_model(number, kind="all"):
    """Returns what one model is and what became of it, as a dict."""
    model, title, drawn = draw_model(number, kind)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = try_export(model, Path(folder) / "bundle")
        through = [name for name, outcome in outcomes.items() if outcome is None]
        left_out, unsteady, compared = 0, 0, 0
        if through:
            sizes = (1.0, 1.6, 0.8)
            sets = [draw_inputs(model, 2 + k, 5, grow) for k, grow in enumerate(sizes)]
            sets.append(random_answers.probe_rows(draw_inputs(model, 7, 9)))
            known = random_answers.ask_keras(model, sets)
            for values, found in zip(sets, known, strict=True):
                left_out += found.left_out if found else len(next(iter(values.values())))
                if found:
                    compared += len(next(iter(found.inputs.values())))
                    unsteady += int(np.any(list(found.unsteady.values()), 0).sum())
            for name in through:
                outcomes[name] = judge(name, Path(folder) / "bundle" / PATHS[name], known)
    return {
        "number": number, "kind": title, "drawn": drawn, "outcomes": outcomes,
        "rows": {"compared": compared, "left out": left_out, "unsteady": unsteady},
    }  # fmt: skip


def judge(name, artifact, known):
    """Runs an artifact on all rows, alone and mixed; returns its outcome."""
    known = [each for each in known if each]
    runs = [(each.inputs, batch) for each in known for batch in (1, 64)]
    if not runs:
        return "passed", ""
    (first, batch), *further = runs
    count = len(next(iter(first.values())))
    try:
        run = run_artifact(name, artifact, first, [(batch, count)], further=further, time_limit=60)
    except RuntimeFailure as error:
        return "wrong", f"it does not run: {error}"
    for k, answers in enumerate(run.outputs):
        words = random_answers.find_wrong(answers, known[k // 2])
        if words:
            return "wrong", f"rows {k // 2}, batch {'mixed' if k % 2 else 1}, {words}"
    return "passed", ""


def run_child(numbers, kind, every_reader):
    """Tries models and prints a line for each; the inside of a process."""
    if not every_reader:
        second_runtimes.READERS = READERS
    with keep_processes():  # what costs most of a small model's export is to start them
        for number in numbers:
            start = time.monotonic()
            found = try_model(number, kind)
            found["seconds"] = round(time.monotonic() - start, 2)
            print(MARK + json.dumps(found), flush=True)
            keras.backend.clear_session()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    parser.add_argument("--kind", choices=("all", "operators", "fusions"), default="all")
    parser.add_argument("--workers", type=int, default=1, help="processes at once")
    parser.add_argument("--resume", type=Path, help="file of a line a finished model")
    parser.add_argument("--time-limit", type=float, default=600.0, help="seconds a model")
    parser.add_argument("--second-readers", action="store_true", help="OpenVINO too")
    parser.add_argument("--out", type=Path, help="where the report goes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        run_child(map(int, args.child.split(",")), args.kind, args.second_readers)
        return None
    results = {}
    if args.resume and args.resume.exists():
        lines = args.resume.read_text(encoding="utf-8").split("\n")
        known = [json.loads(line) for line in lines[:-1]]  # the last may be half a line
        args.resume.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")
        results = {found["number"]: found for found in known}
    wanted = range(args.first, args.first + args.count)
    left = [number for number in wanted if number not in results]
    options = ["--kind", args.kind, *["--second-readers"] * args.second_readers]
    for found in try_models(left, options, args.workers, args.time_limit):
        results[found["number"]] = found
        if args.resume:
            with args.resume.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
        show(found)
    results = {number: results[number] for number in wanted}
    text = report(results, args.kind)
    if args.out:
        with atomic_write(args.out) as place:
            place.write_text(text, encoding="utf-8")
    else:
        print(text)
    found = [o for each in results.values() for o, _ in each["outcomes"].values()]
    if {"wrong", "crashed"} & set(found):
        sys.exit(1)
    return results


def show(found):
    """Prints one model's outcomes, and the words of what went wrong."""
    shown = "  ".join(f"{name} {outcome}" for name, (outcome, _) in found["outcomes"].items())
    print(f"{found['number']:4} {found['kind']:25} {found['seconds']:5.1f} s  {shown}", flush=True)
    for name, (outcome, words) in found["outcomes"].items():
        if outcome in ("wrong", "crashed", "caught"):
            print(f"     {name} {outcome}: {words[:600]}; {', '.join(found['drawn'])}", flush=True)


if __name__ == "__main__":
    main()
