"""Every subset of the modalities: what an absent one holds must not be felt."""

import dataclasses
import itertools

import numpy as np

from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.tensors import Tensor

FEWEST = 32  # samples of a subset: of fewer, one that changes would look like many


@dataclasses.dataclass(frozen=True)
class Subsets:
    """The samples again, each with one subset of its modalities, in turn.

    Attributes:
        blank: Samples whose absent modalities are zeros or empty: what Keras answers on.
        spoilt: The same, but absent floats are NaN, and absent pictures, texts and ids are
            another sample's: what an artifact is run on.
        rows: Dict of a subset's name ("image+text", "nothing") to the indices of its samples.
        origin: Int `(count,)`: which of the original samples each is.
    """

    blank: Samples
    spoilt: Samples
    rows: dict[str, np.ndarray]
    origin: np.ndarray


def draw_subsets(samples: Samples, tensors: list[Tensor]) -> Subsets | None:
    """Deals the subsets of a model's modalities out to the samples.

    Args:
        samples: What `Samples.fit` returned for `tensors`.
        tensors: The model's inputs.

    Returns:
        None if the model takes no presence. Else `Subsets`, all of them mixed in every batch,
        in as many samples as there are, or in 32 for each subset where these are more. "nothing"
        is none of the modalities that may be absent.
    """
    modalities = [tensor.presence_of for tensor in tensors if tensor.presence_of]
    if not modalities:
        return None
    subsets = list(itertools.product((True, False), repeat=len(modalities)))
    count = max(len(samples), len(subsets) * FEWEST)
    place = np.arange(count)
    origin = place % len(samples)
    dealt = np.array(subsets)[place % len(subsets)].T
    own = {t.presence_of: samples.inputs[t.name][origin] for t in tensors if t.presence_of}
    # What a sample lacks by itself is not there to be dealt.
    present = {m: here & own[m] for m, here in zip(modalities, dealt, strict=True)}
    names = np.array(
        ["+".join(m for m in modalities if present[m][k]) or "nothing" for k in range(count)]
    )
    known = ["+".join(itertools.compress(modalities, subset)) or "nothing" for subset in subsets]
    rows = {name: np.flatnonzero(names == name) for name in known if (names == name).any()}
    sets = []
    for replace in (np.zeros_like, _spoil):
        inputs = {}
        for tensor in tensors:
            value = samples.inputs[tensor.name][origin]
            modality = tensor.tokens_of or tensor.name
            if tensor.presence_of:
                value = present[tensor.presence_of]
            elif modality in present:
                value = _where(present[modality], value, replace(value))
            inputs[tensor.name] = value
        texts = {
            name: _where(present[name], value[origin], replace(value[origin]))
            if name in present
            else value[origin]
            for name, value in samples.texts.items()
        }
        sets.append(Samples(inputs, texts=texts))
    return Subsets(sets[0], sets[1], rows, origin)


def _spoil(value):
    if value.dtype.kind == "f":
        return np.full_like(value, np.nan)
    return np.roll(value, 1, axis=0)  # ids of another sample are ids too


def _where(present, value, other):
    return np.where(present.reshape(-1, *[1] * (value.ndim - 1)), value, other)
