"""Optimizers that get gradients which are already summed over the replicas."""

import functools

import keras


class _Summed:
    """Comes before an optimizer's class: gradients arrive summed, so nothing is summed again.

    Keras clips, unscales and checks for infinity before it sums over the replicas, each replica
    with its own gradients; that is another step than on one device. Where the sum comes first,
    all of that is right as it is.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)


@functools.cache
def _class_of(kind):
    # The name and the module of the class itself: saved files say `AdamW`, as they should.
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Summed, kind), names)


def expects_summed(optimizer) -> bool:
    """Whether the optimizer takes gradients that are summed over the replicas."""
    return isinstance(getattr(optimizer, "inner_optimizer", optimizer), _Summed)


def expect_summed(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer take gradients that are summed over the replicas, in place.

    Its state, its schedule and what it leaves out of weight decay stay. It is saved as what it
    was. A `LossScaleOptimizer` unscales and checks the summed gradients, too.

    Args:
        optimizer: Any Keras optimizer.
    """
    target = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(target, _Summed):
        kind: type = type(target)
        target.__class__ = _class_of(kind)
