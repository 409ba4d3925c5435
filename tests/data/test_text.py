import doctest

import numpy as np
import pytest

import mmzoo.data.text
from mmzoo.data import decode_text, encode_text

TEXTS = ["key", "clé à molette", "ウサギ", "заяц", "🐇", "", " a ", "Hüte\n", "﷽"]


def test_doctests():
    result = doctest.testmod(mmzoo.data.text)
    assert result.failed == 0 and result.attempted >= 1


def test_round_trip():
    encoded = encode_text(TEXTS)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (len(TEXTS), max(len(text.encode()) for text in TEXTS))
    assert decode_text(encoded) == TEXTS
    for row, text in zip(encoded, TEXTS, strict=True):
        assert bytes(row) == text.encode().ljust(encoded.shape[1], b"\0")


def test_length_pads():
    assert encode_text(["ab", ""], 4).tolist() == [[97, 98, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("length", range(1, 12))
def test_length_cuts_between_characters(length):
    """Longest start of whole characters that fits; four scripts, 1 to 4 bytes a character."""
    texts = ["abcdef", "éèêëà", "ウサギ", "🐇🐇", "aé🐇b"]
    encoded = encode_text(texts, length)
    assert encoded.shape == (len(texts), length)
    for text, found in zip(texts, decode_text(encoded), strict=True):
        starts = [text[:k] for k in range(len(text) + 1)]
        assert found == max((s for s in starts if len(s.encode()) <= length), key=len)


def test_no_texts_and_empty_texts():
    assert encode_text([]).shape == (0, 1) and encode_text([], 7).shape == (0, 7)
    assert encode_text([""]).tolist() == [[0]]
    assert decode_text(np.zeros((2, 3), "uint8")) == ["", ""]


def test_any_iterable():
    assert decode_text(encode_text(text for text in "abc")) == ["a", "b", "c"]


def test_lone_surrogate_and_broken_bytes():
    assert decode_text(encode_text(["a\ud800b"])) == ["a?b"]
    assert decode_text(np.array([[255, 97, 0]], "uint8")) == ["\ufffda"]


@pytest.mark.parametrize("length", [0, -1])
def test_length_error(length):
    with pytest.raises(
        ValueError, match=f"`length` must be a positive int. Received: length={length}"
    ):
        encode_text(["a"], length)


@pytest.mark.parametrize("text", ["\0", "a\0b", "a\0"])
def test_nul_error(text):
    with pytest.raises(ValueError, match=r"must not hold NUL characters. Received: '.*\\x00.*'"):
        encode_text(["fine", text])
