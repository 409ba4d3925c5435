"""Trains a small encoder a modality, and publishes each as a TF-Hub module.

Data: Concept-128, training split: its icon vendors, languages and voices, augmented.
Run: mmzoo run towers --out build/towers
    (or: python -m mmzoo.recipes.towers --modalities audio --steps 200)
Expect: test accuracy of each alone, with its classifier: image 0.73, text 0.37, audio 0.96,
    each ± 0.03, after half an hour on 2 CPU cores; modules of at most 3 MB.
Paper: the reusable SavedModel interface, tensorflow.org/hub/reusable_saved_models.
"""

import argparse
import time
from pathlib import Path

import keras
import rich
import tensorflow as tf
from keras import layers

from mmzoo import __version__, encoders, hub, training
from mmzoo.data import concept128
from mmzoo.data.concept128 import stream
from mmzoo.hub.publishing import OURS
from mmzoo.hub.towers import tower_contract
from mmzoo.io.files import check_replaceable
from mmzoo.tasks.metrics.classes import accuracy
from mmzoo.training.launch.arguments import positive_int, some_of
from mmzoo.training.launch.devices import Devices, add_device_arguments, devices_of

MODALITIES = concept128.MODALITIES
CLASSES = 128
STEPS = {"image": 2400, "text": 1500, "audio": 1800}
ABOUT = {
    "image": "a convolutional network on 64 x 64 pixels",
    "text": "convolutions over 2 to 6 bytes",
    "audio": "a convolutional network on a log-mel spectrogram",
}

TAKES = {
    "image": "RGB pictures, uint8 (batch, height, width, 3) of any size, scaled to 64 x 64.",
    "text": "UTF-8 bytes, uint8 (batch, length), zero padded on the right.",
    "audio": "mono waveforms at 16 kHz in [-1, 1], float32 (batch, time); zeros are padding.",
}


def make_data(modality, batch_size, seed):
    """Returns a function of the steps done to the training stream, and the validation set."""
    sources = concept128.load_sources("train")

    def batches(first):
        train = stream.training_stream(sources, batch_size, seed, [modality], first)
        return train.map(lambda inputs, label: (inputs[modality], label))

    inputs, labels = concept128.draw_samples("validation")
    validation = tf.data.Dataset.from_tensor_slices((inputs[modality], labels)).batch(128)
    return batches, validation


def build_model(modality, units=128, trained_as=keras.Model):
    """Returns the tower, and the classifier that it is trained in."""
    build = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}
    tower = build[modality](units=units, name=f"{modality}_encoder")
    inputs = keras.Input(tower.inputs[0].shape[1:], dtype=tower.inputs[0].dtype, name=modality)
    pooled = training.SampleDropout(0.3, name="dropout")(tower(inputs)["pooled"])
    logits = layers.Dense(CLASSES, name="logits")(pooled)
    return tower, trained_as(inputs, logits, name=f"{modality}_classifier")


def train(modality, *, seed, steps, batch_size, devices: Devices):
    """Trains one tower. Returns it, its classifier and what its card says."""
    keras.utils.set_random_seed(seed)
    data, validation = make_data(modality, batch_size, seed)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps, warmup_target=3e-3, warmup_steps=min(100, steps // 10 + 1)
    )
    with devices.strategy.scope():
        _, distributed = build_model(modality, trained_as=training.DistributedModel)
        distributed.compile(
            optimizer=keras.optimizers.AdamW(
                rate, weight_decay=0.05, use_ema=True, ema_momentum=0.99
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    epochs = max(1, steps // 250)
    steps_per_epoch = steps // epochs
    start = time.perf_counter()
    with training.RichProgress(modality, ["accuracy", "val_accuracy"]) as bar:
        training.fit_resumable(
            distributed, data, epochs=epochs, steps_per_epoch=steps_per_epoch,
            validation_data=validation, callbacks=[bar], every=devices.every,
            folder=devices.checkpoints(modality),
            arguments={"seed": seed, "batch_size": batch_size},
        )  # fmt: skip
    tower, model = build_model(modality)  # on one device
    model.set_weights(distributed.get_weights())
    figures = {"steps": epochs * steps_per_epoch, "batch_size": batch_size, "seed": seed}
    figures["seconds"] = time.perf_counter() - start
    return tower, model, figures


def evaluate(modality, model):
    """Accuracy of the classifier, a split."""
    found = {}
    for split in ("validation", "test"):
        inputs, labels = concept128.draw_samples(split)
        found[split] = accuracy(model.predict(inputs[modality], batch_size=64, verbose=0), labels)
    return found


def card(modality, tower, figures):
    """The model card, in Markdown."""
    split = concept128.split_sources()
    names = {part: ", ".join(sources[modality]) for part, sources in split.items()}
    return f"""# mmzoo/concept128-{modality}/1

{ABOUT[modality].capitalize()}: {tower.count_params():,} parameters, trained from scratch
by the recipe `towers` of mmzoo {__version__}
({figures["steps"]:,} steps of {figures["batch_size"]}, seed {figures["seed"]}).

- **Trained on** the training split of Concept-128 (asset {concept128.checksum()[:12]}):
  {names["train"]}.
- **Never trained on** {names["validation"]} (validation) or {names["test"]} (test).
- **How well**, with the linear classifier over the 128 concepts that it was trained in:
  accuracy {figures["validation"]:.3f} on validation, {figures["test"]:.3f} on test samples.
- **Takes** {TAKES[modality]}
- **Gives** `tokens` (batch, N, 128), `mask` bool (batch, N) and `pooled` (batch, 128).
- **Meant for** demonstrations, tests and as a start for fine-tuning on similar data. It knows
  128 everyday concepts as icons, words and synthetic speech, and little of photographs,
  sentences or human voices.
- **Licence** Apache-2.0; the sources of the data are in mmzoo's NOTICE.
"""


def main(argv=None) -> dict:
    """Trains and publishes the towers. Returns the figures on their cards."""
    args = parse(argv)
    for modality in args.modalities:
        check_replaceable(folder_of(args.out, modality), OURS, "saved_model.pb")
    args.out.mkdir(parents=True, exist_ok=True)  # what can't be written fails now, not after
    devices = devices_of(args, args.seed)
    trained = {
        modality: train(
            modality, seed=args.seed, steps=args.steps or STEPS[modality],
            batch_size=args.batch_size, devices=devices,
        )
        for modality in args.modalities
    }  # fmt: skip
    found = {}
    with devices.others_waiting():
        for modality, each in trained.items() if devices.chief else ():
            found[modality] = publish(modality, *each, args.out)
    return found


def folder_of(out, modality):
    """Where a tower's module is written."""
    return out / f"concept128-{modality}" / "1"


def publish(modality, tower, model, figures, out):
    """Publishes one tower. Returns the figures on its card."""
    figures |= evaluate(modality, model)
    folder = folder_of(out, modality)
    hub.publish(
        tower, folder, card=card(modality, tower, figures),
        contract=tower_contract(tower, licence="Apache-2.0"),
    )  # fmt: skip
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    rich.print(f"{modality}: test accuracy {figures['test']:.3f}, {size / 1e6:.2f} MB")
    print(f"Module: {folder}")
    return {**figures, "bytes": size, "path": str(folder)}


def parse(argv):
    parser = argparse.ArgumentParser(prog="towers", description=__doc__.splitlines()[0])
    parser.add_argument("--modalities", type=some_of(MODALITIES), default=MODALITIES)
    parser.add_argument("--out", type=Path, default=Path("build/towers"))
    parser.add_argument("--steps", type=positive_int, help="instead of each modality's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=positive_int, default=64)
    add_device_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
