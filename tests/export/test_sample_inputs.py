"""Records of any length to what a model takes, whose length is free or fixed."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export import Samples, export_bundle
from mmzoo.export.embed import embed_corpus, load_embeddings
from mmzoo.export.inference.sample_inputs import stack_inputs
from mmzoo.tasks import Audio, Image, Tensor, Text, TooLargeError

RECORDS = [{"text": "ab", "audio": np.ones(3, "float32")}, {"text": "abc"}]
FEATURES = (Text("text"), Audio("audio"), Image("image"))
SHAPES = {"text": [9], "audio": [9], "image": [2, 2, 3]}


def test_a_free_length_is_that_of_the_longest_and_a_fixed_one_is_kept():
    free = [Tensor("text", "uint8", (None, None)), Tensor("audio", "float32", (None, None))]
    found = stack_inputs(FEATURES, free, RECORDS, SHAPES)
    assert found["text"].tolist() == [[97, 98, 0], [97, 98, 99]]
    assert found["audio"].shape == (2, 3)
    fixed = [Tensor("text", "uint8", (None, 5)), Tensor("audio", "float32", (None, 4))]
    found = stack_inputs(FEATURES, fixed, RECORDS, SHAPES)
    assert found["text"].tolist() == [[97, 98, 0, 0, 0], [97, 98, 99, 0, 0]]
    assert found["audio"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    "name, size, words", [("text", 2, "'text' .*2.*: 3."), ("audio", 2, "Cut")]
)
def test_what_is_longer_than_the_model_takes_is_refused(name, size, words):
    tensor = Tensor(name, {"text": "uint8", "audio": "float32"}[name], (None, size))
    with pytest.raises(TooLargeError, match=words):
        stack_inputs(FEATURES, [tensor], RECORDS, SHAPES)


def test_a_picture_gets_no_black_edge():
    tensor = Tensor("image", "uint8", (None, 4, 4, 3))
    small = {"image": np.full((2, 2, 3), 9, "uint8")}
    assert stack_inputs(FEATURES, [tensor], [small], SHAPES)["image"].shape == (1, 2, 2, 3)


def test_a_text_that_is_too_long_takes_no_other_row_with_it(tmp_path):
    pytest.importorskip("apache_beam", reason="pip install -e '.[beam]'")
    keras.utils.set_random_seed(0)
    text = keras.Input((6,), dtype="uint8", name="text")
    made = layers.Dense(3, name="vector")(layers.Rescaling(1 / 255, name="unit")(text))
    model = keras.Model({"text": text}, {"vector": made})
    rng = np.random.default_rng(0)
    samples = Samples({"text": rng.integers(1, 99, (20, 6)).astype("uint8")})
    bundle = export_bundle(model, tmp_path / "b", samples=samples, formats=("onnx",))
    texts = ["ab", "much too long", "abcdef"]
    lines = [json.dumps({"id": f"r{k}", "text": text}) for k, text in enumerate(texts)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
    embed_corpus(bundle.path, tmp_path / "m.jsonl", tmp_path / "out", format="onnx")
    [dead] = map(json.loads, (tmp_path / "out" / "dead_letter.jsonl").open(encoding="utf-8"))
    assert dead["id"] == "r1" and "at most the length 6" in dead["reason"]
    ids, found = load_embeddings(tmp_path / "out")
    padded = np.array([[97, 98, 0, 0, 0, 0], [97, 98, 99, 100, 101, 102]], "uint8")
    expected = np.asarray(model({"text": padded})["vector"])
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    kept = [list(ids).index(name) for name in ("r0", "r2")]
    np.testing.assert_allclose(found["vector"][kept], expected, atol=1e-5)
