"""Losses that layers add while they are called, apart for each replica."""

import threading

from mmzoo.ops.sample_random import current_rows

_added = threading.local()  # a thread a replica; Keras keeps one list for all of them


def keep_apart(layer) -> None:
    """Makes a layer keep what its `activity_regularizer` says for `added_losses`.

    Such a loss is a mean over the rows that the layer saw, so the mean over all is known. Of a loss
    that the layer adds itself it is not, and a step with one raises ValueError while it is traced.

    Args:
        layer: Of a `DistributedModel` with replicas or micro-batches.
    """
    alone = type(layer).add_loss

    def add_loss(loss):
        rows = current_rows()
        if rows is None or rows.replicas * rows.pieces == 1:  # no step, or none in parts
            alone(layer, loss)
        elif layer.activity_regularizer is None:
            raise ValueError(
                "Expected layers that add no loss of the rows that they see, with replicas or "
                f"micro-batches. Received: {layer.name!r}, by `add_loss`. Return what it needs as "
                "an output, with a loss in `compile`, or train on one device with accumulate=1."
            )
        else:
            _added.losses.append(loss)

    layer.add_loss = add_loss


def forget() -> None:
    """Begins a call of the model on this replica."""
    _added.losses = []


def added_losses() -> list:
    """What layers have added on this replica since `forget`."""
    return _added.losses
