"""A benchmark as `bench.json`, `bench.png`, one page `bench.html`, and a table."""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from mmzoo.evaluation.page.rendering import write_page
from mmzoo.export.bench.figures import FIGURES, page_figures, sheet
from mmzoo.io.files import atomic_write, write_json


def write_bench(folder: str | Path, results: Mapping) -> Path:
    """Writes `bench.json`, `bench.png` and the self-contained `bench.html` into a folder.

    Args:
        folder: Made if it isn't there. Old files are replaced, each in one rename.
        results: What `bench.bench_bundle` returned.

    Returns:
        `folder`.
    """
    folder = Path(folder)
    with atomic_write(folder / "bench.json") as place:
        write_json(place, results)
    with atomic_write(folder / "bench.png") as place:
        sheet(results).savefig(place, dpi=150, format="png")
    rows = [
        (name, artifact, batch, figures)
        for name, artifact in results["artifacts"].items()
        for batch, figures in artifact["batches"].items()
    ]
    ratios = [figures["median_ms"]["ratio"] for *_, figures in rows]
    values = {
        "results": results,
        "mean": math.exp(statistics.fmean(math.log(ratio["value"]) for ratio in ratios)),
        "ends": (min(r["value"] for r in ratios), max(r["value"] for r in ratios)),
        "sure": all(ratio["low"] is not None for ratio in ratios),
        "dearer": [(n, b) for (n, _, b, _), r in zip(rows, ratios, strict=True)
                   if r["low"] is not None and r["low"] > 1],
        "figures": {name: page_figures(name, results) for name in FIGURES},
    }  # fmt: skip
    write_page(folder / "bench.html", Path(__file__).with_name("bench.html.jinja"), values)
    return folder


def bench_table(results: Mapping):
    """Returns a rich table: a row an artifact and batch size, ratios to the runtime by hand.

    Args:
        results: What `bench.bench_bundle` returned.
    """
    import rich.table

    settings = results["settings"]
    busy = ", busy" if results["machine"]["busy"] else ""
    table = rich.table.Table(
        "artifact", "MB", "load, s", "batch", "median, ms", f"× {settings['first']}", "p95, ms",
        "samples/s", "peak, MiB",
        title=f"{results['machine']['cpu']}{busy}; {settings['rounds']} rounds; in brackets × the "
        "runtime by hand, with its 95 % interval",
    )  # fmt: skip
    for name, artifact in results["artifacts"].items():
        whole = [name, f"{artifact['bytes']['mmzoo'] / 1e6:.1f}", _both(artifact["load_seconds"])]
        for batch, figures in artifact["batches"].items():
            first = figures["median_ms"]["to_first"]
            table.add_row(
                *whole,
                batch,
                _both(figures["median_ms"], interval=True),
                "" if first is None else f"{first['value']:.2f}",
                _both(figures["p95_ms"]),
                _both(figures["samples_per_second"]),
                _both(figures["peak_mib"]),
            )
            whole = [""] * 3
    return table


def _both(figure, interval=False):
    ratio = figure["ratio"]
    text = f"{figure['mmzoo']:.3g} (×{ratio['value']:.3f}"
    if interval and ratio["low"] is not None:
        text += f", {ratio['low']:.3f}–{ratio['high']:.3f}"
    return f"{text})"
