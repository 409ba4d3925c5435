"""What training and its data cost from 1 to 1,024 workers: the tables and the picture of
docs/benchmarks/scaling.md.

python tools/simulate_scaling.py --write

Formulas stand in docs/benchmarks/scaling.md; constants marked "measured" come from this
repository's own benchmarks, the others are assumptions about a cluster, stated there.
"""

import argparse
import math
from pathlib import Path

import numpy as np

from mmzoo.io.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "scaling.md"
PICTURE = ROOT / "docs" / "benchmarks" / "scaling.png"
WORKERS = (1, 2, 4, 8, 16, 64, 256, 1024)
# name: parameters, seconds of a step's own computing, samples a worker
MODELS = {"concepts": (1.7e6, 0.2, 64), "100 M": (1e8, 0.25, 64), "1 B": (1e9, 1.0, 32)}
NETWORKS = {"10 Gbit/s": (1.25e9, 50e-6), "100 Gbit/s": (12.5e9, 10e-6)}  # bytes/s, s a hop
JITTER = 0.05  # of a step's time, lognormal
WRITE = 5e8  # bytes/s of the disk that checkpoints go to
RESTART = 60.0  # seconds until all workers train again
LIFE = 30 * 86400.0  # mean seconds between faults of one worker
RECORD = 16_634  # bytes: measured, 100,000 records of 64 x 64 pixels and 0.8 s
PREPARE = 400.0  # rows/s a core: measured
SAMPLES = 1e9


def all_reduce(size, workers, network):
    """Seconds of a ring: 2 (W - 1) / W of the bytes each way, in 2 (W - 1) hops."""
    rate, hop = NETWORKS[network]
    return 2 * (workers - 1) / workers * size / rate + 2 * (workers - 1) * hop


def checkpoint(parameters):
    """`(bytes, seconds)`: weights, two moments of Adam, and the best weights so far."""
    size = 4 * parameters * 4
    return size, size / WRITE


def efficiency(model, workers, network, steps=400, seed=0):
    """Share of the time that computes: steps end with the slowest worker's; there are faults."""
    parameters, own, _ = MODELS[model]
    draw = np.random.default_rng(seed)
    slowest = own * draw.lognormal(-(JITTER**2) / 2, JITTER, (steps, workers)).max(axis=1)
    exchange = all_reduce(4 * parameters, workers, network) if workers > 1 else 0.0
    step = slowest.mean() + exchange
    _, cost = checkpoint(parameters)
    between = math.sqrt(2 * max(cost, 1e-3) * LIFE / workers)  # Young's interval
    lost = cost / between + (RESTART + between / 2) * workers / LIFE
    return own / step * max(0.0, 1 - lost), between, exchange


def tables():
    lines = ["| model | network | " + " | ".join(f"{w:,}" for w in WORKERS) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(WORKERS))
    for model in MODELS:
        for network in NETWORKS:
            shares = [efficiency(model, w, network)[0] for w in WORKERS]
            lines.append(
                f"| {model} | {network} | " + " | ".join(f"{s:.2f}" for s in shares) + " |"
            )
    found = {"efficiency": "\n".join(lines)}
    lines = ["| workers | exchange, ms | bytes a worker and step | checkpoint every | samples/s | "
             "input, MB/s | logits of a contrast, MB |", "| ---: |" + " ---: |" * 6]  # fmt: skip
    parameters, own, batch = MODELS["100 M"]
    for workers in WORKERS:
        share, between, exchange = efficiency("100 M", workers, "10 Gbit/s")
        moved = 2 * (workers - 1) / workers * 4 * parameters
        rate = workers * batch / own * share
        logits = 2 * batch * batch * workers * 4
        lines.append(
            f"| {workers:,} | {1000 * exchange:.0f} | {moved / 1e6:.0f} MB | "
            f"{between / 60:.0f} min | {rate:,.0f} | {rate * RECORD / 1e6:,.0f} | "
            f"{logits / 1e6:.1f} |"
        )
    found["cost"] = "\n".join(lines)
    lines = ["| cores | preparing 10⁹ samples | records | files of 1,000 | files of 100,000 |",
             "| ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for cores in (2, 64, 1024):
        days = SAMPLES / (PREPARE * cores) / 86400
        lines.append(
            f"| {cores:,} | {days:.3g} days | {SAMPLES * RECORD / 1e12:.1f} TB | "
            f"{SAMPLES / 1000:,.0f} | {SAMPLES / 100_000:,.0f} |"
        )
    found["data"] = "\n".join(lines)
    return found


def draw(path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, network in zip(axes, NETWORKS, strict=True):
        for model in MODELS:
            shares = [efficiency(model, w, network)[0] for w in WORKERS]
            axis.plot(WORKERS, shares, marker="o", label=model)
        axis.set(xscale="log", ylim=(0, 1.02), xlabel="workers", title=network,
                 ylabel="share of the time that computes")  # fmt: skip
        axis.set_xticks(WORKERS, [f"{w:,}" for w in WORKERS])
        axis.grid(alpha=0.3)
    axes[0].legend(title="parameters")
    figure.savefig(path, dpi=110, format="png")
    pyplot.close(figure)


def written(text, found):
    """The page with its tables replaced."""
    for name, table in found.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        if not rest or end not in rest:
            raise ValueError(f"Expected {begin} and {end} in {PAGE}. Received: a page without.")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="the tables and the picture")
    args = parser.parse_args(argv)
    found = tables()
    if not args.write:
        print("\n\n".join(found.values()))
        return
    text = written(PAGE.read_text(encoding="utf-8"), found)
    with atomic_write(PAGE) as place:
        place.write_text(text, encoding="utf-8")
    with atomic_write(PICTURE) as place:
        draw(place)


if __name__ == "__main__":
    main()
