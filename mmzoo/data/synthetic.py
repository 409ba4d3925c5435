"""Synthetic multimodal tasks whose answer is known beforehand."""

import numpy as np

TASKS = ("xor", "noise", "single")
SPLITS = ("train", "validation", "test")
SHAPES = {"image": (8, 16), "text": (6, 12)}  # (tokens, width)

# Length of what a token carries, in standard deviations of the noise around it.
_XOR, _LABEL, _NUISANCE = 7.0, 4.0, 8.0
_CLASSES = {"xor": 2, "noise": 4, "single": 4}
_INFORMATIVE = {"xor": ("image", "text"), "noise": ("image",), "single": ("text",)}
# Share of 10^6 samples, of ten seeds, in which `posterior` finds the label.
_BAYES = {"xor": 1.0, "noise": 0.968, "single": 0.973}


def draw(
    task: str, split: str, samples: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws samples of a task, a pure function of its arguments.

    Every modality is a few tokens of white noise, standard deviation 1. Where it has something to
    say, one token a sample, at a random place, has a vector added: the prototype of a class.

    - `"xor"`: image and text have a bit each, a prototype forward or backward. The label is the
      XOR of the bits. Neither modality alone says anything about it, nor does any sum of what
      the two say; only their interaction does.
    - `"noise"`: image has one of four classes, the label. Text is noise, as loud as the image.
    - `"single"`: text has the label, one of four classes. Image has one of four classes as
      well, twice as clear, which has nothing to do with the label.

    Args:
        task: One of `TASKS`.
        split: `"train"`, `"validation"` or `"test"`: other samples of the same distribution. The
            prototypes depend on the task and the seed alone.
        samples: Positive int.
        seed: Int, 0 or more.

    Returns:
        A dict of `"image"`, float32 `(samples, 8, 16)`, and `"text"`, float32 `(samples, 6, 12)`;
        and the labels, int32 `(samples,)`.

    Raises:
        ValueError: If an argument is not one of those.

    Example:

    >>> features, labels = draw("xor", "train", samples=100, seed=0)
    >>> {name: tokens.shape for name, tokens in features.items()}
    {'image': (100, 8, 16), 'text': (100, 6, 12)}
    >>> expected("xor")["alone"]
    {'image': 0.5, 'text': 0.5}
    """
    prototypes = _prototypes(task, seed)
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {SPLITS}. Received: split={split!r}.")
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"`samples` must be a positive int. Received: samples={samples!r}.")
    rng = _generator(task, seed, 1 + SPLITS.index(split))
    classes = {name: rng.integers(0, _CLASSES[task], samples) for name in SHAPES}
    features = {}
    for name, (tokens, width) in SHAPES.items():
        noise = rng.standard_normal((samples, tokens, width))
        if name in prototypes:
            place = rng.integers(0, tokens, samples)
            noise[np.arange(samples), place] += prototypes[name][classes[name]]
        else:  # as loud as the image: the same mean square of a value
            other_tokens, other_width = SHAPES["image"]
            noise *= np.sqrt(1 + _LABEL**2 / (other_tokens * other_width))
        features[name] = noise.astype("float32")
    labels = sum(classes[name] for name in _INFORMATIVE[task]) % _CLASSES[task]
    return features, labels.astype("int32")


def posterior(task: str, features: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """What the best possible model says: the exact probabilities of the classes.

    Bayes' rule with the prototypes, which a model has to learn. They are equally long, so
    `p(class | tokens) ~ sum_t exp(prototype . token_t)`.

    Args:
        task: One of `TASKS`.
        features: As `draw` returns them for this task and seed.
        seed: Int, 0 or more.

    Returns:
        Float64 `(samples, classes)`.
    """
    from scipy.special import logsumexp, softmax

    prototypes = _prototypes(task, seed)
    beliefs = []
    for name in _INFORMATIVE[task]:
        logits = features[name].astype("float64") @ prototypes[name].T  # (samples, tokens, classes)
        beliefs.append(softmax(logsumexp(logits, axis=1), axis=-1))
    if task != "xor":
        return beliefs[0]
    one, other = beliefs
    different = one[:, 0] * other[:, 1] + one[:, 1] * other[:, 0]
    return np.stack([1 - different, different], axis=-1)


def expected(task: str) -> dict:
    """The known answer.

    Args:
        task: One of `TASKS`.

    Returns:
        Dict of `classes`, int; `chance`, the accuracy of a guess; `bayes`, that of the best
        possible model, within 0.001; `informative`, a tuple of the modalities that it needs; and
        `alone`, a dict of modality to the best possible accuracy with that one alone.
    """
    _check_task(task)
    classes, bayes = _CLASSES[task], _BAYES[task]
    sufficient = _INFORMATIVE[task] if len(_INFORMATIVE[task]) == 1 else ()
    return {
        "classes": classes,
        "chance": 1 / classes,
        "bayes": bayes,
        "informative": _INFORMATIVE[task],
        "alone": {name: bayes if name in sufficient else 1 / classes for name in SHAPES},
    }


def _prototypes(task, seed):
    """Dict of the modalities with something to say to float64 `(classes, width)`."""
    _check_task(task)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"`seed` must be an int, 0 or more. Received: seed={seed!r}.")
    rng = _generator(task, seed, 0)
    found = {}
    for name, (_, width) in SHAPES.items():
        # Orthonormal, so that all classes are equally far apart, whatever the seed.
        basis, _ = np.linalg.qr(rng.standard_normal((width, 4)))
        if task == "xor":
            found[name] = _XOR * np.stack([-basis[:, 0], basis[:, 0]])
        elif name in _INFORMATIVE[task]:
            found[name] = _LABEL * basis.T
        elif task == "single":
            found[name] = _NUISANCE * basis.T
    return found


def _generator(task, seed, stream):
    # By key, not by sum: no seed of one task or split is a seed of another.
    sequence = np.random.SeedSequence(seed, spawn_key=(TASKS.index(task), stream))
    return np.random.default_rng(sequence)


def _check_task(task):
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {TASKS}. Received: task={task!r}.")
