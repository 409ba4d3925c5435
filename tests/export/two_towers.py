"""A model of a picture, a text and numbers, with two towers, and samples of it."""

import keras
import numpy as np
from keras import layers, ops

from mmzoo import fusion
from mmzoo.encoders.blocks import AllTrue
from mmzoo.export.samples.samples import Samples

SIZE = (6, 4)


def encoder(name, shape, dtype, body):
    inputs = keras.Input(shape, dtype=dtype, name=f"{name}_raw")
    tokens = body(inputs)
    mask = AllTrue(name="mask")(tokens) if len(shape) > 1 else ops.not_equal(inputs, 0)
    outputs = {
        "tokens": tokens,
        "mask": mask,
        "pooled": ops.sum(ops.where(mask[..., None], tokens, 0.0), 1),
    }
    return keras.Model(inputs, outputs, name=f"{name}_encoder")


def build(hidden=True, bypass=False, aware=True):
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    text = keras.Input((None,), dtype="uint8", name="text")
    numbers = keras.Input((2,), name="numbers")
    presence = fusion.presence_inputs(["image", "text"])
    seen = {"image": image, "text": text}
    if hidden:
        seen = fusion.HideAbsent(name="hide")(seen, presence)

    def look(x):
        x = layers.Conv2D(5, 2, 2, name="patches")(layers.Rescaling(1 / 255, name="unit")(x))
        return layers.Reshape((-1, 5), name="tokens")(x)

    encoders = {
        "image": encoder("image", (None, None, 3), "uint8", look),
        "text": encoder("text", (None,), "uint8", layers.Embedding(256, 3, name="table")),
    }
    made = {name: encoders[name](seen[name]) for name in encoders}
    fused = fusion.InteractiveAttention(4, num_heads=2, name="attention")(
        {name: x["tokens"] for name, x in made.items()},
        {name: x["mask"] for name, x in made.items()},
        presence,
    )
    x = layers.Concatenate(name="joined")([fused, numbers])
    if bypass:
        small = layers.GlobalAveragePooling2D(name="small")(layers.Rescaling(0.01)(image))
        x = layers.Concatenate(name="more")([x, small])
    experts = {
        "image": layers.Dense(3, name="image_logits")(made["image"]["pooled"]),
        "text": layers.Dense(3, name="text_logits")(made["text"]["pooled"]),
        "together": layers.Dense(3, name="together")(x),
    }
    trusted = {**presence, "together": ops.logical_or(presence["image"], presence["text"])}
    x = fusion.LateFusion(name="experts")(experts, presence=trusted if aware else None)
    taken = {t.name: t for t in (image, text, numbers, *presence.values())}
    return keras.Model(taken, {"scores": layers.Softmax(name="scores")(x)}, name="small")


def samples(count=20):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, (count, 1))
    inputs = {
        "image": rng.integers(0, 256, (count, *SIZE, 3)).astype("uint8"),
        "text": rng.integers(1, 255, (count, 5)).astype("uint8") * (np.arange(5) < lengths),
        "numbers": rng.standard_normal((count, 2), "float32"),
    }
    return Samples(inputs)


def every_input(count=20):
    inputs = samples(count).inputs
    return inputs | {f"{m}_present": np.ones(count, bool) for m in ("image", "text")}
