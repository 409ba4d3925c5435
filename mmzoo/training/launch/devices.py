"""Where a recipe trains, and what it goes on from: the same options for all recipes."""

import argparse
import contextlib
import dataclasses
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.training.distributed.broadcast import from_chief, is_chief
from mmzoo.training.distributed.strategy import STRATEGIES, strategy
from mmzoo.training.launch.arguments import positive_int


@dataclasses.dataclass(frozen=True)
class Devices:
    """What `--strategy`, `--replicas` and `--checkpoint-every` say.

    Attributes:
        strategy: The `tf.distribute` strategy.
        folder: Where checkpoints lie; None: none are written.
        every: Steps between checkpoints; None: one where training stops, by SIGTERM or Ctrl-C.
    """

    strategy: tf.distribute.Strategy
    folder: Path | None = None
    every: int | None = 50

    @property
    def chief(self) -> bool:
        """Whether this process evaluates, exports and reports."""
        return is_chief(self.strategy)

    def checkpoints(self, *names: str) -> Path | None:
        """The folder of one training run's checkpoints."""
        return None if self.folder is None else self.folder.joinpath(*names)

    @contextlib.contextmanager
    def others_waiting(self):
        """Inside, the first worker does what is left; nobody leaves before it is done.

        A worker that has left takes the cluster down for those that have not.
        """
        yield
        from_chief(self.strategy, None)
        if self.chief and self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder)  # the run is done: the next one begins anew


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where to train."""
    group = parser.add_argument_group("devices")
    group.add_argument("--strategy", choices=STRATEGIES, default="auto", help="of tf.distribute")
    group.add_argument(
        "--replicas", type=positive_int, help="with mirrored: how many GPUs, or logical CPUs"
    )
    group.add_argument(
        "--checkpoint-every", type=positive_int, metavar="STEPS",
        help="and go on from there when run again; with several workers every 50 steps",
    )  # fmt: skip


def devices_of(args: argparse.Namespace, seed: int) -> Devices:
    """The devices of parsed arguments, with all random numbers and operators deterministic.

    Before anything else of TensorFlow.
    """
    if args.replicas is not None and args.strategy != "mirrored":
        raise ValueError(
            f"`--replicas` goes with --strategy mirrored. Received: --strategy {args.strategy}."
        )
    chosen = strategy(args.strategy, replicas=args.replicas)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    several = getattr(chosen.extended, "_num_workers", 1) > 1
    every = args.checkpoint_every or (50 if several else None)
    return Devices(chosen, args.out / "checkpoints", every)
