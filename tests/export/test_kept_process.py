"""Processes that are kept for the next run: the same answers, and a new one after a failure."""

import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export import export_bundle
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.runtimes import kept_process
from mmzoo.export.runtimes.kept_process import keep_processes
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples.samples import Samples

X = {"x": np.random.default_rng(0).standard_normal((17, 4), "float32")}
WRITERS = {"saved_model": write_saved_model, "tflite": write_tflite, "onnx": write_onnx}


@pytest.fixture(scope="module")
def kept_processes():
    """Here none are kept but where a test says so."""


def model(seed):
    keras.utils.set_random_seed(seed)
    x = keras.Input((4,), name="x")
    return keras.Model({"x": x}, {"y": layers.Dense(3)(x)})


def running():
    return kept_process._kept.get()


@pytest.mark.parametrize("format", WRITERS)
def test_another_artifact_in_the_same_process_gives_its_own_answers(tmp_path, format):
    models = [model(seed) for seed in (1, 2)]
    paths = [WRITERS[format](m, tmp_path / str(k)) for k, m in enumerate(models)]
    alone = [run_artifact(format, path, X, [(5, 17)]).outputs[0]["y"] for path in paths]
    assert running() is None
    with keep_processes():
        kept = [run_artifact(format, path, X, [(5, 17)]).outputs[0]["y"] for path in paths * 2]
        [process] = running().values()
        child = process._child
    assert child.returncode is not None  # ended with the block
    for found, expected in zip(kept, alone * 2, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(alone[0], models[0](X)["y"], atol=1e-6)


def test_a_failure_ends_the_process_and_the_next_run_has_a_new_one(tmp_path):
    right = write_onnx(model(1), tmp_path / "right.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"none")
    with keep_processes():
        run_artifact("onnx", right, X, [(17, 17)])
        [first] = running().values()
        with pytest.raises(RuntimeFailure, match="code 1: .*(?i:protobuf)"):
            run_artifact("onnx", broken, X, [(17, 17)])
        assert not running() and first._child.returncode is not None
        run_artifact("onnx", right, X, [(17, 17)])
        [second] = running().values()
        second._child.kill()
        with pytest.raises(RuntimeFailure, match="code -9"):
            run_artifact("onnx", right, X, [(17, 17)])
        with pytest.raises(RuntimeFailure, match="to finish in 0 s"):
            run_artifact("onnx", right, X, [(17, 17)], time_limit=0.01)
        assert not running()
        with keep_processes():  # the outer one's
            run_artifact("onnx", right, X, [(17, 17)])
        assert len(running()) == 1


def test_all_signatures_of_a_saved_model_share_one_process(tmp_path, monkeypatch):
    started = []
    start = subprocess.Popen

    def count(command, *arguments, **options):
        started.append(command)
        return start(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", count)
    text = keras.Input((None,), dtype="uint8", name="text")
    level = layers.Rescaling(1 / 255)(text)
    pooled = layers.GlobalMaxPooling1D()(layers.Reshape((-1, 1))(level))
    made = keras.Model({"text": text}, {"y": layers.Dense(2)(pooled)})
    samples = Samples({"text": np.random.default_rng(0).integers(1, 99, (17, 8)).astype("uint8")})
    bundle = export_bundle(made, tmp_path / "b", samples=samples, formats=["saved_model"])
    assert set(bundle.manifest["formats"]["saved_model"]["signatures"]) == {
        "serving_default", "portable",
    }  # fmt: skip
    workers = [c for c in started if "mmzoo.export.runtimes.worker" in c]
    assert len([c for c in workers if kept_process.SERVE in c]) == 1
    assert len(workers) <= 2  # OpenVINO has its own


PARENT = """
import sys, numpy as np
from mmzoo.export.runtimes import kept_process
from mmzoo.export.runtimes.process import run_artifact
with kept_process.keep_processes():
    run_artifact("onnx", sys.argv[1], {"x": np.ones((3, 4), "float32")}, [(3, 3)])
    [process] = kept_process._kept.get().values()
    print(process._child.pid, flush=True)
    import os
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_kept_process_ends_with_its_parent(tmp_path):
    path = write_onnx(model(1), tmp_path / "model.onnx")
    done = subprocess.run([sys.executable, "-c", PARENT, path], capture_output=True, text=True)
    worker = int(done.stdout)
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}/stat") and time.monotonic() < end:
        state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.1)
    else:
        assert not os.path.exists(f"/proc/{worker}/stat")
