"""What the first worker knows, told to all."""

import json

import numpy as np
import tensorflow as tf


def from_chief(strategy, value):
    """The first worker's JSON value, on every worker; all of them call it.

    Args:
        strategy: A strategy; one without other workers returns the value.
        value: JSON value; what the others pass is not looked at.
    """
    if not has_workers(strategy):
        return value
    text = np.zeros(0, np.uint8)
    if is_chief(strategy):
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    (length,) = arrays_from_chief(strategy, [np.int64(len(text))])
    content = np.zeros(int(length), "int32")
    content[: len(text)] = text
    (content,) = arrays_from_chief(strategy, [content])
    return json.loads(content.astype(np.uint8).tobytes())


def arrays_from_chief(strategy, arrays):
    """The first worker's arrays, on every worker; all call it, with arrays of the same shapes."""
    if not has_workers(strategy):
        return [np.asarray(array) for array in arrays]
    chief = is_chief(strategy)
    mine = [np.asarray(a) if chief else np.zeros_like(a) for a in arrays]
    # Sums of one value and zeros: exact. Kinds that can't be summed go as wider ones.
    wide = [array.astype(_wider(array.dtype)) for array in mine]

    @tf.function
    def summed(values):
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        values = [tf.where(first, value, tf.zeros_like(value)) for value in values]
        # One by one: a list is to be of one dtype.
        return [tf.distribute.get_replica_context().all_reduce("SUM", value) for value in values]

    told = strategy.run(summed, args=([tf.constant(array) for array in wide],))
    local = [strategy.experimental_local_results(value)[0].numpy() for value in told]
    return [value.astype(array.dtype) for value, array in zip(local, mine, strict=True)]


def has_workers(strategy) -> bool:
    """Whether there are other processes."""
    return getattr(strategy.extended, "_num_workers", 1) > 1


def is_chief(strategy) -> bool:
    """Whether this is the first worker, which writes files."""
    resolver = strategy.cluster_resolver
    if resolver is None or not has_workers(strategy):
        return True
    return resolver.task_id == 0 and resolver.task_type in ("chief", "worker", None)


def _wider(dtype):
    if dtype.kind in "bui" and dtype.itemsize < 4:
        return np.int32
    return {np.dtype("uint32"): np.int64, np.dtype("float16"): np.float32}.get(dtype, dtype)
