import re
from pathlib import Path

import numpy as np
import pytest
from report_cases import CLASSES, Tags, certificate, render, run, task_of, words

from mmzoo.data import encode_text
from mmzoo.evaluation.report.writer import write_report

EVIL = "<script>alert('x')</script>"


@pytest.mark.parametrize("name", ["image", "text", "audio"])
def test_any_subset_of_inputs_and_absent_ones(tmp_path, name):
    arguments = run()
    arguments["inputs"] = {name: arguments["inputs"][name]}
    page = render(tmp_path, arguments)
    signs = {"image": "<img", "text": ">phrase ", "audio": "<audio"}
    assert [sign for sign in signs if signs[sign] in page] == [name]
    assert not re.search("no (picture|text|sound)<", page)
    arguments["inputs"][name] = np.zeros_like(arguments["inputs"][name])
    page = render(tmp_path, arguments)
    absent = {"image": "no picture", "text": "no text", "audio": "no sound"}[name]
    assert page.count(f"<i>{absent}</i>") == 12 and signs[name] not in page


def test_long_sound_is_cut_and_a_page_of_noise_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    arguments = run([(i, (i // 6 + 1) % 10) for i in range(0, 60, 4)])
    arguments["inputs"] = {
        "image": rng.integers(0, 256, (60, 300, 200, 3), dtype="uint8"),
        "text": np.full((60, 5000), ord("x"), "uint8"),
        "audio": rng.uniform(-1, 1, (60, 160_000)).astype("float32"),
    }
    path = write_report(tmp_path / "report.html", **arguments)
    assert path.stat().st_size < 3e6
    page = path.read_text("utf-8")
    assert "first 3 s of 10.00 s" in words(page) and "… (5,000 characters)" in page
    assert "x" * 300 in page and "x" * 301 not in page


@pytest.mark.parametrize("where", ["text", "class", "recipe", "fusion", "version", "breach"])
def test_untrusted_text_is_escaped(tmp_path, where):
    arguments = {**run(), "certificate": certificate()}
    metrics = arguments["metrics"]
    if where == "text":
        arguments["inputs"]["text"] = encode_text([EVIL] * 60)
    elif where == "class":
        arguments["task"] = task_of(f"{EVIL}{i}" for i in range(10))
    elif where == "version":
        metrics["versions"] = {EVIL: "1"}
    elif where == "breach":
        arguments["certificate"] = certificate(holds=False, breaches=[EVIL])
    else:
        metrics[where] = EVIL
    page = render(tmp_path, arguments)
    assert "<script" not in page and "&lt;script&gt;" in page
    Tags(page)


def test_directions_controls_and_surrogates_stay_in_their_place(tmp_path):
    arguments = run()
    arguments["inputs"]["text"] = encode_text(["مفتاح \u202eevil \x07"] * 60)
    arguments["task"] = task_of(["\ud800 half", "w" * 500, *CLASSES[2:]])
    page = render(tmp_path, arguments)
    assert '<bdi dir="auto">مفتاح \ufffdevil \ufffd</bdi>' in page
    assert '<bdi dir="auto">? half</bdi>' in page
    assert "w" * 60 + "… (500 characters)" in page and "w" * 61 not in page
    assert "\u202e" not in page and "\x07" not in page


def change(**changes):
    return lambda arguments: arguments.update(changes)


def put(name, value):
    return lambda arguments: arguments["inputs"].update({name: value})


def spoil(side, name, value):
    return lambda arguments: arguments[side][name].__setitem__((3,), value)


@pytest.mark.parametrize(
    "spoiled, message",
    [
        (spoil("answers", "probability", np.nan), "must be finite. Received: nan in row 3"),
        (spoil("answers", "probability", np.inf), "must be finite. Received: inf in row 3"),
        (change(answers={"probability": np.zeros((60, 9))}), "can't hold scores. .*60, 9"),
        (change(answers={}), "and the answers probability. Received: labels and "),
        (change(targets={}), "Expected the targets labels and the answers"),
        (change(targets={"labels": np.zeros(60)}), "expected 60 integer labels.*float64"),
        (change(targets={"labels": np.zeros(59, int)}), r"the same samples.* \[59, 60\] of them"),
        (spoil("targets", "labels", 10), "from 0 to 9, a class each. Received: 10 in sample 3"),
        (spoil("targets", "labels", -1), "from 0 to 9, a class each. Received: -1 in sample 3"),
        (put("video", np.zeros(60)), "among .*'image'.* Received: 'video'"),
        (put("image", np.zeros((60, 8, 8, 3))), r"\['image'\]` must hold an image"),
        (
            put("image", np.zeros((60, 8, 8, 1), "uint8")),
            "an image a sample. Received: .*8, 1",
        ),
        (put("text", np.zeros((59, 8), "uint8")), r"the same samples.* \[59, 60\]"),
        (put("audio", np.full((60, 8), np.nan, "float32")), "finite samples. Received: 8 of 8"),
    ],
)
def test_refusals_leave_the_old_page(tmp_path, spoiled, message):
    arguments = run()
    spoiled(arguments)
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_report(path, **arguments)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_page_is_replaced_whole_and_the_same_twice(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    first = render(tmp_path, run())
    assert render(tmp_path, run()) == first and list(tmp_path.iterdir()) == [path]

    def full_disk(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_report(path, **run([]))
    assert path.read_text("utf-8") == first and list(tmp_path.iterdir()) == [path]
