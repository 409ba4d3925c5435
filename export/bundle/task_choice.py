"""The task of a bundle: the one that was declared, or a guess, checked against the model."""

import dataclasses
from collections.abc import Sequence

from mmzoo.data.media.images import IMAGE_FIT, IMAGE_FITS
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks import Image, Task, Tensor, check_task, guess_task
from mmzoo.tasks.features.image import FITS, NONE


def choose_task(
    task: Task | None,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    samples: Samples,
    classes: Sequence[str] | None = None,
    image_fit: str | None = None,
) -> Task:
    """The task of a bundle, complete: with the size that each image is brought to.

    Args:
        task: As declared; None: it is guessed.
        inputs, outputs: The model's tensors.
        samples: Those that fit the model, with their targets.
        classes: Class names, where there is no task.
        image_fit: How images are brought to size, where there is no task.

    Raises:
        ValueError: If the task, the model and the samples don't fit one another.
    """
    if task is not None and (classes is not None or image_fit is not None):
        raise ValueError(
            "`classes` and `image_fit` are for models without a task. Received both: the task says "
            "them."
        )
    if task is None:
        task = guess_task(inputs, outputs, classes)
        if classes is not None and not task.metrics:
            raise ValueError(
                f"Expected as many class names as one output has scores. Received: {len(classes)} "
                f"names for {[(t.name, t.shape) for t in outputs]}."
            )
        fit = choose_fit(image_fit, samples.image_fit)
        task = _with_images(task, lambda image: dataclasses.replace(image, fit=fit))
    carried = {t.feature: t for t in inputs if not t.presence_of}
    named = {feature.name for feature in task.features}
    if set(carried) != named:
        raise ValueError(
            f"Expected a task with a feature for each of the model's inputs {sorted(carried)}. "
            f"Received: {sorted(named)}."
        )
    for image in [each for each in task.features if isinstance(each, Image)]:
        if image.fit == NONE and None not in carried[image.name].shape[1:3]:
            raise ValueError(
                f'`image_fit="none"` is for a model that takes pictures of any size. Received: '
                f"{image.name!r} of shape {list(carried[image.name].shape)}. Choose one of "
                f"{IMAGE_FITS}."
            )
    shapes = {name: samples.inputs[t.name].shape[1:] for name, t in carried.items()}
    features = tuple(each.completed(shapes[each.name]) for each in task.features)
    task = dataclasses.replace(task, features=features)
    check_task(task, inputs, outputs)
    known = [metric.target for metric in task.metrics if metric.target in samples.targets]
    if known:
        whole = set(task.targets) <= set(samples.targets)
        if not whole:
            raise ValueError(
                f"{samples.name}: expected the targets {', '.join(task.targets)}. Received: "
                f"{', '.join(samples.targets)}."
            )
        shapes = {tensor.name: tensor.shape for tensor in outputs}
        task.check_targets(samples.targets, samples.name, shapes)
    return task


def choose_fit(fit: str | None, of_samples: str) -> str:
    """How images are brought to size, where no task says it.

    Args:
        fit: What was asked for, or None.
        of_samples: How the samples' images were brought to size, or "" where that is not known.

    Returns:
        `fit`; else that of the samples; else "stretch", as
        `keras.utils.image_dataset_from_directory`, `load_manifest` and `tf.image.resize` do.

    Raises:
        ValueError: If there is no such fit, or the samples were made with another.
    """
    for given in (fit, of_samples):
        if given and given not in FITS:
            raise ValueError(f"`image_fit` must be one of {FITS}. Received: image_fit={given!r}.")
    if fit and of_samples and fit != of_samples:
        raise ValueError(
            f"`image_fit` must be that of the samples, {of_samples!r}. Received: "
            f"image_fit={fit!r}. Leave it out, or make the samples' pictures with {fit!r}."
        )
    return fit or of_samples or IMAGE_FIT


def _with_images(task, change):
    features = tuple(change(each) if isinstance(each, Image) else each for each in task.features)
    return dataclasses.replace(task, features=features)
