"""What a fusion says of how it came to its result, for those who ask while it runs."""

import contextlib
import contextvars

_notes: contextvars.ContextVar[dict | None] = contextvars.ContextVar("notes", default=None)


@contextlib.contextmanager
def explained():
    """Collects what the fusion layers that are called inside note.

    Returns:
        Dict, which fills: attention maps by name, such as `image_reads_text` float
        `(batch, heads, N_image, N_text)`, and of a layer that weighs its modalities
        `<modality>_weight`, float `(batch,)`, which sum to 1, or to 0 where nothing is present.

    Example:

    >>> import numpy as np
    >>> from mmzoo.fusion import LateFusion
    >>> experts = {"image": np.zeros((1, 3)), "text": np.ones((1, 3))}
    >>> with explained() as notes:
    ...     _ = LateFusion()(experts)
    >>> {name: weight.numpy().tolist() for name, weight in notes.items()}
    {'image_weight': [0.5], 'text_weight': [0.5]}
    """
    notes: dict = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def asked() -> bool:
    """Whether notes are collected: for what costs something to compute."""
    return _notes.get() is not None


def note(tensors: dict) -> None:
    """Notes tensors by name, where notes are collected."""
    notes = _notes.get()
    if notes is not None:
        notes.update(tensors)


def note_weights(names, weights) -> None:
    """Notes the weights of modalities, `(batch, modalities)` in the order of `names`."""
    note({f"{name}_weight": weights[:, k] for k, name in enumerate(names)})
