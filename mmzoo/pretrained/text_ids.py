"""Strings to token ids in the graph, by the operators of tensorflow-text."""

import base64
import zlib

import keras
import tensorflow as tf
from keras import layers

INPUTS = ("string", "token_ids")
PADDINGS = ("longest", "max_length")


class TextIds(layers.Layer):
    """What the layers below share: a row is `first, pieces, last, 0, 0, ...`.

    A text of more than `max_length - 2` pieces is cut behind; `last` still ends its row.

    Args:
        max_length: Int of 3 or more. Most ids in a row, `first` and `last` among them.
        padding: "longest": rows are as long as the longest text of the batch needs;
            "max_length": always `max_length`, so that every shape but the batch is fixed.

    Raises:
        ValueError: If an argument is out of range.
        ImportError: If tensorflow-text is not installed.
    """

    first: int
    last: int

    def __init__(self, *, max_length, padding, **kwargs):
        super().__init__(**kwargs)
        check_length(max_length, padding)
        self.max_length = max_length
        self.padding = padding
        self.supports_jit = False  # XLA has no strings, and aborts the process on one

    def call(self, inputs):
        room = self.max_length - 2
        shape = [None, room] if self.padding == "max_length" else None
        # Dense at once: slices of ragged tensors leave operators that no runtime has.
        pieces = self._pieces(inputs).to_tensor(-1, shape=shape)[:, :room]
        rows, width = tf.unstack(tf.shape(pieces))
        if self.padding == "longest":
            lacking = tf.maximum(1 - width, 0)  # room for one id in a batch of empty texts
            pieces = tf.pad(pieces, [[0, 0], [0, lacking]], constant_values=-1)
            width += lacking
        length = tf.reduce_sum(tf.cast(pieces >= 0, tf.int32), axis=1, keepdims=True)
        length = tf.maximum(length, self._least_pieces)
        column = tf.ones([rows, 1], tf.int32)
        ids = tf.concat([self.first * column, tf.maximum(pieces, 0), 0 * column], axis=1)
        places = tf.range(width + 2)[tf.newaxis, :]
        ids = tf.where(places == length + 1, self.last, ids)
        ids.set_shape(self.compute_output_shape(inputs.shape))
        return ids

    _least_pieces = 0

    def _pieces(self, inputs):
        """Ragged int32 `(batch, None)`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.max_length if self.padding == "max_length" else None)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="int32")

    def get_config(self):
        own = {"max_length": self.max_length, "padding": self.padding}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mmzoo")
class SentencePieceIds(TextIds):
    """Strings to the ids of a SentencePiece unigram model.

    What the model does not know becomes id 0, a run of it one id; a text without pieces is
    read as unknown, too. `first` is `<s>` (1), `last` is `</s>` (2); neither can be written
    in a text. The model is part of the layer and of what is saved.

    Args:
        model: Bytes of the model file. BPE models give wrong ids.
        max_length, padding: See `TextIds`.

    Call arguments:
        inputs: String `(batch,)`.

    Returns:
        int32 `(batch, length)`, zero padded.
    """

    first, last = 1, 2
    _least_pieces = 1

    def __init__(self, model, *, max_length=64, padding="longest", **kwargs):
        super().__init__(max_length=max_length, padding=padding, **kwargs)
        self._model = model
        self._tokenizer = tensorflow_text().FastSentencepieceTokenizer(model)

    def _pieces(self, inputs):
        return tf.cast(self._tokenizer.tokenize(inputs), tf.int32)

    def get_config(self):
        packed = base64.b64encode(zlib.compress(self._model, 9)).decode("ascii")
        return {**super().get_config(), "model": packed}

    @classmethod
    def from_config(cls, config):
        model = zlib.decompress(base64.b64decode(config["model"]))
        return cls(**{**config, "model": model})


@keras.saving.register_keras_serializable(package="mmzoo")
class WordPieceIds(TextIds):
    """Strings to the ids of an uncased BERT vocabulary.

    `first` is `[CLS]`, `last` is `[SEP]`, neither of which can be written in a text.

    Args:
        vocabulary: List of tokens in the order of their ids, `[PAD]` first; `[UNK]`,
            `[CLS]` and `[SEP]` anywhere. One string of lines will do.
        max_length, padding: See `TextIds`.

    Call arguments:
        inputs: String `(batch,)`.

    Returns:
        int32 `(batch, length)`, zero padded.

    Raises:
        ValueError: If the vocabulary lacks a special token.

    Differs: from BERT's own tokenizer, which keeps ß, ligatures and full-width letters apart
    from ss and ASCII; tensorflow-text folds them.
    """

    def __init__(self, vocabulary, *, max_length=64, padding="longest", **kwargs):
        super().__init__(max_length=max_length, padding=padding, **kwargs)
        if isinstance(vocabulary, str):
            vocabulary = vocabulary.split("\n")
        missing = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}.difference(vocabulary)
        if missing or vocabulary[0] != "[PAD]":
            raise ValueError(
                "Expected a vocabulary with [PAD] first, and [UNK], [CLS] and [SEP]. Received: "
                f"{len(vocabulary)} tokens from {vocabulary[0]!r} on, without {sorted(missing)}."
            )
        self._vocabulary = tuple(vocabulary)
        self.first, self.last = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
        self._tokenizer = tensorflow_text().FastBertTokenizer(
            list(vocabulary), token_out_type=tf.int32, lower_case_nfd_strip_accents=True
        )

    def _pieces(self, inputs):
        return self._tokenizer.tokenize(inputs)

    def get_config(self):
        return {**super().get_config(), "vocabulary": "\n".join(self._vocabulary)}


def ids_input(input, max_length, padding, make_ids):
    """What a text encoder takes: its `keras.Input`, and the token ids made of it.

    Args:
        input: "string" or "token_ids".
        max_length, padding: See `TextIds`.
        make_ids: Function of no argument to the layer that makes ids of strings.
    """
    if input not in INPUTS:
        raise ValueError(f"`input` must be one of {INPUTS}. Received: input={input!r}.")
    check_length(max_length, padding)
    if input == "string":
        text = keras.Input((), dtype="string", name="text")
        return text, make_ids()(text)
    length = max_length if padding == "max_length" else None
    text = keras.Input((length,), dtype="int32", name="text_ids")
    return text, text


def check_length(max_length, padding):
    """Raises ValueError unless the arguments are those that `TextIds` takes."""
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length < 3:
        raise ValueError(
            f"`max_length` must be an int of 3 or more. Received: max_length={max_length!r}."
        )
    if padding not in PADDINGS:
        raise ValueError(f"`padding` must be one of {PADDINGS}. Received: padding={padding!r}.")


def tensorflow_text():
    """The module tensorflow_text, imported on first use."""
    try:
        import tensorflow_text
    except ImportError as error:
        raise ImportError(
            "Expected tensorflow-text, which tokenises strings. `pip install tensorflow-text` "
            f'(it has no wheel for every platform), or build with input="token_ids": {error}'
        ) from error
    return tensorflow_text
