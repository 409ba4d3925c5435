"""One Runtime in many threads: each gets the answer to its own question."""

import concurrent.futures
import importlib
import importlib.util
import sys

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.runtimes.worker import RUNTIMES

READERS = [
    "tflite", "tflite without XNNPACK", "onnx", "saved_model",
    "tflite by OpenVINO", "onnx by OpenVINO", "saved_model by OpenVINO",
]  # fmt: skip


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    keras.utils.set_random_seed(0)
    x = keras.Input((64,), name="x")
    model = keras.Model({"x": x}, {"y": layers.Dense(64)(layers.Dense(256, "relu")(x))})
    place = tmp_path_factory.mktemp("threads")
    return model, {
        "tflite": write_tflite(model, place / "m.tflite"),
        "onnx": write_onnx(model, place / "m.onnx"),
        "saved_model": write_saved_model(model, place / "saved"),
    }


@pytest.mark.parametrize("reader", READERS)
def test_no_thread_gets_the_answer_of_another(artifacts, reader):
    if reader.endswith("OpenVINO") and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    model, paths = artifacts
    assert set(READERS) <= set(RUNTIMES)
    module = importlib.import_module(f"mmzoo.export.runtimes.{RUNTIMES[reader]}")
    runtime = module.Runtime(paths[reader.split(" ")[0]], "portable")
    questions = np.random.default_rng(0).standard_normal((50, 1, 64)).astype("float32")
    expected = np.asarray(model({"x": questions[:, 0]})["y"])

    def ask(k):
        return runtime.run({"x": questions[k % 50]})["y"]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads take turns often
    try:
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(ask, range(1000)))
    finally:
        sys.setswitchinterval(before)
    wrong = sum(not np.allclose(a[0], expected[k % 50], atol=1e-4) for k, a in enumerate(answers))
    assert wrong == 0


def test_an_error_is_that_of_the_thread_that_made_it(artifacts):
    module = importlib.import_module("mmzoo.export.runtimes.c_api")
    runtime = module.Runtime(artifacts[1]["saved_model"], "portable")

    def ask(k):
        width = 64 if k % 2 else 63
        try:
            return runtime.run({"x": np.zeros((1, width), "float32")})["y"].shape == (1, 64)
        except RuntimeError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(400)))
    assert all(answer is True for answer in answers[1::2])
    assert all("Matrix size-incompatible" in str(answer) for answer in answers[::2])
