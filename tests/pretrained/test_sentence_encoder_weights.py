import numpy as np
import pytest

from mmzoo.pretrained import sentence_encoder
from mmzoo.pretrained.sentence_encoder import universal_sentence_encoder_multilingual as build


def archive_of(pieces):
    """The arrays of a weight file, with random values."""
    rng = np.random.default_rng(0)
    shapes = {"lo": 17, "scale": 17, "cnn_W": (1280, 512), "cnn_b": 512, "d0": (512, 320)}
    shapes |= {"d1": (320, 320), "d2": (320, 512), "d3": (512, 512), "p1": (512, 320)}
    shapes |= {"p3": (320, 512), "ln_g": 1280, "ln_b": 1280, "bits": 1, "eps": ()}
    for gram in (2, 3, 5):
        shapes |= {f"proj{gram}": (512, 256)}
        shapes |= {f"w{step}_{gram}": (gram * 256, 256) for step in (1, 2)}
        vectors = (f"proj_b{gram}", f"ln_g{gram}", f"ln_b{gram}", f"b1_{gram}", f"b2_{gram}")
        shapes |= dict.fromkeys(vectors, 256)
    arrays = {name: rng.random(shape, "float32") for name, shape in shapes.items()}
    for part in range(17):
        arrays[f"q{part + 1}"] = rng.integers(0, 64, (pieces // 17, 512), dtype="uint8")
    return arrays


def build_from(arrays, tmp_path, monkeypatch, **kwargs):
    monkeypatch.setattr(sentence_encoder, "PIECES", 170)
    np.savez(tmp_path / "weights.npz", **arrays)
    return build(tmp_path / "weights.npz", input="token_ids", **kwargs)


@pytest.mark.parametrize("train_embedding", [False, True])
def test_rows_of_the_table(tmp_path, monkeypatch, train_embedding):
    arrays = archive_of(170)
    model = build_from(arrays, tmp_path, monkeypatch, train_embedding=train_embedding)
    rows = model.get_layer("embedding")(np.array([[0, 18, 169]], "int32"))[0]
    for row, (part, place) in zip(rows, [(0, 0), (1, 1), (16, 9)], strict=True):
        expected = arrays[f"q{part + 1}"][place] * arrays["scale"][part] + arrays["lo"][part]
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def test_weights_of_something_else(tmp_path, monkeypatch):
    arrays = archive_of(170)
    with pytest.raises(ValueError, match=r"without \[\], with \['extra'\]"):
        build_from({**arrays, "extra": arrays["d0"]}, tmp_path, monkeypatch)
    missing = {name: array for name, array in arrays.items() if name not in ("d2", "w1_3")}
    with pytest.raises(ValueError, match=r"without \['d2', 'w1_3'\], with \[\]"):
        build_from(missing, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="'tokens/bias' gives .*'hidden_1/kernel' gives "):
        wrong = {"d0": arrays["d1"], "cnn_b": arrays["lo"]}
        build_from({**arrays, **wrong}, tmp_path, monkeypatch)


@pytest.mark.parametrize("arguments", [{}, {"input": "token_ids", "weights": "package"}])
def test_without_the_package(monkeypatch, arguments):
    monkeypatch.setattr(sentence_encoder, "PACKAGE", "no-such-package")
    monkeypatch.setattr(sentence_encoder, "PIECES", 170)
    with pytest.raises(FileNotFoundError, match=r"no-such-package.*-e .\.\[pretrained\]"):
        build(**arguments)
