"""A Keras model whose training on many devices equals that on one."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from mmzoo.compat.functional import all_layers
from mmzoo.ops.sample_random import Rows, current_rows, seeing
from mmzoo.training.distributed.batch_moments import take_over_replicas
from mmzoo.training.distributed.empty_rows import emptied, filled
from mmzoo.training.distributed.global_loss import GlobalCompileLoss, global_losses
from mmzoo.training.distributed.layer_losses import added_losses, forget, keep_apart
from mmzoo.training.distributed.micro_batches import cut, joined, rewound
from mmzoo.training.distributed.refusals import check_compile, check_data, check_one_batch
from mmzoo.training.distributed.replica_seeds import sample_seeds, spread_seeds
from mmzoo.training.distributed.signals import Signals
from mmzoo.training.distributed.summed_gradients import expect_summed


@keras.saving.register_keras_serializable(package="mmzoo")
class DistributedModel(keras.Model):
    """A functional model that `compile`, `fit` and `evaluate` train alike on any devices.

    Make it inside `strategy.scope()`, where the layers are made too. After each step the weights
    are those that one device has, but for float rounding, whatever the number of replicas and
    workers, also where a batch does not divide among them. For that,

    - losses are normalised over the batch of all replicas, with masks and weights too;
    - gradients are summed over the replicas before they are unscaled, checked and clipped;
    - `BatchNormalization` takes its moments over all replicas, masks included;
    - `SampleDropout` and `PresenceDropout` drop by sample; other random layers draw other
      numbers on each replica;
    - `accumulate=k` computes each step in k micro-batches, one after the other;
    - batches of strings, and of sizes that don't divide, are taken; workers log the same.

    What can't be right is refused by `compile` or `fit`, before the first step.

    Args:
        inputs, outputs: As of `keras.Model`.

    Reference:
        Keras 3.15 on TensorFlow does each of these otherwise, most without a word; the tests in
        `tests/training/test_stock_keras.py` show it.
    """

    def compile(self, optimizer="rmsprop", loss=None, *, accumulate=1, **kwargs):
        """Configures training, as `keras.Model.compile`.

        Args:
            optimizer: Any Keras optimizer; clipping, EMA and loss scaling included.
            loss: As in Keras; a loss returns a value a sample.
            accumulate: Into how many micro-batches each replica cuts its rows.
            **kwargs: As in Keras.

        Raises:
            ValueError: If something would train otherwise than on one device; it says what to
                use instead.
        """
        optimizer = keras.optimizers.get(optimizer)
        check_compile(self, optimizer, loss, accumulate, kwargs)
        self._pieces = accumulate
        for layer in all_layers(self):
            if self._is_cut:
                keep_apart(layer)
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = self.replicas > 1
                if self.replicas > 1:
                    take_over_replicas(layer)
        loss = global_losses(loss)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        if loss is not None:
            with self.distribute_strategy.scope():
                self._compile_loss = GlobalCompileLoss(
                    loss, kwargs.get("loss_weights"), output_names=self.output_names
                )
        expect_summed(self.optimizer)  # which Keras may have wrapped for float16
        self.signals = Signals(self.distribute_strategy)

    def get_compile_config(self):
        config = super().get_compile_config()
        return None if config is None else {**config, "accumulate": self._pieces}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def replicas(self) -> int:
        """How many replicas train it, on all workers together."""
        return self.distribute_strategy.num_replicas_in_sync

    @property
    def _is_cut(self):
        """Whether a step is computed in parts."""
        return self.replicas * getattr(self, "_pieces", 1) > 1

    @property
    def workers(self) -> int:
        """How many processes train it."""
        extended = self.distribute_strategy.extended
        return getattr(extended, "_num_workers", 1)

    def fit(self, x=None, y=None, **kwargs):
        """Trains, as `keras.Model.fit`; every worker calls it with the whole data."""
        x = check_data(self, x, kwargs)
        if isinstance(kwargs.get("validation_data"), tf.data.Dataset):
            kwargs["validation_data"] = check_data(self, kwargs["validation_data"], {})
        self.signals.begin(0)
        self._steps_of: Any = None
        spread_seeds(self)
        return super().fit(x, y, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """Evaluates, as `keras.Model.evaluate`; every worker calls it with the whole data."""
        return super().evaluate(check_data(self, x, {"shuffle": False}), y, **kwargs)

    def set_steps(self, steps: int) -> None:
        """While `fit` is at the beginning of an epoch: how many steps it is to have."""
        self._steps_of.steps_per_epoch = steps

    def train_on_batch(self, *args, **kwargs):
        check_one_batch(self, "train_on_batch", "fit")
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        check_one_batch(self, "test_on_batch", "evaluate")
        return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args, **kwargs):
        check_one_batch(self, "predict_on_batch", "predict")
        return super().predict_on_batch(*args, **kwargs)

    def train_step(self, data):
        data = keras.utils.unpack_x_y_sample_weight(data)
        weights = self.trainable_weights
        seeds = sample_seeds(self)
        whole = self._rows_of(data[0])
        predictions, losses, gradients = [], [], None
        for k in range(self._pieces):
            (x, y, sample_weight), rows = cut(data, whole, k, self._pieces, after=gradients)
            keep = rewound(seeds, last=k + 1 == self._pieces)
            with keep, seeing(rows), tf.GradientTape() as tape:
                y_pred = self._answer(x, rows.count, training=True)
                loss = self._compute_loss(
                    x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
                )
                scaled = self.optimizer.scale_loss(loss)
            new = tape.gradient(scaled, [weight.value for weight in weights])
            gradients = new if gradients is None else list(map(_add, gradients, new))
            predictions.append(y_pred)
            losses.append(loss)
        self._track(tf.add_n(losses), whole)
        gradients = self._over_replicas(gradients)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):  # skips such steps
            self.signals.watch(gradients)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        x, y, sample_weight = data
        logs = self.compute_metrics(x, y, joined(predictions), sample_weight=sample_weight)
        return self._liftable(logs)

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        rows = self._rows_of(x)
        with seeing(rows):
            y_pred = self._answer(x, rows.count, training=False)
            loss = self._compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False
            )
        self._track(loss, rows)
        return self._liftable(self.compute_metrics(x, y, y_pred, sample_weight=sample_weight))

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._answer(x, _count(x), training=False)

    def _answer(self, x, count, training):
        if not self._is_cut:
            return self(x, training=training)
        forget()
        return emptied(self(filled(x, count), training=training), count)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """What this replica adds to the loss of the whole batch, scalar."""
        rows = current_rows()
        # Keras weights what it reports by the rows; the gradient needs their share.
        share, part = (1.0, 1.0) if rows is None else (_share(rows), 1 / rows.pieces)
        losses = []
        if self._compile_loss is not None:
            loss = self._compile_loss(y, y_pred, sample_weight)
            if loss is not None:
                losses.append(loss * ops.cast(share, loss.dtype))
        of_rows, others = [], self.losses
        if rows is not None and rows.replicas * rows.pieces > 1:
            of_rows, others = added_losses(), self._get_regularization_losses()
        for loss, factor in [(loss, share) for loss in of_rows] + [(loss, part) for loss in others]:
            loss = self._aggregate_additional_loss(loss)
            losses.append(loss * ops.cast(factor, loss.dtype))
        if not losses:
            raise ValueError(
                "Expected a loss. Received: none in `compile`, and no layer adds one. Pass `loss`."
            )
        return tf.add_n([tf.cast(loss, losses[0].dtype) for loss in losses])

    def _rows_of(self, x):
        """Which rows of the whole batch lie on this replica."""
        count = _count(x)
        if self.replicas == 1:
            return Rows(0, count, count)
        context = tf.distribute.get_replica_context()
        place = context.replica_id_in_sync_group
        mine = tf.one_hot(place, self.replicas, dtype="float32") * tf.cast(count, "float32")
        told = context.all_reduce("SUM", tf.concat([mine, [self.signals.vote]], 0))
        self.signals.hear(told[-1])
        counts = tf.cast(told[:-1], "int32")
        first = tf.reduce_sum(tf.where(tf.range(self.replicas) < place, counts, 0))
        return Rows(first, count, tf.reduce_sum(counts), self.replicas)

    def _over_replicas(self, gradients):
        if self.replicas == 1:
            return gradients
        by_dtype: dict = {}
        for k, gradient in enumerate(gradients):
            if gradient is not None:
                by_dtype.setdefault(gradient.dtype, []).append(k)
        summed: list = [None] * len(gradients)
        for places in by_dtype.values():
            found = [gradients[k] for k in places]
            told = tf.distribute.get_replica_context().all_reduce("SUM", found)
            for k, gradient in zip(places, told, strict=True):
                summed[k] = gradient
        return summed

    def _track(self, loss, rows):
        loss = tf.cast(loss, "float32") * self.replicas
        weight = tf.cast(rows.total, "float32") / self.replicas
        self._loss_tracker.update_state(loss, sample_weight=weight)

    def _liftable(self, logs):
        """Logs as Keras reduces them over workers: it can't where they are scalars."""
        if self.workers == 1:
            return logs
        return tree.map_structure(lambda value: tf.expand_dims(value, 0), logs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None and getattr(self, "_steps_of", iterator) is None:
            self._steps_of = iterator  # that of `fit`: the first one since it began
        if iterator is not None and self._distribute_strategy is not None:
            # Keras adds up the replicas' batches: that fails on strings and on sizes that differ.
            local = self.distribute_strategy.experimental_local_results
            for _, _, batches in iterator:
                data_batch = tree.map_structure(lambda value: local(value)[0], next(batches))
                break
        super()._maybe_symbolic_build(data_batch=data_batch)


def plain_copy(model: keras.Model) -> keras.Model:
    """The same model, as a `keras.Model` on one device, with a copy of the weights.

    For export, and for whatever reads one device's variables. Call it outside of the scope.
    """
    if tf.distribute.has_strategy():
        raise ValueError("Expected a call outside of `strategy.scope()`. Received: one inside.")
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def _count(x):
    return tf.shape(next(leaf for leaf in tree.flatten(x) if leaf is not None))[0]


def _share(rows):
    return tf.math.divide_no_nan(
        tf.cast(rows.count * rows.replicas, "float32"), tf.cast(rows.total, "float32")
    )


def _add(a, b):
    if a is None or b is None:
        return b if a is None else a
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)
