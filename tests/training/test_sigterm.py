"""SIGTERM sets a flag, and training looks at it when a batch ends."""

import os
import signal
import types

import pytest

from mmzoo.training.resume.checkpoint_files import CheckpointFiles
from mmzoo.training.resume.step_checkpoint import Preempted, StepCheckpoint


class Signals:
    """What replicas tell each other; says where it was asked."""

    def __init__(self):
        self.votes, self.stopping, self.broken_step = 0, False, None

    def begin(self, step):
        pass

    def vote_to_stop(self):
        self.votes += 1


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    made = StepCheckpoint(CheckpointFiles(tmp_path), 100, agree_every=10)
    monkeypatch.setattr(made, "_save", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    made.close()
    assert signal.getsignal(signal.SIGTERM) == before


def begin(checkpoint, replicas):
    model = types.SimpleNamespace(
        signals=Signals(), replicas=replicas, optimizer=None, set_steps=lambda count: None
    )
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    checkpoint.on_epoch_begin(0)
    return model.signals


def test_the_handler_calls_nothing_and_the_batch_end_votes_once(checkpoint):
    signals = begin(checkpoint, replicas=2)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.votes == 0
    for batch in range(3):
        checkpoint.on_train_batch_end(batch)
    assert signals.votes == 1
    signals.stopping = True
    with pytest.raises(Preempted, match="after step 10"):
        for batch in range(3, 20):
            checkpoint.on_train_batch_end(batch)


def test_one_replica_stops_at_the_next_batch_end(checkpoint):
    begin(checkpoint, replicas=1)
    checkpoint.on_train_batch_end(0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Preempted, match="after step 2"):
        checkpoint.on_train_batch_end(1)
