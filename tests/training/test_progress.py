"""The progress bar gives the terminal back, whatever happens."""

import io

import keras
import numpy as np
import pytest
from rich.console import Console

from mmzoo.training import RichProgress


def fit(bar, fail=False):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callbacks = [bar]
    if fail:
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: 1 / 0))
    x = np.ones((8, 2), "float32")
    model.fit(x, x[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=callbacks)


def test_without_a_terminal_it_prints_a_line_an_epoch():
    out = io.StringIO()
    with RichProgress("both", ["loss"], Console(file=out)) as bar:
        fit(bar)
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[:2] for line in lines if "epoch" in line] == [
        ["both", "epoch 1/2"],
        ["both", "epoch 2/2"],
    ]
    assert "loss 0." in lines[0] or "loss" in lines[0]


@pytest.mark.parametrize("fail", [False, True])
def test_the_cursor_comes_back(fail):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    try:
        with RichProgress("both", ["loss"], console) as bar:
            fit(bar, fail)
    except ZeroDivisionError:
        assert fail
    text = out.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # shown after it was hidden
