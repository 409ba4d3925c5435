"""What replicas tell each other within a step: that one has to stop, that a gradient is broken."""

import tensorflow as tf


class Signals:
    """Numbers on each replica that the training step keeps, and `fit` reads now and then.

    A worker that has to stop votes for it; the step adds up the votes, so that all workers know
    after the same step. Where a gradient is NaN or infinite the step's number is kept.

    Args:
        strategy: The strategy that the model is trained with.
    """

    def __init__(self, strategy):
        self._strategy = strategy
        with strategy.scope():
            self._vote, self._votes = self._number("vote"), self._number("votes")
            self._step, self._broken = self._number("step"), self._number("broken_step")

    def _number(self, name):
        return tf.Variable(
            0.0, trainable=False, name=name, dtype="float64",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )  # fmt: skip

    def begin(self, step: int) -> None:
        """Before `fit`: the number of steps done."""
        for variable, value in ((self._step, step), (self._broken, -1), (self._votes, 0)):
            self._set(variable, value)

    def vote_to_stop(self) -> None:
        """This worker has to stop."""
        self._set(self._vote, 1)

    @property
    def stopping(self) -> bool:
        """Whether any worker has voted, as of the last step; the same on all workers."""
        return self._get(self._votes) > 0

    @property
    def broken_step(self) -> int | None:
        """The first step, counted from 1, whose gradient was NaN or infinite."""
        step = int(self._get(self._broken))
        return None if step < 0 else step

    @property
    def vote(self):
        """In the step: this replica's vote, float32 scalar."""
        return tf.cast(self._vote.read_value(), "float32")

    def hear(self, votes) -> None:
        """In the step: keeps the sum of all replicas' votes."""
        self._votes.assign(tf.cast(votes, "float64"))

    def watch(self, gradients) -> None:
        """In the step: looks for NaN and infinity in gradients that are the same everywhere."""
        step = self._step.assign_add(1.0)
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(_values(g))) for g in gradients if g is not None]
        )
        broken = self._broken.read_value()
        self._broken.assign(tf.where((broken < 0) & ~finite, step, broken))

    def _set(self, variable, value):
        for local in self._strategy.experimental_local_results(variable):
            local.assign(value)

    def _get(self, variable):
        return float(self._strategy.experimental_local_results(variable)[0].numpy())


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
