"""The bake-off: what it leaves, that it goes on where it was cut off, what it must find."""

import json
import math

import numpy as np
import pytest

from mmzoo.data import concept128
from mmzoo.export import ParityError
from mmzoo.fusion import zoo
from mmzoo.recipes import bakeoff
from mmzoo.recipes.comparison import encoded_tasks, imbalance
from mmzoo.recipes.comparison.result_checks import check_results
from mmzoo.recipes.comparison.results import interval

TINY = [
    "concepts", "--seeds", "2", "--steps", "2", "--batch-size", "8", "--parameters", "9000",
    "--tasks", "concepts,xor", "--kinds", "Concatenation,LateFusion,image,everything as text",
]  # fmt: skip
SUBSETS = ["image", "text", "audio", "image+text", "image+audio", "text+audio", "image+text+audio"]


@pytest.fixture
def few(monkeypatch):
    """One sample a class to validate and test on, instead of eight."""
    draw = concept128.draw_samples
    monkeypatch.setattr(concept128, "draw_samples", lambda split, **rest: draw(split, **{
        **rest, "per_class": 1}))  # fmt: skip


def test_a_short_run_leaves_what_it_promises(few, tmp_path, capsys):
    arguments = ["--noise-db", "-3", "--tasks", "concepts", "--out", str(tmp_path)]
    results = bakeoff.main([*TINY, *arguments])
    assert json.loads((tmp_path / "bakeoff.json").read_text()) == results
    check_results(results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bakeoff.html", "bakeoff.json"]
    assert results["seeds"] == [0, 1] and results["noise_db"] == -3.0
    assert results["budget"] == {"parameters": 9000, "steps": 2, "batch_size": 8}
    assert results["data"] == {"name": "concept128", "sha256": concept128.checksum()}
    task = results["tasks"]["concepts"]
    assert task["samples"] == 128 and task["chance"] == 1 / 128
    entries = {entry["kind"]: entry for entry in task["entries"]}
    families = {kind: entry["family"] for kind, entry in entries.items()}
    assert families == {
        "Concatenation": "early", "LateFusion": "late", "image": "unimodal",
        "everything as text": "as text",
    }  # fmt: skip
    for kind, entry in entries.items():
        assert list(entry["subsets"]) == (["image"] if kind == "image" else SUBSETS)
        assert len(entry["accuracy"]["values"]) == len(entry["validation"]["values"]) == 2
        everything = list(entry["subsets"].values())[-1]
        assert entry["accuracy"]["mean"] == pytest.approx(everything)
        assert abs(entry["parameters"] - 9000) <= 900 or "No width comes nearer" in entry["note"]
        assert 0 <= entry["max_difference"] < 1e-5
        assert 2 * 0.9 * entry["parameters"] < entry["flops"] < 4 * entry["parameters"]
        assert "breaches" not in entry
    assert results["encoders"]["parameters"] == 1_237_192
    rows = results["imbalance"]["rows"]
    assert [row["name"] for row in rows] == list(imbalance.ROWS)
    assert all(set(row["modalities"]) == {"image", "text", "audio"} for row in rows)
    verdict = results["verdict"]
    assert (verdict["best_late"], verdict["best_learned"]) == ("LateFusion", "Concatenation")
    printed = capsys.readouterr().out
    assert "Concatenation" in printed and f"Report: {tmp_path}" in printed


@pytest.fixture
def quick(monkeypatch, small_task):
    """Nothing is trained or measured. Returns the names of the entries that were made."""
    made = []

    def make_entry(name, kind, task, seeds):
        made.append(f"{name}/{kind}")
        family = zoo.KINDS[kind].family if kind in zoo.KINDS else "unimodal"
        share = interval([0.5] * seeds)
        return {
            "kind": kind, "family": family, "parameters": 1, "accuracy": share,
            "validation": share, "subsets": {"image": 0.5}, "train_seconds": 1.0, "note": "",
            "flops": 1, "latency_ms": 1.0, "max_difference": 0.0, "breaches": [],
        }  # fmt: skip

    common = {"parameters": 1, "flops": 1, "latency_ms": 1.0, "breaches": []}
    rows = [{"name": "joint training", "accuracy": interval([0.5]), "modalities": {"image": 0.5}}]
    monkeypatch.setattr(bakeoff, "make_entry", make_entry)
    monkeypatch.setattr(bakeoff, "make_data", lambda *_: small_task)
    monkeypatch.setattr(bakeoff, "measure_encoders", lambda _: common)
    monkeypatch.setattr(bakeoff, "compare_joint_training", lambda *_: {"about": "", "rows": rows})
    return made


def test_a_run_that_was_cut_off_goes_on(quick, tmp_path, monkeypatch):
    make = bakeoff.make_entry

    def cut_off(name, kind, task, seeds):
        if kind == "LateFusion":
            raise KeyboardInterrupt
        return make(name, kind, task, seeds)

    arguments = [*TINY, "--out", str(tmp_path)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bakeoff, "make_entry", cut_off)
        bakeoff.main(arguments)
    assert quick == ["concepts/Concatenation"]
    assert [path.name for path in tmp_path.iterdir()] == ["bakeoff.partial.json"]
    results = bakeoff.main(arguments)
    assert quick == [
        "concepts/Concatenation", "concepts/LateFusion", "concepts/image",
        "concepts/everything as text", "xor/Concatenation", "xor/LateFusion", "xor/image",
    ]  # fmt: skip
    assert [len(task["entries"]) for task in results["tasks"].values()] == [4, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bakeoff.html", "bakeoff.json"]


def test_other_arguments_are_another_run(quick, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bakeoff, "compare_joint_training", fail)
        bakeoff.main([*TINY, "--out", str(tmp_path)])
    before = len(quick)
    bakeoff.main([*TINY, "--out", str(tmp_path), "--noise-db", "3"])
    assert len(quick) == before + 7


def test_a_file_that_answers_otherwise_fails_the_run(quick, tmp_path, monkeypatch):
    make = bakeoff.make_entry

    def wrong(name, kind, task, seeds):
        entry = make(name, kind, task, seeds)
        if kind == "LateFusion":
            entry |= {"breaches": ["logits: largest difference 1"], "max_difference": 0.25}
        return entry

    monkeypatch.setattr(bakeoff, "make_entry", wrong)
    match = r"answer as Keras does. Received: LateFusion: logits: largest .* The results are in"
    with pytest.raises(ParityError, match=match):
        bakeoff.main([*TINY, "--out", str(tmp_path)])
    entries = json.loads((tmp_path / "bakeoff.json").read_text())["tasks"]["concepts"]["entries"]
    assert {entry["kind"]: entry["max_difference"] for entry in entries}["LateFusion"] == 0.25
    assert (tmp_path / "bakeoff.partial.json").exists()


def test_an_entry_whose_file_answers_otherwise_says_so(monkeypatch, small_task):
    found = {"flops": 1, "latency_ms": 1.0, "max_difference": 0.25, "breaches": ["logits: 1"]}
    monkeypatch.setattr(bakeoff, "measure", lambda model, inputs: found)
    entry = bakeoff.make_entry("concepts", "StackedFusion", small_task, 1)
    assert entry["note"].endswith("parameters. Its TFLite file answers otherwise: logits: 1.")
    assert entry["max_difference"] == 0.25


def test_every_kind_takes_part_by_default():
    args = bakeoff.parse(["concepts"])
    assert args.kinds == (*zoo.KINDS, "image", "text", "audio", "everything as text")
    assert args.tasks == ("concepts", "xor", "noise", "single")
    assert set(args.tasks) == set(encoded_tasks.ABOUT) and set(bakeoff.NOTES) <= set(args.kinds)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "the following arguments are required: data"),
        (["digits"], "invalid choice: 'digits'"),
        (["concepts", "--seeds", "0"], "expected a positive int"),
        (["concepts", "--kinds", "LateFusion,image"], "expected a late kind of fusion, and ano"),
        (["concepts", "--kinds", "TensorFusion,image"], "expected a late kind of fusion, and ano"),
        (["concepts", "--tasks", "xor"], "expected concepts among them"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    with pytest.raises(SystemExit):
        bakeoff.parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.exhaustive
def test_the_bake_off_finds_what_is_known_beforehand(tmp_path):
    kinds = "Concatenation,TensorFusion,CrossAttention,MeanFusion logits,LateFusion,image,text,"
    results = bakeoff.main(
        ["concepts", "--seeds", "2", "--steps", "200", "--out", str(tmp_path),
         "--tasks", "concepts,xor,single", "--kinds", f"{kinds}audio,everything as text"]
    )  # fmt: skip
    check_results(results)
    found = {
        name: {entry["kind"]: entry["accuracy"]["mean"] for entry in task["entries"]}
        for name, task in results["tasks"].items()
    }
    late = [kind for kind in found["xor"] if kind in zoo.KINDS and zoo.KINDS[kind].family == "late"]
    learned = [kind for kind in found["xor"] if kind in zoo.KINDS and kind not in late]
    assert len(late) == 2 and len(learned) == 3
    assert max(found["xor"][kind] for kind in learned) > 0.95
    assert np.mean([found["xor"][kind] for kind in late]) < 0.7
    assert max(found["xor"]["image"], found["xor"]["text"]) < 0.6
    single = found["single"]
    assert single["image"] < 0.35
    assert abs(single["Concatenation"] - single["text"]) < 0.05
    assert abs(single["LateFusion"] - single["text"]) < 0.05
    assert len(found["concepts"]) == 9
    for kind, accuracy in found["concepts"].items():
        assert accuracy > 10 / 128, kind
    alone = max(found["concepts"][m] for m in ("image", "text", "audio"))
    assert found["concepts"]["LateFusion"] > alone
    assert math.isfinite(results["seconds"])
