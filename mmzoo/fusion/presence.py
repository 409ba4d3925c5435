"""The inputs that say which modalities a sample has."""

import itertools

import keras

SUFFIX = "_present"


def presence_inputs(modalities) -> dict[str, keras.KerasTensor]:
    """Makes an input a modality that says whether it is there.

    The name makes it one: an exporter that finds a bool input `image_present` beside `image`
    verifies the model without pictures too, and `mmzoo predict` then does without one.

    Args:
        modalities: Names of the inputs that may be absent.

    Returns:
        Dict of modality name to `keras.Input`, bool `(batch,)`, called `<modality>_present`:
        the `presence` of `HideAbsent`, `PresenceDropout` and every fusion layer.

    Example:

    >>> [tensor.name for tensor in presence_inputs(["image", "text"]).values()]
    ['image_present', 'text_present']
    """
    return {name: keras.Input((), dtype="bool", name=name + SUFFIX) for name in modalities}


def subsets_of(modalities) -> list[tuple[str, ...]]:
    """Every subset of the modalities but the empty one, small ones first.

    Example:

    >>> subsets_of(["image", "text"])
    [('image',), ('text',), ('image', 'text')]
    """
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def presence_of(name, dtype, shape, others) -> str:
    """The modality whose presence an input tells, or "".

    Args:
        name, dtype, shape: Of the input.
        others: Names of the modalities there are.
    """
    modality = name.removesuffix(SUFFIX)
    tells = modality != name and dtype == "bool" and tuple(shape) == (None,)
    return modality if tells and modality in others else ""
