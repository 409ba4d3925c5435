"""A source: where the samples of a task come from."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from mmzoo.tasks.task import Task


@runtime_checkable
class Source(Protocol):
    """Where the samples of a task come from: a table, record files, a data set of mmzoo.

    Splits are "train", "validation" and "test". No source of samples (a person, a vendor, a
    recording) stands in two of them.

    Attributes:
        task: The task that its samples are of.
    """

    task: Task

    def samples(self, split: str) -> tuple[dict, dict]:
        """Returns the samples of a split, the same at each call.

        Returns:
            Dict of input name to array `(samples, ...)`, and dict of target name to array.
        """
        ...

    def batches(self, split: str, batch_size: int, seed: int, step: int = 0) -> Iterator:
        """Returns an endless stream of batches as `samples` has them, a function of its arguments.

        Args:
            split: Name of the split.
            batch_size: Samples a batch.
            seed: Of order and augmentation.
            step: The first batch: a run that was interrupted goes on with it.
        """
        ...

    def identity(self) -> dict:
        """Returns what the samples are, for `metrics.json`: `name`, `sha256`, `sizes`, `splits`."""
        ...
