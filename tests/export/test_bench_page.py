"""From the times of a benchmark to its figures, its page and its picture."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from mmzoo.export.bench import results as bench_results
from mmzoo.export.bench.figures import FIGURES, page_figures, sheet
from mmzoo.export.bench.page import bench_table, write_bench

BATCHES = (1, 3, 17)
FORMATS = ("saved_model", "tflite", "onnx", "tflite-batch1", "tflite-dynamic")


def report(times, peak=100.0, load=2.0):
    return {
        "load_seconds": load,
        "batches": {b: {"seconds": t, "peak_mib": peak, "warm_up": 5} for b, t in times.items()},
    }


def rounds_of(slower, batches=("4",)):
    """A round for each of the factors by which mmzoo's way is slower."""
    by_hand = np.linspace(0.1, 0.2, 21)
    nothing = dict.fromkeys(batches)
    return [
        {
            ("mmzoo", "bare"): report(
                {key: {"mmzoo": by_hand * s, "bare": by_hand} for key in batches}
            ),
            ("mmzoo",): report(nothing, peak=120.0, load=3.0),
            ("bare",): report(nothing),
        }
        for s in slower
    ]  # fmt: skip


@pytest.fixture
def results():
    """Results of artifacts that lie close together."""
    names = [*FORMATS, *(f"tflite-kind{k}" for k in range(8))]
    artifacts = {}
    for name in names:
        batches = ("1",) if name == "tflite-batch1" else tuple(map(str, BATCHES))
        slower = (1.1, 1.2, 1.3, 1.2, 1.2)
        first = rounds_of(slower, tuple(map(str, BATCHES)))
        artifacts[name] = {"runtime": "a runtime", "largest_difference": 1e-7} | (
            bench_results.figures(rounds_of(slower, batches), first, 5_000_000, 10_000_000)
        )
    return {
        "schema": 1, "bundle": {"manifest_sha256": "0" * 64},
        "machine": bench_results.Load().machine(),
        "settings": {"batches": list(BATCHES), "rounds": 5, "seconds": 1.0, "threads": 2,
                     "warm_up": 5, "first": "saved_model"},
        "samples": {"source": "file", "count": 30}, "seconds": 61.0, "artifacts": artifacts,
    }  # fmt: skip


def test_ratios_are_those_of_the_times():
    turns = rounds_of((1.1, 1.2, 1.3, 1.2, 1.2))
    found = bench_results.figures(turns, turns, 50, 100)
    assert found["bytes"]["to_first"] == 0.5
    assert found["load_seconds"]["ratio"]["value"] == pytest.approx(1.5)
    entry = found["batches"]["4"]
    assert entry["calls"] == 105 and entry["warm_up"] == 25
    assert entry["median_ms"]["bare"] == pytest.approx(150)
    assert entry["median_ms"]["mmzoo"] == pytest.approx(180)
    assert entry["p95_ms"]["bare"] == pytest.approx(195)
    assert entry["samples_per_second"]["bare"] == pytest.approx(4 / 0.15)
    assert entry["cost_ms"]["value"] == pytest.approx(30)
    assert entry["peak_mib"]["ratio"]["value"] == pytest.approx(1.2)
    mean = (1.1 * 1.2**3 * 1.3) ** 0.2
    for key, expected in (("median_ms", mean), ("p95_ms", mean), ("samples_per_second", 1 / mean)):
        ratio = entry[key]["ratio"]
        assert ratio["value"] == pytest.approx(expected)
        assert ratio["low"] < ratio["value"] < ratio["high"]
    assert entry["median_ms"]["to_first"]["value"] == pytest.approx(1)


def test_an_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [bench_results.interval(rng.standard_normal(7)) for _ in range(300)]
    assert np.mean([each["low"] <= 0 <= each["high"] for each in found]) > 0.92  # plain: 0.87
    assert bench_results.interval([1.0, 2.0, 3.0, 4.0])["low"] is None


def test_a_busy_machine_is_told(monkeypatch):
    for cpu, own, load, busy in [
        ([0.0, 1e6], [0.0, 5.0], [0.0], True), ([5.0, 1e6], [0.0, 1e6], [9.0], False),
        ([None, None], [0.0, 0.0], [9e3], True), ([None, None], [0.0, 0.0], [0.0], False),
    ]:  # fmt: skip
        monkeypatch.setattr(bench_results, "_cpu", iter(cpu).__next__)
        monkeypatch.setattr(bench_results, "_own", iter([*own, own[-1]]).__next__)
        monkeypatch.setattr(bench_results, "_load", lambda load=load: load)
        assert bench_results.Load().machine()["busy"] is busy


def test_no_name_lies_on_another(results):
    figure = sheet(results)
    figure.draw_without_rendering()
    for group in figure.subfigs:
        for axes in group.axes:
            boxes = [text.get_window_extent() for text in axes.texts]
            for k, box in enumerate(boxes):
                touched = [b for b in boxes[:k] if box.shrunk(0.98, 0.8).overlaps(b)]
                assert not touched, axes.texts[k].get_text()
    assert len(figure.subfigs[0].axes[1].texts) == 13


@pytest.mark.parametrize("rounds", ["few", "enough"])
def test_the_page_and_the_picture(results, tmp_path, rounds):
    results["machine"]["cpu"] = "<script>alert(1)</script>"
    if rounds == "few":
        for artifact in results["artifacts"].values():
            for entry in artifact["batches"].values():
                entry["median_ms"]["ratio"] = bench_results.ratio_interval([3.0, 0.5])
    folder = write_bench(tmp_path / "new" / "out", results)
    page = (folder / "bench.html").read_text()
    assert "<script" not in page and not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert all(page.count(name) >= 3 for name in results["artifacts"])
    assert ("Too few rounds" in page) == (rounds == "few")
    assert ("slower for 37 of them" in page) == (rounds == "enough")
    assert json.loads((folder / "bench.json").read_text())["artifacts"] == results["artifacts"]
    with Image.open(folder / "bench.png") as picture:
        assert picture.width > 1500 and len(picture.convert("RGB").getcolors(10**6)) > 100


def test_a_figure_takes_the_colours_of_the_page(results):
    for name in FIGURES:
        for svg in page_figures(name, results):
            assert "var(--ink)" in svg and "#010203" not in svg
    assert "tflite-dynamic" in page_figures("speeds", results)[1]


def test_the_table_has_a_row_a_batch_size(results):
    table = bench_table(results)
    assert table.row_count == 37
    assert "saved_model" in [str(cell) for cell in table.columns[0].cells]
