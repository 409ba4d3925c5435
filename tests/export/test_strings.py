"""Files that take texts as strings: their token ids are TensorFlow's, or the text is stated."""

import numpy as np
import pytest
from fuzzed_strings import with_nul
from string_models import VOCABULARY, check_bytes, check_pieces, ids_of, shows, texts_of, write

from mmzoo.export.bundle.formats import STRINGS
from mmzoo.export.convert.text_strings import check_strings
from mmzoo.export.runtimes.process import RuntimeFailure
from mmzoo.export.surgery.tokenizers import split_tokenizers
from mmzoo.pretrained.text_ids import SentencePieceIds, WordPieceIds


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory):
    return write(shows(), tmp_path_factory.mktemp("bytes"))


def test_bytes_are_equal(of_bytes):
    check_bytes(of_bytes, 300)
    for name in STRINGS:  # a batch of empty texts has one zero a row
        assert not ids_of(of_bytes, name, [b"", b"", b""], batch=1).any()
        assert (ids_of(of_bytes, name, [b"", b"", b""], 3, "width") == 1).all()
        assert (ids_of(of_bytes, name, [b"", b"abc"], 2, "width") == 3).all()


@pytest.mark.slow
def test_bytes_of_ten_thousand_strings_are_equal(of_bytes):
    check_bytes(of_bytes, 10_000)


@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_pieces_are_equal(trained, tmp_path, padding):
    layer = SentencePieceIds(trained, max_length=60, padding=padding, name="pieces")
    folder = write(shows(layer), tmp_path)
    assert check_pieces(folder, 300) == 0
    # In batches of empty texts, of one, and cut short.
    for batch in (1, 3):
        texts = [b"", b"", b"", b"   ", b"a", b"\n"]
        expected = ids_of(folder, "saved_model", texts, batch)
        for name in STRINGS:
            np.testing.assert_array_equal(ids_of(folder, name, texts, batch), expected, name)
    short = write(shows(SentencePieceIds(trained, max_length=4, padding=padding)), tmp_path / "4")
    assert check_pieces(short, 60, length=4) == 0


@pytest.mark.slow
def test_pieces_of_ten_thousand_strings(published, tmp_path):
    folder = write(shows(SentencePieceIds(published, max_length=60)), tmp_path)
    differ = check_pieces(folder, 10_000)
    assert 0 < differ < 0.005 * 10_000  # what the manifest says


def test_what_the_manifest_says_of_equal_scores_is_so(published, tmp_path):
    folder = write(shows(SentencePieceIds(published, max_length=12)), tmp_path)
    text = ["и веииноааа".encode()]
    expected = ids_of(folder, "saved_model", text)
    np.testing.assert_array_equal(ids_of(folder, "tflite-strings", text), expected)
    found = ids_of(folder, "onnx-strings", text)
    assert (found != expected).any()
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def check_word_pieces(folder, count):
    texts = texts_of(count)
    expected = ids_of(folder, "saved_model", texts)
    np.testing.assert_array_equal(ids_of(folder, "tflite-strings", texts), expected)
    assert len(np.unique(expected, axis=0)) > count / 4


def test_word_pieces_of_tflite_are_equal_and_onnx_refuses(tmp_path):
    model = shows(WordPieceIds(VOCABULARY, max_length=60, name="word_pieces"))
    check_word_pieces(write(model, tmp_path, ["tflite-strings"]), 300)
    match = r"'word_pieces' \(WordPieceIds\) of the text 'text'.*Use 'onnx', with token ids"
    with pytest.raises(ValueError, match=match):
        check_strings("onnx-strings", *split_tokenizers(model))
    check_strings("tflite-strings", *split_tokenizers(model))


@pytest.mark.slow
def test_word_pieces_of_ten_thousand_strings(tmp_path):
    model = shows(WordPieceIds(VOCABULARY, max_length=60))
    check_word_pieces(write(model, tmp_path, ["tflite-strings"]), 10_000)


def test_nul(of_bytes, trained, tmp_path):
    texts = with_nul(100)
    pieces = write(shows(SentencePieceIds(trained, max_length=60)), tmp_path)
    for folder in (of_bytes, pieces):
        expected = ids_of(folder, "saved_model", texts)
        np.testing.assert_array_equal(ids_of(folder, "tflite-strings", texts), expected)
        with pytest.raises(RuntimeFailure, match="Expected strings without a NUL byte"):
            ids_of(folder, "onnx-strings", texts)


# Bundles.
