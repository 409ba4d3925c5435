"""What the models of Concept-128 take, of what its data set gives."""

import keras
import tensorflow as tf

from mmzoo.data import concept128

ENCODERS = {
    "shipped": {m: f"mmzoo/concept128-{m}/1" for m in concept128.MODALITIES},
    "scratch": dict.fromkeys(concept128.MODALITIES, "small"),
    "pretrained": {
        "image": "mmzoo/efficientnet-lite0-128/1",
        "text": "mmzoo/universal-sentence-encoder-multilingual-token-ids/1",
        "audio": "mmzoo/whisper-tiny-en-1s/1",
    },
}


def as_taken(inputs, modalities, tokenizer=None, present=None):
    """Picks what a model takes; where it has a tokenizer, texts as token ids.

    `present`: which of the modalities are to be seen; None: all.
    """
    taken = {m: inputs[m] for m in modalities}
    count = tf.shape(inputs[modalities[0]])[0]
    for m in modalities:
        taken[f"{m}_present"] = tf.fill([count], present is None or m in present)
    if tokenizer is not None and "text" in taken:
        letters = tf.gather(tf.constant([b"", *(bytes([k]) for k in range(1, 256))]),
                            tf.cast(taken["text"], "int32"))  # fmt: skip
        taken["text"] = tokenizer(tf.strings.reduce_join(letters, axis=1))
    return taken


def predictor(model, modalities, tokenizer=None):
    """`predict` of `mmzoo.evaluation.evaluate` for a model of these modalities."""

    def predict(inputs, present):
        taken = as_taken(inputs, modalities, tokenizer, present)
        return model.predict(taken, batch_size=64, verbose=0)

    return predict


def with_strings(model, tokenizer):
    """The model to ship: one that takes strings, where a tokenizer stands before it."""
    if tokenizer is None or "text" not in {tensor.name for tensor in model.inputs}:
        return model
    inputs = {t.name: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in model.inputs}
    inputs["text"] = keras.Input((), dtype="string", name="text")
    taken = {**inputs, "text": tokenizer(inputs["text"])}
    return keras.Model(inputs, model(taken), name="concepts_of_strings")
