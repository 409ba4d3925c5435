"""A benchmark: figures of the right kind, wrong answers refused."""

import dataclasses
import json
import random
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export import ParityError, export_bundle, load_bundle
from mmzoo.export.bench import runner
from mmzoo.export.bench.checks import check_answers, checked_samples
from mmzoo.export.bundle.checksums import write_sums
from mmzoo.export.runtimes import race
from mmzoo.export.runtimes.process import RuntimeFailure
from mmzoo.export.samples.samples import Samples
from mmzoo.io.files import sha256

FORMATS = ("saved_model", "tflite", "onnx", "tflite-batch1", "tflite-dynamic")
WEIGHT = 0.71828127  # found again in the files by its bytes
FIGURES_OF_A_BATCH = {"median_ms", "p95_ms", "samples_per_second", "peak_mib"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    numbers, text = keras.Input((6,), name="numbers"), keras.Input((5,), dtype="int32", name="ids")
    x = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(9, 4)(text))])
    start = keras.initializers.Constant(WEIGHT)
    x = layers.Dense(48, "relu", name="hidden", bias_initializer=start)(x)
    outputs = {
        "probability": layers.Dense(4, activation="softmax", name="probability")(x),
        "embedding": layers.Dense(3, name="embed")(x),
    }
    rng = np.random.default_rng(0)
    inputs = {
        "numbers": rng.standard_normal((30, 6), "float32"),
        "ids": rng.integers(0, 9, (30, 5)).astype("int32"),
    }
    return export_bundle(
        keras.Model({"numbers": numbers, "ids": text}, outputs),
        tmp_path_factory.mktemp("bench") / "bundle",
        samples=Samples(inputs, rng.integers(0, 4, 30)), classes=list("abcd"),
        formats=FORMATS, metric_limit=0.1,
    ).path  # fmt: skip


@pytest.fixture(scope="module")
def results(exported):
    told = []
    found = runner.bench_bundle(exported, rounds=1, seconds=0.01, tell=told.append)
    assert sorted(told) == sorted(f"round 1 of 1: {name}" for name in FORMATS)
    return found


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "bundle")


def flip_weight(path, value):
    """Puts `value` in the place of one weight, found by its bytes."""
    data = bytearray(path.read_bytes())
    place = data.find(np.float32(WEIGHT).tobytes())
    assert place > 0, f"no such weight in {path}"
    data[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(bytes(data))


def forge(bundle):
    """Makes every checksum say what the files are."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    for entry in manifest["formats"].values():
        entry["files"] = {file: sha256(bundle / file) for file in entry["files"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    certificate = json.loads((bundle / "certificate.json").read_text())
    certificate["manifest_sha256"] = sha256(bundle / "manifest.json")
    (bundle / "certificate.json").write_text(json.dumps(certificate))
    write_sums(bundle)


def test_every_artifact_has_every_figure(results):
    assert set(results["artifacts"]) == set(FORMATS)
    for name, artifact in results["artifacts"].items():
        assert list(artifact["batches"]) == (["1"] if name == "tflite-batch1" else ["1", "3", "17"])
        assert artifact["largest_difference"] < (0.1 if name == "tflite-dynamic" else 1e-4)
        assert artifact["bytes"]["mmzoo"] == artifact["bytes"]["bare"] > 0
        figures = [artifact["load_seconds"]]
        for entry in artifact["batches"].values():
            assert set(entry) == {*FIGURES_OF_A_BATCH, "calls", "warm_up", "cost_ms"}
            assert 20 <= entry["calls"] <= 400 and entry["warm_up"] == 5
            assert np.isfinite(entry["cost_ms"]["value"])
            figures += [entry[key] for key in FIGURES_OF_A_BATCH]
            assert entry["p95_ms"]["mmzoo"] >= entry["median_ms"]["mmzoo"]
        for figure in figures:
            ratios = [figure["ratio"], figure["to_first"]]
            assert all(np.isfinite(ratio["value"]) and ratio["value"] > 0 for ratio in ratios)
            assert all(figure[way] > 0 for way in ("mmzoo", "bare"))
        for entry in artifact["batches"].values():  # the same runtime in the same size
            assert 0.5 < entry["peak_mib"]["ratio"]["value"] < 2
    first = results["artifacts"]["saved_model"]["batches"]["3"]["median_ms"]
    assert first["to_first"]["value"] == 1 and results["settings"]["first"] == "saved_model"


def test_results_are_json_and_name_the_machine(results):
    again = json.loads(json.dumps(results, allow_nan=False))
    assert again["schema"] == 1 and again["seconds"] > 0
    assert again["samples"] == {"source": "file", "count": 30}
    assert set(again) == {
        "schema", "bundle", "machine", "settings", "samples", "seconds", "artifacts",
    }  # fmt: skip
    machine = again["machine"]
    assert machine["cores"] >= 1 and machine["cpu"] and machine["busy"] in (True, False)
    assert {"mmzoo", "tensorflow", "ai-edge-litert", "onnxruntime"} <= set(machine["versions"])
    assert len(machine["load_before"]) == len(machine["load_after"]) == 3


@pytest.mark.parametrize("name", ["tflite", "onnx", "saved_model"])
def test_a_wrong_artifact_is_refused(copy, name):
    file = {
        "tflite": "tflite/model.tflite", "onnx": "onnx/model.onnx",
        "saved_model": "saved_model/1/variables/variables.data-00000-of-00001",
    }[name]  # fmt: skip
    flip_weight(copy / file, WEIGHT + 0.1)
    if name == "saved_model":  # variables have checksums of their own
        with pytest.raises(ValueError, match="saved_model/1/variables/.*: not as SHA256SUMS says"):
            runner.bench_bundle(copy, formats=[name], rounds=1, seconds=0.01)
        return
    forge(copy)
    with pytest.raises(ParityError, match=rf"{name}, (mmzoo|bare), batch 1, output 'embedding'"):
        runner.bench_bundle(copy, formats=[name], rounds=1, seconds=0.01)


def test_a_changed_file_or_a_certificate_that_does_not_hold_is_refused(copy):
    card = copy / "MODEL_CARD.md"
    card.write_text(card.read_text() + "\n")
    with pytest.raises(ValueError, match="as it was certified.*MODEL_CARD.md: not as SHA256SUMS"):
        runner.bench_bundle(copy)
    write_sums(copy)
    stored = json.loads((copy / "certificate.json").read_text())
    (copy / "certificate.json").write_text(json.dumps(stored | {"holds": False}))
    write_sums(copy)
    with pytest.raises(ValueError, match="its certificate does not hold"):
        runner.bench_bundle(copy)
    (copy / "certificate.json").write_text(json.dumps(stored | {"manifest_sha256": "0"}))
    np.savez(copy / "reference.npz", nothing=np.zeros(1))
    write_sums(copy)
    with pytest.raises(ValueError, match="is not the one that was certified.*that was exported"):
        runner.bench_bundle(copy)


def test_an_artifact_whose_files_the_manifest_does_not_know_is_refused(copy):
    flip_weight(copy / "onnx" / "model.onnx", np.nan)
    write_sums(copy)
    with pytest.raises(ValueError, match="onnx/model.onnx: expected SHA-256"):
        runner.bench_bundle(copy)


def answers_of(reference, change=lambda value: value, bare=lambda value: value):
    rows = np.array([*range(30), *range(10)])
    answers = {"1/rows": rows}
    for name, value in reference.items():
        answers[f"1/mmzoo/{name}"] = change(value[rows])
        answers[f"1/bare/{name}"] = bare(change(value[rows]))
    return answers


def test_quantised_answers_are_judged_by_the_metric(exported):
    bundle = load_bundle(exported)
    samples, reference = checked_samples(bundle)
    bare = dataclasses.replace(samples, targets={})
    labels = reference["probability"].argmax(1)
    samples = dataclasses.replace(samples, targets={"labels": labels})
    right = answers_of(reference, lambda value: value + np.float32(1e-3))
    found = check_answers(bundle, "tflite-dynamic", right, reference, samples)
    assert found == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ParityError, match="tflite, mmzoo, batch 1, output .*largest difference"):
        check_answers(bundle, "tflite", right, reference, samples)
    rolled = answers_of(reference, lambda value: np.roll(value, 1, 1))
    with pytest.raises(ParityError, match="timed samples, batch 1, .*: accuracy 0.000, -1.000"):
        check_answers(bundle, "tflite-dynamic", rolled, reference, samples)
    with pytest.raises(ParityError, match="0.00% of the decisions agree"):
        check_answers(bundle, "tflite-dynamic", rolled, reference, bare)
    gone = answers_of(reference, lambda value: value * np.float32(np.nan))
    with pytest.raises(ParityError, match="values are not finite"):
        check_answers(bundle, "tflite-dynamic", gone, reference, samples)


def test_ways_that_answer_otherwise_are_refused(exported):
    bundle = load_bundle(exported)
    samples, reference = checked_samples(bundle)
    other = answers_of(reference, bare=lambda value: value + np.float32(1e-3))
    with pytest.raises(ParityError, match="tflite-dynamic, bare, batch 1, .*, against mmzoo's way"):
        check_answers(bundle, "tflite-dynamic", other, reference, samples)


def test_samples_in_another_order_of_memory(exported):
    bundle = load_bundle(exported)
    samples, reference = checked_samples(bundle)
    turned = {name: np.asfortranarray(value) for name, value in samples.inputs.items()}
    ways = ("mmzoo", "bare")
    found = runner._run(bundle, "saved_model", turned, [3], ways, 0.01, 0)
    check_answers(bundle, "saved_model", found["answers"], reference, samples)


@pytest.mark.parametrize("kept, calls", [(2**30, 400), (30 * 8, 30), (8, 20)])
def test_answers_that_are_kept_have_a_limit(monkeypatch, kept, calls):
    class Loop:
        names = ("x",)

        def prepare(self, part):
            pass

        def pack(self, part):
            return part["x"]

        def call(self, packed):
            return [packed]

    monkeypatch.setattr(race, "KEPT", kept)
    ways, inputs = {"mmzoo": Loop(), "bare": Loop()}, {"x": np.arange(7.0)}
    times, made, rows = race._race(ways, inputs, 1, 60, random.Random(0))
    assert len(times["bare"]) == len(made["mmzoo"]) == calls
    assert np.concatenate([m[0] for m in made["bare"]]).tolist() == rows.tolist()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batches": [0]}, r"`batches` must be ints from 1 to 30.*Received: \[0\]"),
        ({"batches": [31]}, r"`batches` must be ints from 1 to 30.*Received: \[31\]"),
        ({"batches": []}, r"`batches` must be ints.*Received: \[\]"),
        ({"rounds": 0}, "`rounds` must be a positive int.*rounds=0"),
        ({"seconds": 0}, "`seconds` from 0 to 600.*seconds=0"),
        ({"formats": ["tflit"]}, "`formats` must name artifacts of the bundle.*Received: tflit"),
        ({"formats": []}, "`formats` must name artifacts.*Received: none"),
        ({"formats": ["tflite-batch1"], "batches": [3]}, r"that take batches of \[3\]: saved_mo"),
    ],
)
def test_settings_out_of_range(exported, arguments, message):
    with pytest.raises(ValueError, match=message):
        runner.bench_bundle(exported, **arguments)


def test_an_artifact_that_does_not_run_is_told(copy, monkeypatch):
    (copy / "onnx" / "model.onnx").write_bytes(b"no model")
    forge(copy)
    with pytest.raises(RuntimeFailure, match="onnx: expected .* to load and run. Its process"):
        runner.bench_bundle(copy, formats=["onnx"], rounds=1)

    def late(*_, timeout, **__):
        raise subprocess.TimeoutExpired("race", timeout)

    monkeypatch.setattr(runner.subprocess, "run", late)
    with pytest.raises(RuntimeFailure, match="onnx: expected .* to finish in 600 s. It did not"):
        runner.bench_bundle(copy, formats=["onnx"], rounds=1)


def test_the_command(exported, copy, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "mmzoo", "bench", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    out = tmp_path / "out"
    done = run(exported, "--batches", "1,2", "--formats", "onnx", "--rounds", 1, "--out", out)
    assert done.returncode == 0 and "onnx" in done.stdout, done.stderr
    assert sorted(file.name for file in out.iterdir()) == ["bench.html", "bench.json", "bench.png"]
    assert run(exported, "--batches", "1,x").returncode == 2
    (copy / "strange.txt").write_text("?")
    done = run(copy, "--out", out)
    assert done.returncode == 1 and "strange.txt: not in SHA256SUMS" in done.stderr
