"""What a model takes and gives, guessed from its tensors where no task says it.

This is the one place where dtypes, ranks and names stand for a meaning.
"""

import dataclasses
import re
from collections.abc import Sequence

from mmzoo.tasks.answers import Answer, ArrayAnswer, Scores
from mmzoo.tasks.features import Array, Audio, Feature, Image, Number, Text
from mmzoo.tasks.metrics import Accuracy, Metric
from mmzoo.tasks.task import Task, check_classes_of
from mmzoo.tasks.tensors import Tensor

LABELS = "labels"  # the target of a guessed classification
SCORES = "probability"  # the output that holds scores where the class names don't say which


@dataclasses.dataclass(frozen=True)
class ModelTask(Task, kind="model"):
    """The task of a model that nobody declared one for; it is never trained by it.

    Attributes:
        features: The named inputs.
        answers: What its outputs are taken for.
        metrics: How good they are; none where no output has scores.
    """

    answers: tuple[Answer, ...] = ()
    metrics: tuple[Metric, ...] = ()

    def check_targets(self, targets, name="`samples`", shapes=None):
        for metric in self.metrics:
            if metric.target in targets:
                width = (shapes or {}).get(metric.answer, (None, None))[-1]
                check_classes_of(targets[metric.target], width, name, metric.target)


def kind_of(tensor: Tensor) -> str:
    """The kind of the feature that an input most likely carries.

    Text: token ids, strings, and uint8 `(batch, length)`. Image: three colours of uint8, or of
    float32 and called `image`. Audio: float32 `(batch, time)` that is called `audio`. Number: a
    float `(batch,)`. Anything else is an array.
    """
    shape = tensor.shape
    if tensor.tokens_of or tensor.dtype == "string":
        return "text"
    if tensor.dtype == "uint8" and len(shape) == 2:
        return "text"
    colours = len(shape) == 4 and shape[3] == 3
    if colours and (tensor.dtype == "uint8" or (tensor.dtype, tensor.name) == ("float32", "image")):
        return "image"
    if tensor.name == "audio" and tensor.dtype == "float32" and len(shape) == 2:
        return "audio"
    if tensor.dtype.startswith("float") and len(shape) == 1:
        return "number"
    return "array"


def guess_features(inputs: Sequence[Tensor]) -> tuple[Feature, ...]:
    """A feature for each input that carries one."""
    kinds = {"text": Text, "image": Image, "audio": Audio, "number": Number, "array": Array}
    found = {t.feature: t for t in inputs if not t.presence_of}
    return tuple(kinds[kind_of(tensor)](name) for name, tensor in found.items())


def guess_task(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], classes: Sequence[str] | None = None
) -> ModelTask:
    """The task of a model that nobody declared one for.

    Args:
        inputs, outputs: The model's tensors.
        classes: Names of classes, where there are such. The scores are the one 2D output of as
            many values, else the output called `probability`.

    Returns:
        A `ModelTask`. Without scores it has no metric.
    """
    scores = scores_output(outputs, classes)
    names = None if classes is None else tuple(classes)
    answers = tuple(
        Scores(tensor.name, names) if tensor.name == scores else ArrayAnswer(tensor.name)
        for tensor in outputs
    )
    metrics = (Accuracy(scores, LABELS),) if scores else ()
    return ModelTask(guess_features(inputs), answers, metrics)


def scores_output(outputs: Sequence[Tensor], classes: Sequence[str] | None) -> str | None:
    """The output that holds a score a class, by name; None if that is not clear.

    It is the one 2D output as wide as the list of classes, else the one called `probability`.
    """
    tables = {t.name: t.shape[1] for t in outputs if len(t.shape) == 2}
    tables = {name: width for name, width in tables.items() if width != 1}  # of one none is best
    if classes is not None:
        tables = {name: width for name, width in tables.items() if width == len(classes)}
        if len(tables) == 1:
            return next(iter(tables))
    return SCORES if SCORES in tables else None


def named_like_scores(name: str) -> bool:
    """Whether an output's name says that its values are scores."""
    pattern = r"(^|_)(logits?|scores?|prob[a-z]*|labels?|class(es)?|predictions?)\d*$"
    return bool(re.search(pattern, name, re.I))


def named_like_vectors(name: str) -> bool:
    """Whether an output's name says that its values are a vector."""
    return bool(re.search(r"embed|vector|feature|pooled|latent|project", name, re.I))
