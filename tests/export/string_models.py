"""Models of strings, their files, and what these make of texts."""

import keras
import numpy as np
from fuzzed_strings import fuzzed
from keras import layers, ops

from mmzoo.export.bundle.formats import PATHS, STRINGS
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.text_strings import write_strings
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.surgery.tokenizers import split_tokenizers

READERS = {"onnx-strings": "onnx with extensions", "tflite-strings": "tflite with tensorflow-text"}
VOCABULARY = ["[PAD]", "x", "[UNK]", "[CLS]", "[SEP]", "red", "##dish", "cafe", ",", "日", "本",
              *"abcdefghijklmnop", *(f"##{letter}" for letter in "abcdefghijklmnop")]  # fmt: skip
LONGEST = 16_384


@keras.saving.register_keras_serializable("test")
class Fixed(layers.Layer):
    """Rows padded with zeros, or cut, to one length: what comes in, to be looked at."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, rows):
        return ops.pad(ops.cast(rows, "int32"), [[0, 0], [0, self.size]])[:, : self.size]

    def compute_output_spec(self, rows):
        return keras.KerasTensor((rows.shape[0], self.size), dtype="int32")


def shows(make=None):
    """A model that gives the ids that a layer makes of its text, or the bytes."""
    if make is None:
        text = keras.Input((None,), dtype="uint8", name="text")
        outputs = {
            "ids": Fixed(LONGEST, name="ids")(text),
            "width": ops.sum(ops.ones_like(text, dtype="int32"), axis=1, keepdims=True),
        }
        return keras.Model({"text": text}, outputs)
    text = keras.Input((), dtype="string", name="text")
    return keras.Model({"text": text}, {"ids": Fixed(64, name="ids")(make(text))})


def write(model, folder, names=tuple(STRINGS)):
    """The SavedModel and files of strings, unverified."""
    portable, tokenizers = split_tokenizers(model)
    for name in ("saved_model", *names):
        (folder / PATHS[name]).parent.mkdir(parents=True)
    write_saved_model(portable, folder / PATHS["saved_model"], ["serving_default"], tokenizers)
    for name in names:
        write_strings(name, folder, portable, tokenizers)
    return folder


def ids_of(folder, name, texts, batch=50, output="ids"):
    given, plan = {"text": np.array(texts, "S")}, [(batch, len(texts))]
    place = folder / PATHS[name]
    if name == "saved_model":
        run = run_artifact(name, place, given, plan, signature="serving_default")
    else:
        run = run_artifact(READERS[name], place, given, plan)
    assert not run.report["python_tensorflow"]
    return run.outputs[0][output]


def texts_of(count):
    return fuzzed(count // 2) + fuzzed(count - count // 2, 1, valid=False)


def check_bytes(folder, count):
    for start in range(0, count, 1000):
        texts = texts_of(count)[start : start + 1000]
        expected = np.zeros((len(texts), LONGEST), "int32")
        for row, text in zip(expected, texts, strict=True):
            row[: len(text)] = np.frombuffer(text, "uint8")
        for name in ("saved_model", *STRINGS):
            np.testing.assert_array_equal(ids_of(folder, name, texts), expected, name)


def check_pieces(folder, count, length=60):
    """TFLite's ids are equal; ONNX's too, or the same in another order: returns how many."""
    texts = texts_of(count)
    expected = ids_of(folder, "saved_model", texts)
    np.testing.assert_array_equal(ids_of(folder, "tflite-strings", texts), expected)
    found = ids_of(folder, "onnx-strings", texts)
    differ = np.flatnonzero((found != expected).any(1))
    for k in differ:
        if expected[k, length - 1] == 0:  # of one that was cut a piece may be lost
            np.testing.assert_array_equal(np.sort(found[k]), np.sort(expected[k]), str(texts[k]))
    assert length < 10 or len(np.unique(expected, axis=0)) > count / 4
    return len(differ)
