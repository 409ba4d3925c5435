"""Draws models at random, exports each to every format, and looks for a wrong answer that passed.

Run: python tools/random_models.py --count 200 --out docs/random_models.md
Expect: no wrong answer and no crash; a line a format with passes, mends, refusals, and what the
    certificate caught. A model is the same for the same number (--first); exit status 1 on a find.

A model has one to three modalities, each with an encoder of random layers, some of which a format
can't carry, and one of the fusions. What an export lets through is run again on samples that its
certificate has not seen: of other values, sizes, batches and subsets of modalities.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
from keras import layers, ops

from mmzoo.encoders.blocks import AllTrue
from mmzoo.export import ParityError, to_onnx, to_saved_model, to_tflite
from mmzoo.export.onnx_handlers import HANDLERS
from mmzoo.export.parity import compare
from mmzoo.export.prove import predict
from mmzoo.export.rewrites import rewrite_graph
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.samples import Samples
from mmzoo.export.to_saved_model import write_saved_model
from mmzoo.files import beside
from mmzoo.fusion import zoo

sys.path.insert(0, str(Path(__file__).parent))
from random_encoders import ENCODERS

FORMATS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}
OUTCOMES = ("passed", "mended", "refused", "caught", "wrong", "crashed")
BATCH = 10  # models a process: one that ends it takes no other with it
MARK = "result: "
TOLERANCE = 1e-4  # ten times the certificate's: other samples may be harder


def draw_model(number):
    """Returns a functional model and the sizes of its free axes, both drawn by the number."""
    rng = np.random.default_rng(number)
    keras.utils.set_random_seed(number)
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
    model = keras.Model(inputs, outputs, name=f"model_{number}")
    for variable in model.variables:  # running means and zero-initialised weights too
        statistic = variable.path.endswith(("moving_mean", "moving_variance"))
        if variable.trainable or statistic:
            noise = 0.1 * rng.standard_normal(variable.shape)
            value = np.asarray(variable) + noise
            variable.assign(np.abs(value) if variable.path.endswith("variance") else value)
    return model, kind


def draw_inputs(model, seed, count, grow=1.0):
    """Real-looking inputs by name; every subset of the modalities, but for none at all."""
    rng = np.random.default_rng(seed)
    free = {"image": (12, 14), "text": (9,), "audio": (800,), "signal": (10,)}
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
        else:
            values[name] = rng.standard_normal((count, *grown)).astype("float32")
    presences = [name for name in values if name.endswith("_present")]
    if presences:
        values[presences[0]] |= ~np.any([values[name] for name in presences], 0)
    return values


def try_format(model, format, folder):
    """Returns an outcome and a sentence."""
    samples = Samples(draw_inputs(model, 1, 20))
    path = folder / format
    try:
        FORMATS[format](model, path, samples=samples)
    except ParityError as error:
        return "caught", str(error)
    except ValueError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001 whatever else: it is what we look for
        return "crashed", f"{type(error).__name__}: {error}"
    grown = (1.0, 1.6, 0.8)
    fresh = [draw_inputs(model, 2 + k, 7, grow) for k, grow in enumerate(grown)]
    further = [(inputs, 5) for inputs in fresh[1:]]
    answers = run_artifact(format, path, fresh[0], [(5, 7)], further=further).outputs
    for inputs, grow, answer in zip(fresh, grown, answers, strict=True):
        for name, expected in predict(model, inputs).items():
            found = compare(answer[name], expected, TOLERANCE)
            if found.breaches:
                return "wrong", f"sizes x {grow}, output {name!r}: {'; '.join(found.breaches)}"
    return ("mended", "") if _is_mended(model, format, folder) else ("passed", "")


def _is_mended(model, format, folder):
    """Whether an operator was written another way than the converter would have."""
    if format == "saved_model":
        return False
    from tensorflow.core.protobuf import saved_model_pb2

    saved = write_saved_model(model, folder / f"{format}_graph", ["portable"])
    content = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    operators = {
        node.op
        for meta in content.meta_graphs
        for function in meta.graph_def.library.function
        for node in function.node_def
    }
    return bool(rewrite_graph(saved, format)) or (
        format == "onnx" and bool(operators & set(HANDLERS))
    )


def report(results, seconds):
    """Markdown of all outcomes."""
    lines = [
        "# Models drawn at random", "",
        f"{len(results)} models, `python tools/random_models.py --count {len(results)}`, "
        f"{seconds / 60:.0f} minutes on two cores. Every artifact that passed its certificate was "
        "run again on samples that it had not seen, of other sizes, batches and subsets.", "",
        "| format | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * len(OUTCOMES),
    ]  # fmt: skip
    for format in FORMATS:
        counted = collections.Counter(outcomes[format][0] for _, outcomes in results.values())
        row = " | ".join(str(counted[outcome]) for outcome in OUTCOMES)
        lines.append(f"| {format} | {row} |")
    lines += [
        "", "passed: as the converter writes it; mended: with an operator written another way; "
        "refused: before or by the conversion, with a reason; caught: the certificate did not "
        "hold, so nothing was left; wrong: passed, and wrong on other samples.", "",
        "## What was refused, caught or wrong", "",
    ]  # fmt: skip
    said = collections.Counter(
        f"{format}, {outcome}: {_shortened(words)}"
        for _, outcomes in results.values()
        for format, (outcome, words) in outcomes.items()
        if words
    )
    lines += [f"- {count} x {words}" for words, count in said.most_common()]
    return "\n".join(lines) + "\n"


def _shortened(words):
    words = " ".join(words.split()).replace("|", "/")
    for before in ("Expected a model of ", "Expected every artifact to give the Keras model's "):
        words = words.removeprefix(before)
    return words if len(words) < 180 else f"{words[:180]}…"


def try_model(number):
    """Returns the kind of fusion of one model, and a dict of format to `try_format`'s outcome."""
    model, kind = draw_model(number)
    with tempfile.TemporaryDirectory() as folder:
        return kind, {name: try_format(model, name, Path(folder)) for name in FORMATS}


def try_models(first, count):
    """Yields a model's number and what `try_model` returns, each batch in a process of its own.

    A model that ends its process is tried once more, alone, and then has "crashed".
    """
    number, end, tried = first, first + count, set()
    while number < end:
        batch = 1 if number in tried else min(BATCH, end - number)
        command = [
            sys.executable,
            __file__,
            "--child",
            "--first",
            str(number),
            "--count",
            str(batch),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace") as child:  # fmt: skip
            assert child.stdout and child.stderr
            said: collections.deque = collections.deque(maxlen=20)
            reader = threading.Thread(target=lambda: said.extend(child.stderr))  # noqa: B023
            reader.start()
            done = number
            for line in child.stdout:
                if line.startswith(MARK):
                    found = json.loads(line.removeprefix(MARK))
                    yield done, found
                    done += 1
            reader.join()
        if done == number + batch:
            number = done
        elif done in tried:
            last = [line.strip() for line in said if line.strip()][-1:]
            words = f"the process ended with code {child.returncode}: {' '.join(last)}"
            yield done, ("?", dict.fromkeys(FORMATS, ("crashed", words)))
            number = done + 1
        else:
            tried.add(done)
            number = done


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    parser.add_argument("--out", type=Path, help="where the report goes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        for number in range(args.first, args.first + args.count):
            print(MARK + json.dumps(try_model(number)), flush=True)
            keras.backend.clear_session()
        return None
    start, results = time.perf_counter(), {}
    for number, (kind, outcomes) in try_models(args.first, args.count):
        results[number] = kind, outcomes
        shown = "  ".join(f"{name} {outcome}" for name, (outcome, _) in outcomes.items())
        print(f"{number:4} {kind:25} {shown}", flush=True)
        for name, (outcome, words) in outcomes.items():
            if outcome in ("wrong", "crashed", "caught"):
                print(f"     {name} {outcome}: {words[:600]}", flush=True)
    text = report(results, time.perf_counter() - start)
    if args.out:
        with beside(args.out) as place:
            place.write_text(text, encoding="utf-8")
    else:
        print(text)
    found = [o for _, outcomes in results.values() for o, _ in outcomes.values()]
    if {"wrong", "crashed"} & set(found):
        sys.exit(1)
    return results


if __name__ == "__main__":
    main()
