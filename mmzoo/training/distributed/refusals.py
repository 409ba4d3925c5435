"""What would train otherwise than on one device, refused before training."""

import keras
import tensorflow as tf

from mmzoo.compat.functional import all_layers

_KNOWN = ("OneDeviceStrategy", "MirroredStrategy", "CollectiveAllReduceStrategy", "TPUStrategy")


def check_compile(model, optimizer, loss, accumulate, options) -> None:
    """Raises ValueError where `compile`'s arguments don't fit the strategy."""
    strategy = model.distribute_strategy
    several = strategy.num_replicas_in_sync > 1
    if not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(f"`accumulate` must be a positive int. Received: accumulate={accumulate}.")
    kinds = {kind.__name__ for kind in type(strategy).__mro__}
    if tf.distribute.has_strategy() and not any(
        name.startswith(known) for name in kinds for known in _KNOWN
    ):
        raise ValueError(
            f"Expected a strategy of {_KNOWN}. Received: {type(strategy).__name__}, for which "
            "Keras 3 computes another loss. Use `mmzoo.training.strategy`."
        )
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "Expected no `keras.distribution`: on TensorFlow it does nothing. Received: "
            f"{type(keras.distribution.distribution()).__name__}. Use `mmzoo.training.strategy`."
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "Expected an optimizer without `gradient_accumulation_steps`, which fails under "
            f"tf.distribute. Received: {inner.gradient_accumulation_steps}. Multiply the "
            "batch size by it and pass compile(accumulate=...)."
        )
    if several or accumulate > 1:
        _check_modules(model)
    if accumulate > 1:
        _check_accumulation(model, loss)
    if not several:
        return
    faults = {
        "jit_compile": (
            options.get("jit_compile") is True,
            "XLA can't compile the exchange between replicas; leave it out",
        ),
        "steps_per_execution": (
            model.workers > 1 and options.get("steps_per_execution", 1) != 1,
            "between workers TensorFlow loses what such a loop of steps takes in; leave it out",
        ),
        "ema_overwrite_frequency": (
            bool(inner.use_ema and inner.ema_overwrite_frequency),
            "it fails with replicas; without it the average takes over when training ends",
        ),
    }
    for name, (wrong, advice) in faults.items():
        if wrong:
            raise ValueError(
                f"Expected no `{name}` with {strategy.num_replicas_in_sync} replicas. Received: "
                f"one; {advice}."
            )
    _check_scope(model, optimizer, strategy)


def whole_batch_losses(loss) -> list:
    """Losses that compare samples with each other."""
    leaves = [leaf for leaf in keras.tree.flatten(loss) if leaf is not None]
    return [leaf for leaf in leaves if getattr(leaf, "needs_whole_batch", False)]


def _check_modules(model):
    for layer in all_layers(model):
        statistics = getattr(layer, "statistics", None)
        if statistics:
            raise ValueError(
                f"Expected modules that learn without batch statistics. Received: {layer.name!r}, "
                f"whose graph moves {statistics[0]!r} and {len(statistics) - 1} more by itself, on "
                "each replica and micro-batch for itself. Set `trainable=False`, or train it on "
                "one device with accumulate=1."
            )


def _check_accumulation(model, loss):
    for leaf in whole_batch_losses(loss):
        raise ValueError(
            f"Expected accumulate=1 with {type(leaf).__name__}, which compares every sample with "
            "all others of its batch. Received: more. Use more replicas, or smaller batches."
        )
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise ValueError(
                f"Expected accumulate=1 with BatchNormalization. Received: more, and "
                f"{layer.name!r}, whose moments would be those of a micro-batch. Freeze it, or use "
                "GroupNormalization."
            )


def _check_scope(model, optimizer, strategy):
    for variable in model.variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise ValueError(
                "Expected all variables to be made inside `strategy.scope()`. Received: "
                f"{variable.path!r}, made outside. Build the model inside."
            )
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner._distribution_strategy is not strategy:
        raise ValueError(
            "Expected the optimizer to be made inside `strategy.scope()`. Received: "
            f"{inner.name!r}, made outside. Make it inside."
        )


def check_data(model, x, options):
    """Returns the data as `fit` is to get it, sharded among workers by samples.

    Raises:
        ValueError: If workers would not see the same data.
    """
    if model.workers == 1:
        return x
    if isinstance(x, tf.data.Dataset):
        policy = tf.data.experimental.AutoShardPolicy
        if x.options().experimental_distribute.auto_shard_policy != policy.AUTO:
            return x
        # By default TensorFlow shards record files by file: a worker may get none.
        explicit = tf.data.Options()
        explicit.experimental_distribute.auto_shard_policy = policy.DATA
        return x.with_options(explicit)
    if isinstance(x, tf.distribute.DistributedDataset):
        return x
    if options.get("shuffle", True) and not _seeded():
        raise ValueError(
            "Expected data that every worker has in the same order. Received: arrays to shuffle, "
            "without a seed. Call `keras.utils.set_random_seed` on every worker, or pass "
            "shuffle=False or a tf.data.Dataset."
        )
    return x


def _seeded():
    from mmzoo.compat.internals import get_random_seed

    return get_random_seed() is not None


def check_one_batch(model, name, instead) -> None:
    """Raises ValueError for a method that gives the whole batch to every replica."""
    if model.replicas > 1:
        raise ValueError(
            f"Expected `{instead}` with {model.replicas} replicas. Received: `{name}`, which gives "
            "each replica the whole batch."
        )
