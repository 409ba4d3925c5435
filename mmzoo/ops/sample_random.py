"""Random numbers that belong to a sample of the batch, whichever device it lies on."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# A generator of this name is not moved from replica to replica: the rows already differ.
SEED_NAME = "sample_seed"
_PHILOX = 1
_PER_COUNT = 4  # float32 numbers that Philox makes of one count
_current = threading.local()  # a thread a replica, where there are several in a process


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of the step's batch, over all replicas, a computation sees.

    Attributes:
        first: Index of its first row among those of all replicas; int or int32 scalar.
        count: How many it sees.
        total: How many there are over all replicas.
        replicas: How many replicas there are.
        pieces: Into how many pieces a replica cuts its rows.
    """

    first: Any
    count: Any
    total: Any
    replicas: int = 1
    pieces: int = 1


@contextlib.contextmanager
def seeing(rows: Rows) -> Iterator[None]:
    """Tells everything that is traced inside which rows it sees."""
    before = current_rows()
    _current.rows = rows
    try:
        yield
    finally:
        _current.rows = before


def current_rows() -> Rows | None:
    """What `seeing` was last told in this thread; None outside of it."""
    return getattr(_current, "rows", None)


def sample_uniform(shape, seed) -> tf.Tensor:
    """Uniform numbers in [0, 1), the same for a row of the batch on one device and on many.

    Number k of row i is one of the Philox stream whose key is the generator's seed, at a count
    that depends on the generator's step, i and k alone, so no device needs another's numbers.

    Args:
        shape: Int32 vector `(batch, …)`, of which the rest is the same on every device.
        seed: `keras.random.SeedGenerator`; name it `SEED_NAME`.

    Returns:
        Float32 tensor of that shape.

    Reference:
        Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    shape = tf.convert_to_tensor(shape, "int32")
    state = tf.cast(tf.convert_to_tensor(seed.next()), tf.uint64)
    each = tf.reduce_prod(shape[1:])
    counts = (each + _PER_COUNT - 1) // _PER_COUNT  # whole counts a row: rows don't overlap
    rows = current_rows()
    first = tf.cast(0 if rows is None else rows.first, tf.int64)
    start = tf.cast(first * tf.cast(counts, tf.int64), tf.uint64)
    drawn = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([shape[0], _PER_COUNT * counts]),
        key=state[:1],
        counter=tf.stack([start, state[1]]),
        alg=_PHILOX,
    )
    return tf.reshape(drawn[:, :each], shape)
