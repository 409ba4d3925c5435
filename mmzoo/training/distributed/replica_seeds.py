"""Random layers that draw other numbers on each replica."""

from mmzoo.ops.sample_random import SEED_NAME

_STATE = "seed_generator_state"
_APART = 1_000_003  # a prime; seeds of layers are drawn from 2**31


def sample_seeds(model) -> list:
    """Seeds of the layers that draw by sample, see `sample_uniform`."""
    return [seed for seed in _seeds(model) if SEED_NAME in seed.path.split("/")]


def spread_seeds(model) -> None:
    """Gives each replica a seed of its own in every layer that draws by device.

    They are made with the same seed, so that each replica would drop the same units. Replica 0
    keeps its seed, and it is the one that is saved: training goes on from a checkpoint as it
    would have. Layers that draw by sample stay as they are.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return
    first = first_replica(strategy)
    by_sample = {id(seed) for seed in sample_seeds(model)}
    for seed in _seeds(model):
        if id(seed) in by_sample:
            continue
        value = seed.numpy()
        for place, local in enumerate(strategy.experimental_local_results(seed.value)):
            local.assign(value + [_APART * (first + place), 0])


def first_replica(strategy) -> int:
    """Number, among all replicas, of this worker's first."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_id is None:
        return 0
    return resolver.task_id * strategy.extended._num_devices_per_worker


def _seeds(model):
    return [v for v in model.non_trainable_variables if v.path.split("/")[-1] == _STATE]
