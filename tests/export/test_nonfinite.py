"""NaN and infinity as inputs: answered as Keras does where the model handles them, else stated."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mmzoo.export import ParityError, export_bundle, to_tflite
from mmzoo.export.certify import certificate
from mmzoo.export.certify.edge_cases.nonfinite import judge_nonfinite
from mmzoo.export.runtimes import process
from mmzoo.export.samples.samples import Samples

COUNT = 20


def samples():
    rng = np.random.default_rng(0)
    return Samples({"x": rng.normal(size=(COUNT, 4)).astype("float32")})


def model_of(compute):
    x = keras.Input((4,), name="x")
    return keras.Model({"x": x}, {"y": layers.Dense(2, name="dense")(compute(x))}, name="small")


def test_a_model_that_replaces_nan_is_held_to_it_in_every_format(tmp_path):
    model = model_of(lambda x: ops.nan_to_num(x, nan=0.0, posinf=5.0, neginf=-5.0))
    bundle = export_bundle(model, tmp_path / "b", samples=samples())
    assert bundle.manifest["probes"]["handles_nonfinite"] is True
    assert all(entry["nonfinite"] == [] for entry in bundle.manifest["formats"].values())


def test_an_artifact_that_replaces_nan_by_another_number_is_refused(tmp_path, monkeypatch):
    def run(*args, **kwargs):
        result = process.run_artifact(*args, **kwargs)
        result.outputs[-1]["y"] += 1  # the rows with NaN and infinity come last
        return result

    monkeypatch.setattr(certificate, "run_artifact", run)
    model = model_of(lambda x: ops.where(ops.isnan(x), 0.0, ops.clip(x, -9, 9)))
    with pytest.raises(ParityError, match="NaN in 'x', output 'y': largest difference"):
        to_tflite(model, tmp_path / "m.tflite", samples=samples())


def test_nan_that_a_file_loses_is_said_in_the_manifest_and_on_the_card(tmp_path):
    """TFLite's maximum over an axis passes over NaN."""
    bundle = export_bundle(
        model_of(lambda x: ops.max(x, axis=-1, keepdims=True)), tmp_path / "b", samples=samples()
    )
    said = "NaN in 'x' gives a number in 'y', where Keras gives NaN or infinity"
    assert bundle.manifest["probes"]["handles_nonfinite"] is False
    assert said in bundle.manifest["formats"]["tflite"]["nonfinite"]
    assert said not in bundle.manifest["formats"]["saved_model"]["nonfinite"]
    assert f"`tflite`: {said}" in (tmp_path / "b" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("handled", [True, False])
def test_a_different_finite_answer_is_a_breach_where_it_is_meant(handled):
    wanted, found = {"y": np.ones((1, 2), "float32")}, {"y": np.zeros((1, 2), "float32")}
    breaches, said = judge_nonfinite(["NaN in 'x'"], found, wanted, 1e-5, handled)
    assert bool(breaches) == handled
    assert said == ([] if handled else ["NaN in 'x' gives a different 'y' than Keras"])
    assert judge_nonfinite(["NaN in 'x'"], wanted, wanted, 1e-5, handled) == ([], [])
