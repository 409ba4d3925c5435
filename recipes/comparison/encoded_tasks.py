"""What the bake-off compares fusions on: encoded Concept-128, and synthetic tasks."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from mmzoo import encoders
from mmzoo.data import concept128, synthetic
from mmzoo.data.concept128 import stream
from mmzoo.training.features import Features, encode

MODALITIES = concept128.MODALITIES
WINDOW = 4  # tokens that become one
RAW = {"image": (64, 64, 3), "text": (concept128.TEXT_BYTES,), "audio": (concept128.AUDIO_SAMPLES,)}
# Of a synthetic task, whose models are small.
SMALL = {"parameters": 20_000, "steps": 300, "samples": 19_200, "tested": 2_000}
MEAN = (
    " Kinds that read tokens can find the one that speaks; those that read a vector, and a "
    "modality alone, get the mean of all tokens."
)
ABOUT = {  # title, and what is asked
    "concepts": (
        "Concept-128, speech in noise",
        "128 everyday concepts from a picture of an unseen vendor, a phrase in an unseen language "
        "and a word in an unseen voice, in white noise. The encoders are frozen. Experts of late "
        "fusion are calibrated on the validation set.",
    ),
    "xor": (
        "XOR of two bits",
        "Image and text have a bit each; the label is their XOR, of which no modality alone says "
        "anything. Late fusion stays at chance, whatever lets the two interact solves it." + MEAN,
    ),
    "noise": (
        "One modality is noise",
        "The image has the label, the text is noise as loud. Fusion should be as good as the "
        "image alone." + MEAN,
    ),
    "single": (
        "One modality has it all",
        "The text has the label; the image has another one, louder and beside the point. Fusion "
        "should be as good as the text alone." + MEAN,
    ),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """Encoded samples, and what a model of them may cost.

    Attributes:
        classes: Number of them.
        parameters: Of a model, about.
        budget: Steps and batch size of its training.
        train, validation, test: The samples.
        phrases: What the text encoder read, by split, where it did.
    """

    classes: int
    parameters: int
    budget: dict[str, int]
    train: Features
    validation: Features
    test: Features
    phrases: dict[str, np.ndarray] | None = None


def build_encoder():
    """Returns the model that all kinds share: raw inputs to what a fusion reads, by modality.

    A modality's tokens are its pooled vector, then its own tokens, four at a time averaged.
    """
    inputs = {
        "image": keras.Input((None, None, 3), dtype="uint8", name="image"),
        "text": keras.Input((None,), dtype="uint8", name="text"),  # UTF-8 bytes, zero padded
        "audio": keras.Input((None,), dtype="float32", name="audio"),  # 16 kHz
    }
    build = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}
    outputs = {}
    for m in MODALITIES:
        found = build[m](f"mmzoo/concept128-{m}/1", name=f"{m}_encoder")(inputs[m])
        kept = ops.expand_dims(ops.cast(found["mask"], "float32"), -1)
        average = layers.AveragePooling1D(WINDOW, padding="same", name=f"{m}_average")
        share = average(kept)  # (batch, windows, 1), of real tokens
        tokens = average(found["tokens"] * kept) / ops.maximum(share, 1e-6)
        real = ops.concatenate([ops.ones_like(share[:, :1]), share], axis=1) > 0
        outputs[f"{m}_pooled"] = found["pooled"]
        outputs[f"{m}_tokens"] = ops.concatenate([found["pooled"][:, None], tokens], axis=1)
        outputs[f"{m}_mask"] = real[..., 0]
    return keras.Model(inputs, outputs, name="encoders")


def encode_concepts(args, encoder):
    """Returns the task "concepts": every sample goes through the encoders once."""
    noise = (args.noise_db, args.noise_db)
    sources = dataclasses.replace(concept128.load_sources("train"), noise_db=noise)
    batches = {"train": stream.training_stream(sources, args.batch_size).take(args.steps)}
    for split in ("validation", "test"):
        samples = concept128.draw_samples(split, noise_db=args.noise_db)
        batches[split] = tf.data.Dataset.from_tensor_slices(samples).batch(64)
    phrases: dict[str, list] = {split: [] for split in batches}

    def read(split):
        for inputs, label in batches[split]:
            phrases[split].append(inputs["text"].numpy())
            yield inputs, label

    found = {split: encode(encoder, read(split)) for split in batches}
    return Task(
        classes=len(concept128.class_names()),
        parameters=args.parameters,
        budget={"steps": args.steps, "batch_size": args.batch_size},
        phrases={split: np.concatenate(rows) for split, rows in phrases.items()},
        **found,
    )


def draw_synthetic(name, args):
    """Returns a synthetic task; the vector of a modality is the mean of its tokens."""
    found = {}
    for split in synthetic.SPLITS:
        count = SMALL["samples"] if split == "train" else SMALL["tested"]
        tokens, labels = synthetic.draw(name, split, count, seed=0)
        masks = {m: np.ones(x.shape[:2], bool) for m, x in tokens.items()}
        found[split] = Features(tokens, masks, {m: x.mean(1) for m, x in tokens.items()}, labels)
    return Task(
        classes=synthetic.expected(name)["classes"],
        parameters=min(args.parameters, SMALL["parameters"]),
        budget={"steps": min(args.steps, SMALL["steps"]), "batch_size": args.batch_size},
        **found,
    )
