"""The tables of the README and of the benchmarks come from runs."""

import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "readme_tables.py"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("readme_tables", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.PAGES, "bench", tmp_path / "bench.md")
    return module


def figure(value, low=None, high=None):
    return {"mmzoo": value, "bare": value, "ratio": {"value": 1.02, "low": low, "high": high}}


def write_bench(folder, busy=False):
    batch = {
        "median_ms": figure(1.234, 1.01, 1.03), "p95_ms": figure(2.0),
        "samples_per_second": figure(810.4), "peak_mib": figure(99.6),
    }  # fmt: skip
    artifact = {"bytes": {"mmzoo": 2.5e6}, "load_seconds": figure(0.5), "batches": {"1": batch}}
    results = {"machine": {"busy": busy}, "artifacts": {"tflite": artifact}}
    (folder / "bench.json").write_text(json.dumps(results))


def test_a_benchmark_goes_between_its_marks(tool, tmp_path):
    write_bench(tmp_path)
    tool.PAGES["bench"].write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    tool.main(["bench", str(tmp_path)])
    lines = tool.PAGES["bench"].read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert lines[4] == (
        "| tflite | 1 | 1.23 | 1.020 | 1.010 to 1.030 | 2 | 810 | 100 | 0.50 | 2.5 |"
    )
    assert len({line.count("|") for line in lines[2:5]}) == 1


def test_a_busy_machine_and_missing_marks_are_refused(tool, tmp_path):
    tool.PAGES["bench"].write_text("no marks\n")
    write_bench(tmp_path)
    with pytest.raises(SystemExit, match="Expected the marks"):
        tool.main(["bench", str(tmp_path)])
    write_bench(tmp_path, busy=True)
    with pytest.raises(SystemExit, match="Expected a quiet machine"):
        tool.main(["bench", str(tmp_path)])
    assert tool.PAGES["bench"].read_text() == "no marks\n"


def test_the_bakeoff_is_sorted_by_accuracy(tool, tmp_path):
    def entry(kind, mean):
        accuracy = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
        return {"family": "late", "kind": kind, "accuracy": accuracy, "latency_ms": 0.5}

    tasks = {
        "concepts": {"entries": [entry("A", 0.8), entry("B", 0.9)]},
        "xor": {"entries": [entry("A", 0.5)]},
    }
    (tmp_path / "bakeoff.json").write_text(json.dumps({"tasks": tasks}))
    rows = tool.bakeoff(tmp_path)
    assert rows[2] == "| late | B | 0.900 | 0.890 to 0.910 | 0.50 | – |"
    assert rows[3] == "| late | A | 0.800 | 0.790 to 0.810 | 0.50 | 0.500 |"


def test_every_page_has_its_marks_once(tool, monkeypatch):
    monkeypatch.undo()
    assert set(tool.PAGES) == set(tool.TABLES) == {"artifacts", "bakeoff", "bench"}
    for name, page in tool.PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


def test_the_page_of_artifacts_shows_the_table_of_the_readme():
    text = (TOOL.parents[1] / "docs/benchmarks/artifacts.md").read_text(encoding="utf-8")
    assert "{include} ../../README.md" in text
    for line in (':start-after: "<!-- artifacts -->"', ':end-before: "<!-- /artifacts -->"'):
        assert line in text
