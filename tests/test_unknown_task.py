"""A task that the library does not know, over features of its own, goes the whole way."""

import dataclasses
import shutil

import keras
import numpy as np
from keras import layers, ops
from PIL import Image as Picture
from sklearn.metrics import cohen_kappa_score

from mmzoo.export import load_bundle, verify_bundle
from mmzoo.export.bench.runner import bench_bundle
from mmzoo.export.demo.plan import read_demo
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.recipes.common.run import run
from mmzoo.tasks import Category, Classification, Image, Metric, Number

FORMATS = ("saved_model", "tflite", "onnx", "tflite-float16", "tflite-dynamic", "onnx-dynamic")
SIDES, OTHERS = ("front", "back"), {"age": "float32", "metal": "int32"}


@dataclasses.dataclass(frozen=True)
class Kappa(Metric, kind="test_quadratic_kappa"):
    def value(self, answers, targets):
        chosen = answers[self.answer].argmax(axis=1)
        return float(cohen_kappa_score(targets[self.target], chosen, weights="quadratic"))


@dataclasses.dataclass(frozen=True)
class Grading(Classification, kind="test_grading"):
    @property
    def metrics(self):
        return (Kappa(self.answer_name, self.target), *super().metrics)


class Coins:
    features = (*(Image(side) for side in SIDES), Number("age", "years"),
                Category("metal", ("gold", "tin")))  # fmt: skip
    task = Grading(features, tuple("ABCD"), answer_name="chance", target="grade")

    def samples(self, split, count=160, seed=0):
        rng = np.random.default_rng([seed, ("train", "validation", "test").index(split)])
        grade, metal = rng.integers(0, 4, count), rng.integers(1, 3, count)
        light = (25 * grade + 70 * metal + rng.integers(9, 60, count))[:, None, None, None]
        inputs = {s: rng.integers(0, light, (count, 16, 16, 3)).astype("uint8") for s in SIDES}
        inputs["age"] = (60 - 12 * grade + rng.normal(0, 15, count)).astype("float32")
        return inputs | {"metal": metal.astype("int32")}, {"grade": grade}

    def batches(self, split, batch_size, seed, step=0):
        while True:
            yield self.samples(split, batch_size, seed := seed + 1)

    def identity(self):
        return {"name": "drawn coins"}


def build_model():
    given = {s: keras.Input((16, 16, 3), dtype="uint8", name=s) for s in SIDES}
    given |= {n: keras.Input((), dtype=t, name=n) for n, t in OTHERS.items()}
    seen = [layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 99)(given[s])) for s in SIDES]
    seen += [ops.expand_dims(given["age"] / 60, -1), layers.Embedding(3, 2)(given["metal"])]
    return keras.Model(given, Coins.task.head(layers.Dense(16, "relu")(ops.concatenate(seen, 1))))


def test_a_task_that_the_library_does_not_know(tmp_path):
    metrics = run(Coins(), build_model, tmp_path / "run", recipe="coins", epochs=8,
                  learning_rate=0.01, formats=FORMATS, metric_limit=0.1)  # fmt: skip
    kappa = metrics["test"]["metrics"]["test_quadratic_kappa"]
    assert 0.7 < kappa["interval"][0] < kappa["value"] < kappa["interval"][1]
    folder = shutil.copytree(tmp_path / "run" / "bundle", tmp_path / "copied")
    assert set(verify_bundle(folder).certificate["formats"]) == set(FORMATS)
    Picture.new("RGB", (40, 30), "grey").save(tmp_path / "side.png")
    row = {side: tmp_path / "side.png" for side in SIDES} | {"age": "33", "metal": "tin"}
    assert predict_sample(folder, "tflite", row)["chance"][0]["class"] in "ABCD"
    assert bench_bundle(folder, batches=[1], formats=["tflite", "onnx"], rounds=1)["artifacts"]
    assert "quadratic kappa" in (tmp_path / "run" / "report.html").read_text()
    cards = [card["kind"] for card in read_demo(folder)[0]["modalities"]]
    assert cards == ["picture", "picture", "number", "category"]
    assert load_bundle(folder).manifest["task"]["kind"] == "test_grading"
