"""Names a concept from a picture, a phrase and a spoken word.

Data: Concept-128, embedded in mmzoo; split by icon vendor, language and voice.
Run: mmzoo run concepts --fusion interactive --out build/concepts
    (or: python -m mmzoo.recipes.concepts --fusion late --subsets all --out build/all;
    with `mmzoo hub build` image, text and audio done: --encoders pretrained;
    on all GPUs, or on CPUs of one machine: --strategy mirrored --replicas 4)
Expect: test accuracy 0.99 ± 0.01 with all three modalities after 2 minutes on 2 CPU cores
    (with pretrained encoders 0.98 after 14), and three artifacts
    whose certificates hold.
Paper: the additive score of Bahdanau et al., 2015 (arXiv:1409.0473) between modalities.
"""

import argparse
import contextlib
import functools
import time
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers, ops

from mmzoo import encoders, fusion, training
from mmzoo.data import concept128
from mmzoo.data.concept128 import Concept128
from mmzoo.export.bundle.formats import ALL
from mmzoo.export.bundle.manifest import check_bundle_place
from mmzoo.export.convert.quantization import check_choice
from mmzoo.fusion.presence import subsets_of
from mmzoo.io.place_lock import lock_place
from mmzoo.io.run_place import check_run_place
from mmzoo.recipes.common.concept128_card import about
from mmzoo.recipes.common.concept128_inputs import ENCODERS, as_taken, predictor, with_strings
from mmzoo.recipes.common.ship import WRITES, ship
from mmzoo.training.launch.arguments import pairs, positive_int, some_of
from mmzoo.training.launch.devices import Devices, add_device_arguments, devices_of

MODALITIES = concept128.MODALITIES
FUSIONS = ("early", "late", "interactive")
# Epochs and highest learning rate of each stage, and whether the modules learn too.
STAGES = {
    "shipped": [(6, 3e-3, False)],
    "scratch": [(12, 3e-3, False)],
    "pretrained": [(3, 2e-3, False), (3, 3e-4, True)],
}
CLASSES = 128
# Through Whisper's and EfficientNet's layers TFLite's own approximations add up to 1.1e-5.
TOLERANCE = {"shipped": 1e-5, "scratch": 1e-5, "pretrained": 5e-5}


def make_data(source, heads, batch_size, seed, tokenizer=None):
    """Returns a function of the steps done to the endless training stream, and the validation set.

    Each has one target a head.
    """

    def training_batch(inputs, targets):
        one_hot = tf.one_hot(targets["labels"], CLASSES)
        return as_taken(inputs, source.modalities, tokenizer), dict.fromkeys(heads, one_hot)

    def batches(first):
        return source.batches("train", batch_size, seed, first).map(training_batch)

    validation = tf.data.Dataset.from_tensor_slices(source.samples("validation", 4))
    return batches, validation.batch(64).map(training_batch).cache()


def build_model(
    fusion_kind="interactive", modalities=MODALITIES, kind="shipped", trained_as=keras.Model
):
    """Returns the model to train, with a head a modality, and the model to ship.

    Both share all layers and take `{modality: raw input, modality_present: bool}`, any of which
    may be absent; with nothing present each class has 1/128. To logits (`fused`,
    `image_logits`, …), and to `{"probability": (batch, 128)}`.
    """
    everything = {
        "image": keras.Input((None, None, 3), dtype="uint8", name="image"),
        "text": keras.Input((None,), dtype="uint8", name="text"),  # UTF-8 bytes, zero padded
        "audio": keras.Input((None,), dtype="float32", name="audio"),  # 16 kHz
    }
    options: dict[str, dict] = {m: {} for m in modalities}
    if kind == "pretrained":
        everything["text"] = keras.Input((None,), dtype="int32", name="text")  # token ids
        options["text"] = {"tokenized": True}
    inputs = {name: everything[name] for name in modalities}
    presence = fusion.presence_inputs(modalities)
    seen = fusion.HideAbsent(name="hide_absent")(inputs, presence)
    build = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}
    encoded = {
        m: build[m](ENCODERS[kind][m], name=f"{m}_encoder", **options[m])(seen[m])
        for m in modalities
    }
    pooled = {
        m: training.SampleDropout(0.3, name=f"{m}_dropout")(encoded[m]["pooled"]) for m in inputs
    }
    logits = {m: layers.Dense(CLASSES, name=f"{m}_logits")(pooled[m]) for m in inputs}
    heads = {f"{m}_logits": logits[m] for m in inputs}

    # Only the fusion loses modalities in training; each one's own head always learns.
    kept = fusion.PresenceDropout(0.3, name="presence_dropout")(presence)
    experts, trusted = dict(logits), dict(kept)
    if fusion_kind != "late":
        if fusion_kind == "early":
            x = fusion.Concatenation(name="joined")(pooled, presence=kept)
        else:
            x = fusion.InteractiveAttention(32, name="interactive_attention")(
                {m: encoded[m]["tokens"] for m in inputs},
                {m: encoded[m]["mask"] for m in inputs},
                kept,
            )
            x = layers.LayerNormalization(name="joined_norm")(x)
            x = training.SampleDropout(0.4, name="joined_dropout")(x)
        x = layers.Dense(256, activation="relu", name="hidden")(x)
        x = training.SampleDropout(0.4, name="hidden_dropout")(x)
        # What the modalities say together is one more expert beside what each says alone.
        # It has a loss of its own: beside experts that are right it would never learn.
        heads["together"] = together = layers.Dense(CLASSES, name="together")(x)
        experts = {"together": together} | (logits if fusion_kind == "interactive" else {})
        anything = functools.reduce(ops.logical_or, kept.values())
        trusted = {name: kept.get(name, anything) for name in experts}
    fused = fusion.LateFusion(name="experts")(experts, presence=trusted)
    probability = layers.Softmax(name="probability")(fused)
    taken = {tensor.name: tensor for tensor in (*inputs.values(), *presence.values())}
    to_train = trained_as(taken, {"fused": fused, **heads}, name="concepts_training")
    return to_train, keras.Model(taken, {"probability": probability}, name="concepts")


def train(
    fusion_kind, modalities, kind, *, seed, epochs, steps_per_epoch, batch_size, devices: Devices
):
    """Trains one model. Returns it, its tokenizer or None, its history and the seconds."""
    name = "+".join(modalities)
    keras.utils.set_random_seed(seed)
    tokenizer = None
    if kind == "pretrained":
        tokenizer = encoders.tokenizer(ENCODERS[kind]["text"])
    with devices.strategy.scope():
        to_train, distributed = build_model(
            fusion_kind, modalities, kind, training.DistributedModel
        )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    shown = ["fused_accuracy", "val_fused_accuracy"]
    history: dict[str, list] = {}
    source = Concept128(modalities)
    data, validation = make_data(source, list(to_train.output), batch_size, seed, tokenizer)
    start = time.perf_counter()
    for stage, (planned, highest, fine_tune) in enumerate(STAGES[kind]):
        count = planned if epochs is None else epochs
        first = len(history.get("loss", [])) * steps_per_epoch
        for m in modalities if kind != "scratch" else ():
            to_train.get_layer(f"{m}_encoder").get_layer("module").trainable = fine_tune
        rate = keras.optimizers.schedules.CosineDecay(
            1e-5, count * steps_per_epoch, warmup_target=highest, warmup_steps=60
        )
        with devices.strategy.scope():
            to_train.compile(
                optimizer=keras.optimizers.AdamW(rate, weight_decay=0.02),
                loss=dict.fromkeys(to_train.output, loss),
                metrics={"fused": ["accuracy"]},
            )
        stop = keras.callbacks.EarlyStopping(
            "val_fused_accuracy", mode="max", patience=4, restore_best_weights=True
        )
        with training.RichProgress(name, shown) as bar:
            done = training.fit_resumable(
                to_train, lambda steps, first=first: data(first + steps),
                epochs=count, steps_per_epoch=steps_per_epoch, validation_data=validation,
                callbacks=[bar, stop], folder=devices.checkpoints(name, f"stage-{stage}"),
                every=devices.every,
                arguments={"seed": seed, "batch_size": batch_size, "fusion": fusion_kind},
            )  # fmt: skip
        for key, values in done.items():
            history.setdefault(key, []).extend(values)
    _, model = build_model(fusion_kind, modalities, kind)  # on one device
    model.set_weights(distributed.get_weights())
    held_out, targets = source.samples("validation")
    held_out = as_taken(held_out, modalities, tokenizer)
    training.calibrate_experts(model, model.get_layer("experts"), held_out, targets["labels"])
    return model, tokenizer, history, time.perf_counter() - start


def main(argv=None) -> dict:
    """Trains, evaluates, exports and reports. Returns what `metrics.json` holds."""
    args = parse(argv)
    check_run_place(args.out, WRITES, "metrics.json", {"recipe": "concepts", "trained": None})
    args.out.mkdir(parents=True, exist_ok=True)  # what can't be written fails now, not after
    check_bundle_place(args.out / "bundle")
    check_choice(args.quantize, dict.fromkeys(args.modalities, ""))
    devices = devices_of(args, args.seed)
    with lock_place(args.out) if devices.chief else contextlib.nullcontext():
        return _train_and_ship(args, devices)


def _train_and_ship(args, devices):
    trained = {}
    for subset in subsets_of(args.modalities) if args.subsets == "all" else [args.modalities]:
        trained["+".join(subset)] = train(
            args.fusion, subset, args.encoders, seed=args.seed, epochs=args.epochs,
            steps_per_epoch=args.steps_per_epoch, batch_size=args.batch_size, devices=devices,
        )  # fmt: skip
    metrics: dict = {}
    with devices.others_waiting():
        if devices.chief:
            metrics = _ship(args, trained, devices.strategy.num_replicas_in_sync)
    return metrics


def _ship(args, models, replicas) -> dict:
    """Evaluates, exports and reports what was trained: dict of subset to what `train` returns."""
    trained = {}
    for subset, (model, tokenizer, history, seconds) in models.items():
        planned = sum(args.epochs or stage[0] for stage in STAGES[args.encoders])
        source = Concept128(subset.split("+"))
        predict = predictor(model, source.modalities, tokenizer)
        trained[subset] = {
            "seconds": seconds,
            "steps": len(history["loss"]) * args.steps_per_epoch,
            "batch_size": args.batch_size,
            "stopped_early": len(history["loss"]) < planned,
        }
        for split in ("validation", "test"):
            inputs, targets = source.samples(split)
            trained[subset][split] = source.task.metrics[0].value(predict(inputs, None), targets)
    # The last model read every modality: it is the one that ships, and does without any.
    curves = {
        key: history[key.replace("loss", "fused_loss").replace("accuracy", "fused_accuracy")]
        for key in ("loss", "accuracy", "val_loss", "val_accuracy")
    }
    return ship(
        with_strings(model, tokenizer), source, args.out, recipe="concepts", history=curves,
        seconds=seconds, seed=args.seed, predict=predict, formats=args.formats,
        quantize=args.quantize, tolerance=TOLERANCE[args.encoders], about=about,
        more={"fusion": args.fusion, "encoders": args.encoders, "replicas": replicas,
              "trained": trained},
    )  # fmt: skip


def parse(argv):
    parser = argparse.ArgumentParser(prog="concepts", description=__doc__.splitlines()[0])
    parser.add_argument("--fusion", choices=FUSIONS, default="interactive")
    parser.add_argument("--encoders", choices=tuple(ENCODERS), default="shipped")
    parser.add_argument("--modalities", type=some_of(MODALITIES), default=MODALITIES)
    parser.add_argument("--subsets", choices=("all",), help="a model for each subset too")
    parser.add_argument("--out", type=Path, default=Path("build/concepts"))
    parser.add_argument("--formats", type=some_of(ALL, "all", True), help="to make, or all")
    parser.add_argument("--quantize", type=pairs, default={}, help="image=int8,text=dynamic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=positive_int, help="a stage, instead of the planned")
    parser.add_argument("--steps-per-epoch", type=positive_int, default=50)
    parser.add_argument("--batch-size", type=positive_int, default=64)
    add_device_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
