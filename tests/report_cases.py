"""A small run to report on, and how a test reads the page."""

import copy
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np

from mmzoo.data import encode_text
from mmzoo.evaluation.intervals import wilson_interval
from mmzoo.evaluation.report.writer import write_report
from mmzoo.tasks import Audio, Classification, Image, Text

CLASSES = [f"class {c}" for c in "ABCDEFGHIJ"]


def accuracy(value, samples=60):
    interval = list(wilson_interval(value, samples))
    return {"accuracy": {"value": value, "interval": interval, "higher_is_better": True}}


METRICS = {
    "recipe": "concepts",
    "fusion": "late",
    "features": ["image", "text", "audio"],
    "primary": "accuracy",
    "seed": 7,
    "parameters": 1234567,
    "train_seconds": 231.4,
    "versions": {"mmzoo": "0.1.0"},
    "data": {"name": "concept128", "sha256": "5ha"},
    "trained": {"image+text+audio": {"steps": 800, "batch_size": 64, "stopped_early": False}},
    "validation": {"metrics": accuracy(0.957), "subsets": {}},
    "test": {
        "samples": 60,
        "metrics": accuracy(0.9),
        "subsets": {},
        "baseline": {"accuracy": 0.1},
    },
    "history": {
        "loss": [2.0, 1.0, 0.5, 0.25],
        "accuracy": [0.2, 0.5, 0.8, 0.9],
        "val_loss": [2.0, 1.0, 0.6, 0.5],
        "val_accuracy": [0.25, 0.5, 0.75, 0.7],
    },
}


def check(**changes):
    return {
        "signature": "portable", "batch": 1, "output": "probability", "samples": 51,
        "sizes": "samples", "metric": None,
        "holds": True, "max_abs": 1.5e-7, "mean_abs": 2.5e-9, "scale_relative": 3.5e-7,
        "finite": True, "agreement": 1.0, "breaches": [], **changes,
    }  # fmt: skip


def certificate(**changes):
    metric = {"name": "accuracy", "output": "probability", "keras": 0.9, "artifact": 0.85}
    entry = {
        "holds": True, "runtime": "onnxruntime 1.31.1", "bytes": 7_184_764, "checks": [check()],
        "latency_ms": {"1": 7.0, "17": 64.0}, "metric": {**metric, "change": -0.05},
        "breaches": [], "load_seconds": 0.267, "peak_mib": 345.6, **changes,
    }  # fmt: skip
    return {
        "holds": entry["holds"], "tolerance": 1e-5, "formats": {"onnx": entry},
        "samples": {"source": "concept128/test", "count": 60},
    }  # fmt: skip


def run(wrong=((0, 1), (6, 0), (7, 2), (12, 3), (18, 4), (24, 5))):
    """60 samples, 6 a class; `wrong` lists (row, class predicted)."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 6)
    probabilities = np.full((60, 10), 0.02)
    chosen = labels.copy()
    for row, predicted in wrong:
        chosen[row] = predicted
    probabilities[np.arange(60), chosen] = 0.82
    audio = np.zeros((60, 8000), "float32")
    audio[:, :4000] = rng.uniform(-0.5, 0.5, (60, 4000))
    return {
        "metrics": copy.deepcopy(METRICS),
        "inputs": {
            "image": rng.integers(1, 256, (60, 16, 16, 3), dtype="uint8"),
            "text": encode_text([f"phrase {i}." for i in range(60)], 64),
            "audio": audio,
        },
        "task": task_of(CLASSES),
        "targets": {"labels": labels},
        "answers": {"probability": probabilities},
    }


def task_of(classes):
    features = (Image("image"), Text("text"), Audio("audio"))
    return Classification(features, tuple(classes))


def render(folder, arguments):
    return write_report(folder / "report.html", **arguments).read_text("utf-8")


def section(page, title):
    return page.split(f"<h2>{title}</h2>")[1].split("</section>")[0]


def words(html):
    """The text a reader sees, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


class Tags(HTMLParser):
    """Every tag with its attributes; fails on a tag that is closed out of order."""

    VOID = ("meta", "link", "img", "br", "path", "use")

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag
