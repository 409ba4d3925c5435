"""A task: what a model takes, what it gives, and how good that is."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmzoo.tasks.answers import Answer
from mmzoo.tasks.described import Described, written
from mmzoo.tasks.features import Feature
from mmzoo.tasks.metrics import Metric
from mmzoo.tasks.tensors import Tensor

DERIVED = ("answers", "metrics")


@dataclasses.dataclass(frozen=True)
class Task(Described, family="task"):
    """What a model takes, what it gives, and how good that is.

    A subclass has the fields that define it and derives `answers` and `metrics` from them, so
    that a new task is one file: fields, answers, metrics, head and losses. `to_json()` is
    `manifest["task"]` of a bundle: from it alone a bundle is verified, asked and shown.

    Attributes:
        features: The named inputs.
    """

    features: tuple[Feature, ...]

    def __post_init__(self):
        names = [each.name for each in self.features] + [each.name for each in self.answers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not self.features:
            raise ValueError(
                "Expected features and answers of different names, at least one feature. "
                f"Received: {names}."
            )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The named outputs."""
        raise NotImplementedError

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """How good the answers are; the first is the one that counts."""
        raise NotImplementedError

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that the metrics compare with."""
        return tuple(dict.fromkeys(metric.target for metric in self.metrics))

    def head(self, x) -> dict:
        """Builds the last layers of a Keras model.

        Args:
            x: Float tensor `(batch, width)`: the fused embedding.

        Returns:
            Dict of output name to Keras tensor.
        """
        raise NotImplementedError

    def losses(self) -> dict:
        """Returns a dict of output name to the Keras loss that trains it."""
        raise NotImplementedError

    def training_targets(self, targets: dict) -> dict:
        """Targets as the losses take them: dict of output name to array.

        Args:
            targets: Dict of target name to array, as the metrics take them.
        """
        return {metric.answer: targets[metric.target] for metric in self.metrics}

    def baseline(self, training: dict, count: int) -> dict:
        """Answers that look at no input: what a result is to be compared with.

        Args:
            training: Dict of target name to array, of the training samples.
            count: How many answers to give.

        Returns:
            Dict of output name to array `(count, ...)`.
        """
        raise NotImplementedError

    def check_targets(
        self, targets: dict, name: str = "`samples`", shapes: dict | None = None
    ) -> None:
        """Raises ValueError unless the targets are such as the metrics take.

        Args:
            targets: Dict of target name to array `(samples, ...)`.
            name: What messages call the samples.
            shapes: Dict of output name to shape, where there is a model.
        """

    def feature(self, name: str) -> Feature:
        """The feature of this name."""
        return _named(self.features, name, "feature")

    def answer(self, name: str) -> Answer:
        """The answer of this name."""
        return _named(self.answers, name, "answer")

    def to_json(self) -> dict:
        """Returns `kind`, every field, and `answers` and `metrics` for those who only read."""
        derived: dict[str, Any] = {key: written(getattr(self, key)) for key in DERIVED}
        return super().to_json() | derived

    @classmethod
    def read_fields(cls, given):
        names = {field.name for field in dataclasses.fields(cls)}
        own = {key: value for key, value in given.items() if key in names or key not in DERIVED}
        fields = super().read_fields(own)
        families: dict[str, type[Described]] = {
            "features": Feature, "answers": Answer, "metrics": Metric,
        }  # fmt: skip
        for key, family in families.items():
            if key in own:
                fields[key] = tuple(family.from_json(each) for each in own[key])
        return fields


def _named(found, name, what):
    for each in found:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in found)
    raise ValueError(f"There is no {what} {name!r}. There are {names}.")


def check_classes_of(targets: np.ndarray, classes: int | None, path: str, target: str) -> None:
    """Raises ValueError if a class number is none of the classes.

    Args:
        targets: Int `(samples,)`.
        classes: How many there are; None where that is not known.
        path: What messages call the samples.
        target: Name of the target.
    """
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: expected {len(targets)} integer labels, of shape ({len(targets)},). "
            f"Received: `{target}` as {targets.dtype} of shape {targets.shape}."
        )
    if classes is None:
        return
    bad = (targets < 0) | (targets >= classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{path}: `{target}` must be from 0 to {classes - 1}, a class each. Received: "
            f"{int(targets[first])} in sample {first}, {bad.sum():,} out of range. Number the "
            "classes from 0, and leave samples without a label out."
        )


def named_answer(task: Task):
    """The answer whose values have names: that of classes or labels; None if there is none."""
    found = [each for each in task.answers if getattr(each, "classes", None)]
    return found[0] if found else None


def check_task(task: Task, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raises ValueError unless each tensor can carry its feature, or hold its answer."""
    for tensor in inputs:
        if tensor.presence_of:
            continue
        feature = task.feature(tensor.feature)
        if tensor.kind != feature.kind or not feature.fits(tensor):
            raise ValueError(
                f"the input {tensor.name!r}, {tensor.dtype} of shape {list(tensor.shape)}, can't "
                f"carry the feature {feature.to_json()}"
            )
    names = {tensor.name for tensor in outputs}
    answered = {answer.name for answer in task.answers}
    if names != answered:
        raise ValueError(
            f"the model's outputs are {sorted(names)}, and the task's answers {sorted(answered)}"
        )
    for tensor in outputs:
        answer = task.answer(tensor.name)
        if not answer.fits(tensor):
            raise ValueError(
                f"the output {tensor.name!r}, {tensor.dtype} of shape {list(tensor.shape)}, can't "
                f"hold the answer {answer.to_json()}"
            )
