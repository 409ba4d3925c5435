"""A task of the bake-off as small as they come."""

import numpy as np
import pytest
from kept import kept_processes  # noqa: F401 a fixture

from mmzoo.recipes.comparison import encoded_tasks
from mmzoo.training.features import Features


@pytest.fixture
def small_task():
    """16 samples of noise: image, text and audio of three widths."""
    classes, samples = 128, 16
    rng = np.random.default_rng(0)
    shapes = {"image": (2, 6), "text": (3, 128), "audio": (2, 5)}
    labels = np.arange(samples) % classes
    tokens = {m: rng.standard_normal((samples, *s)).astype("float16") for m, s in shapes.items()}
    masks = {m: np.ones(x.shape[:2], bool) for m, x in tokens.items()}
    part = Features(tokens, masks, {m: x.mean(1) for m, x in tokens.items()}, labels)
    words = [b"cl\xc3\xa9", b"cat"] * (samples // 2)
    phrases = np.array([list(word.ljust(6, b"\0")) for word in words], "uint8")
    return encoded_tasks.Task(
        classes, 9000, {"steps": 2, "batch_size": 4}, part, part, part,
        dict.fromkeys(("train", "validation", "test"), phrases),
    )  # fmt: skip
