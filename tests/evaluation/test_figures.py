import base64
import io
import wave

import matplotlib
import numpy as np
import pytest

from mmzoo.evaluation.intervals import wilson_interval
from mmzoo.evaluation.report import figures
from mmzoo.tasks import Accuracy

ACCURACY = Accuracy("probability", "labels")


@pytest.mark.parametrize("accuracy, samples", [(0.0, 8), (0.25, 8), (0.951171875, 1024), (1.0, 3)])
def test_wilson_interval_solves_the_score_equation(accuracy, samples):
    low, high = wilson_interval(accuracy, samples)
    assert 0 <= low <= accuracy <= high <= 1 and low < high
    for end in (low, high):  # (p - x)^2 = z^2 x (1 - x) / n
        assert (accuracy - end) ** 2 == pytest.approx(
            1.959964**2 * end * (1 - end) / samples, abs=1e-12
        )


@pytest.mark.parametrize("accuracy, samples", [(0.5, 0), (1.5, 3), (float("nan"), 3)])
def test_wilson_interval_refuses(accuracy, samples):
    with pytest.raises(ValueError, match=r"Expected an accuracy in \[0, 1\] of at least one"):
        wilson_interval(accuracy, samples)


@pytest.mark.parametrize(
    "history, expected",
    [
        ({"val_accuracy": [0.1, 0.9, 0.9], "val_loss": [3, 2, 1]}, ("val_accuracy", 2)),
        ({"val_loss": [3.0, float("nan"), 1.0, 2.0]}, ("val_loss", 3)),
        ({"val_accuracy": [float("nan")], "val_loss": [1.0]}, ("val_loss", 1)),
        ({"accuracy": [1.0]}, None),
    ],
)
def test_best_epoch(history, expected):
    assert figures.best_epoch(history, ACCURACY) == expected


def test_curves_with_gaps_one_epoch_or_none_leave_no_global_state():
    before = dict(matplotlib.rcParams)
    assert "best epoch" not in figures.learning_curve(
        {"loss": [1.0, float("nan"), 0.5]}, "loss", ACCURACY
    )
    assert "best epoch 1" in figures.learning_curve(
        {"loss": [1.0], "val_loss": [2.0]}, "loss", ACCURACY
    )
    assert figures.learning_curve({"loss": [1.0], "accuracy": []}, "accuracy", ACCURACY) == ""
    assert dict(matplotlib.rcParams) == before


def test_sound_is_the_clip_without_its_tail():
    samples = np.zeros(1000, "float32")
    samples[:300] = np.linspace(-1.5, 0.5, 300)  # too loud at first
    shown = figures.sound(samples)
    data = base64.b64decode(shown["address"].removeprefix("data:audio/wav;base64,"))
    with wave.open(io.BytesIO(data)) as clip:
        assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (16_000, 1, 2)
        values = np.frombuffer(clip.readframes(1000), "<i2")
    np.testing.assert_allclose(values / 32767, samples[:300].clip(-1, 1), atol=1 / 32767)
    assert shown["peak"] == 1 and shown["seconds"] == shown["seconds_shown"] == 300 / 16_000
    points = [tuple(map(float, p.split(","))) for p in shown["outline"][1:-1].split("L")]
    assert len(points) == 480 and points[0][1] == 47 and points[239] == (240, 12.5)
