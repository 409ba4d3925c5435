"""The page on scaling shows what its tool computes, and the formulas hold at their ends."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "simulate_scaling.py"
    spec = importlib.util.spec_from_file_location("simulate_scaling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_tool_computes(tool):
    page = (ROOT / "docs" / "benchmarks" / "scaling.md").read_text(encoding="utf-8")
    assert tool.written(page, tool.tables()) == page


def test_a_ring_of_two_moves_each_gradient_once(tool):
    rate, hop = tool.NETWORKS["10 Gbit/s"]
    assert tool.all_reduce(1e9, 2, "10 Gbit/s") == pytest.approx(1e9 / rate + 2 * hop)
    assert tool.all_reduce(1e9, 1024, "10 Gbit/s") == pytest.approx(2e9 / rate + 0.1, rel=0.01)


def test_more_workers_never_compute_a_larger_share(tool):
    for model in tool.MODELS:
        shares = [tool.efficiency(model, w, "10 Gbit/s")[0] for w in tool.WORKERS]
        assert shares == sorted(shares, reverse=True) and 0.9 < shares[0] <= 1.01


def test_a_page_without_the_places_is_refused(tool):
    with pytest.raises(ValueError, match="Expected <!-- cost -->"):
        tool.written("nothing", {"cost": "x"})
