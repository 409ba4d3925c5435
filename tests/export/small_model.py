"""A small model of text and numbers, and samples of it."""

import keras
import numpy as np
from keras import layers

from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export.samples.samples import Samples

WEIGHT = 0.71828127  # found again in the files by its bytes


def small_model(masked=True):
    """Text and numbers to a probability and an embedding."""
    text = keras.Input((None,), dtype="uint8", name="text")
    numbers = keras.Input((4,), name="numbers")
    ids, mask = ByteTokens(name="bytes")(text)
    x = layers.ReLU()(layers.Embedding(256, 6, name="table")(ids))
    x = MaskedPooling()(x, mask) if masked else layers.GlobalAveragePooling1D()(x)
    x = layers.Concatenate()([x, numbers])
    embedding = layers.Dense(
        5, activation="tanh", name="embed", bias_initializer=keras.initializers.Constant(WEIGHT)
    )(x)
    probability = layers.Dense(7, activation="softmax", name="classify")(embedding)
    outputs = {"probability": probability, "embedding": embedding}
    return keras.Model({"text": text, "numbers": numbers}, outputs, name="small")


def small_samples(count=20):
    rng = np.random.default_rng(0)
    text = rng.integers(1, 255, (count, 9)).astype("uint8")
    text[::3, 4:] = 0
    inputs = {"text": text, "numbers": rng.standard_normal((count, 4), "float32")}
    return Samples(inputs, rng.integers(0, 7, count))
