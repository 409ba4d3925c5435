"""Losses normalised over the batch of all replicas."""

import keras
import tensorflow as tf
from keras import ops

from mmzoo.compat.internals import CompileLoss
from mmzoo.ops.sample_random import Rows, current_rows

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum")


@keras.saving.register_keras_serializable(package="mmzoo")
class GlobalLoss(keras.losses.Loss):
    """A Keras loss whose mean is over the batch of all replicas, as it is on one device.

    Where it is called by a `DistributedModel` on some `rows` of the batch, the value times
    `rows.count * replicas / rows.total`, summed over all of them, is the loss of the whole batch:
    so its reported mean is right as Keras weights it. Elsewhere it is the loss itself.

    Args:
        loss: `keras.losses.Loss`, or a function of `(y_true, y_pred)` that returns a value a
            sample.

    Raises:
        ValueError: If the loss returns a scalar, or needs what the rows of one piece can't tell.
    """

    def __init__(self, loss):
        self._given = loss
        if not isinstance(loss, keras.losses.Loss):
            loss = _FunctionLoss(loss)
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=loss.dtype)
        self.loss = loss

    def call(self, y_true, y_pred):
        return self.loss.call(y_true, y_pred)

    def __call__(self, y_true, y_pred, sample_weight=None):
        with keras.name_scope(self.name):
            mask = getattr(y_pred, "_keras_mask", None)  # which a conversion loses
            y_pred = keras.tree.map_structure(self._convert, y_pred)
            y_true = keras.tree.map_structure(self._convert, y_true)
            values = self._convert(self.call(y_true, y_pred))
            self._check(values)
            masks = [mask, getattr(values, "_keras_mask", None)]
            masks = [self._convert(mask) for mask in masks if mask is not None]
            return self._reduced(values, masks, sample_weight)

    def _convert(self, value):
        return ops.convert_to_tensor(value, dtype=self.dtype)

    def _check(self, values):
        rows = current_rows()
        if len(values.shape) == 0 and rows is not None and rows.replicas * rows.pieces > 1:
            raise ValueError(
                f"Expected a loss that returns a value a sample, `(batch, …)`. Received: a scalar "
                f"from {self.name!r}, which {rows.replicas} replicas would add up to "
                f"{rows.replicas * rows.pieces} times too much. Leave the mean to Keras."
            )

    def _reduced(self, values, masks, sample_weight):
        """The sum of the values over their number, both over all replicas."""
        if len(values.shape) == 0:
            return values
        weights = None
        for factor in (*masks, *([] if sample_weight is None else [self._convert(sample_weight)])):
            factor = _as_rank(factor, len(values.shape))
            weights = factor if weights is None else weights * factor
        total = ops.sum(values if weights is None else values * weights)
        rows = current_rows() or _whole(values)
        count, batch = (ops.cast(n, self.dtype) for n in (rows.count, rows.total))
        share = ops.divide_no_nan(batch, count * rows.replicas)
        if self.reduction == "sum":
            return total * share
        size = ops.cast(ops.size(values), self.dtype)
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            whole = self._over_replicas(ops.sum(weights), rows)
        elif masks:
            mask = ops.ones_like(values)
            for factor in masks:
                mask = mask * _as_rank(factor, len(values.shape))
            whole = self._over_replicas(ops.sum(mask), rows)
        else:  # a row has as many values here as anywhere
            return ops.divide_no_nan(total, size * rows.replicas)
        return ops.divide_no_nan(total, whole) * share

    def _over_replicas(self, value, rows):
        if rows.pieces > 1:
            raise ValueError(
                f"Expected no mask and no `mean_with_sample_weight` with micro-batches. Received: "
                f"one of them for the loss {self.name!r}, whose mean the rows of one micro-batch "
                "can't tell. Train with accumulate=1."
            )
        if rows.replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce("SUM", value)

    def get_config(self):
        return {"loss": keras.saving.serialize_keras_object(self._given)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["loss"]))


class _FunctionLoss(keras.losses.Loss):
    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true, y_pred):
        y_true, y_pred = _same_rank(y_true, y_pred)
        return self.function(y_true, y_pred)


def _same_rank(y_true, y_pred):
    """As Keras does for its functions: targets `(batch,)` fit predictions `(batch, 1)`."""
    if len(y_true.shape) + 1 == len(y_pred.shape) and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    elif len(y_pred.shape) + 1 == len(y_true.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    return y_true, y_pred


def _as_rank(factor, rank):
    while len(factor.shape) > rank and factor.shape[-1] == 1:
        factor = ops.squeeze(factor, -1)
    while len(factor.shape) < rank:
        factor = ops.expand_dims(factor, -1)
    return factor


def _whole(values):
    count = ops.shape(values)[0]
    return Rows(0, count, count)


def global_losses(loss):
    """The structure of losses that `compile` takes, each normalised over all replicas."""

    def one(leaf):
        if leaf is None or isinstance(leaf, GlobalLoss):
            return leaf
        if leaf in ("crossentropy", "ce", "accuracy", "acc"):
            raise ValueError(
                "Expected a loss by its full name, as 'categorical_crossentropy'. Received: "
                f"{leaf!r}, which Keras makes out from shapes."
            )
        found = keras.losses.get(leaf)
        if isinstance(found, keras.losses.Loss):
            if type(found).__call__ is not keras.losses.Loss.__call__:
                raise ValueError(
                    f"Expected a loss that overrides `call`. Received: {type(found).__name__}, "
                    "which overrides `__call__`, so that its mean can't be taken over all replicas."
                )
            if found.reduction not in REDUCTIONS:
                raise ValueError(
                    f"Expected a `reduction` of {REDUCTIONS}. Received: {found.reduction!r} in "
                    f"{found.name!r}: a sum of what is not averaged depends on the replicas."
                )
        return GlobalLoss(found)

    return keras.tree.map_structure(one, loss)


class GlobalCompileLoss(CompileLoss):
    """The losses of a model with several outputs, each reported as the mean over its rows.

    Differs: Keras weights a batch by its rows only where their number is known while tracing.
    """

    def build(self, y_true, y_pred):
        super().build(y_true, y_pred)
        for metric in self.metrics:
            metric.__class__ = _RowMean


class _RowMean(keras.metrics.Mean):
    def update_state(self, values, sample_weight=None):
        rows = current_rows()
        return super().update_state(values, sample_weight if rows is None else rows.count)
