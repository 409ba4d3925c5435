"""Which signatures of an artifact are run, and which vectors of a record they give."""

import dataclasses
from collections.abc import Sequence

from mmzoo.export.manifest import Tensor

MODALITIES = ("image", "text", "audio")
_DTYPES = {"image": ("uint8", 4), "text": ("uint8", 2), "audio": ("float32", 2)}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its name, the output that gives its vectors, float `(batch, dim)`, and `dim`."""

    name: str
    output: str
    dim: int


@dataclasses.dataclass(frozen=True)
class Call:
    """A signature, its inputs, and the columns that it gives."""

    signature: str
    inputs: tuple[Tensor, ...]
    columns: tuple[Column, ...]

    @property
    def modalities(self) -> set[str]:
        """Those that it takes."""
        return {_source(tensor) for tensor in self.inputs if not tensor.presence_of}

    @property
    def needs(self) -> set[str]:
        """Those that it can't do without."""
        return self.modalities - {tensor.presence_of for tensor in self.inputs}

    def can_answer(self, there: set[str]) -> bool:
        """Whether it answers for what has these modalities: all that it needs, and one at least."""
        return self.needs <= there and bool(self.modalities & there)


def choose_calls(
    known: dict,
    present: set[str],
    *,
    signature: str | None = None,
    outputs: Sequence[str] | None = None,
) -> list[Call]:
    """What is to be run for a corpus.

    Args:
        known: The format's signatures, as in the bundle's manifest.
        present: Modalities that some record has.
        signature: Its name. None: each encoder whose modality is there, or, where there is none or
            `outputs` are named, the whole model.
        outputs: Names of outputs. None: an encoder's pooled vector, called like the modality, and
            any other signature's float outputs of shape `(batch, dim)`.

    Raises:
        ValueError: If there is no such signature or output, if an input is none of a record's, or
            if the corpus lacks what is needed.
    """
    if signature is None:
        encoders = [f"encode_{m}" for m in MODALITIES if m in present and f"encode_{m}" in known]
        pooled = any(_is_vector(t) for name in encoders for t in known[name]["outputs"])
        chosen = encoders if pooled and outputs is None else ["portable"]
    elif signature in known:
        chosen = [signature]
    else:
        raise ValueError(
            f"Expected one of the format's signatures {sorted(known)}. Received: {signature!r}."
        )
    calls = [_call(name, known[name], outputs) for name in chosen]
    for call in calls:
        if not call.can_answer(present):
            needed = sorted(call.needs) or ["one of", *sorted(call.modalities)]
            raise ValueError(
                f"Expected a corpus with {' '.join(needed)}, which {call.signature!r} takes. "
                f"Received: one with {' '.join(sorted(present)) or 'nothing'}. Choose another "
                "--signature, or add what is missing."
            )
    return calls


def _call(name, described, outputs):
    inputs = tuple(Tensor.from_json(tensor) for tensor in described["inputs"])
    for tensor in inputs:
        source = _source(tensor)
        text = source == "text" and (tensor.dtype == "string" or bool(tensor.tokens_of))
        fits = text or (tensor.dtype, len(tensor.shape)) == _DTYPES.get(source)
        if not tensor.presence_of and not fits:
            raise ValueError(
                "Expected inputs of pictures (image, uint8), texts (text) and sounds (audio, "
                f"float32). Received: {name!r} with the input {tensor.name!r}, {tensor.dtype} "
                f"{list(tensor.shape)}. Choose another --signature."
            )
    vectors = {t["name"]: t["shape"][1] for t in described["outputs"] if _is_vector(t)}
    modality = name.removeprefix("encode_")
    encoder = modality in MODALITIES
    wanted = list(vectors) if outputs is None else list(dict.fromkeys(outputs))
    if outputs is None and encoder and f"{modality}_pooled" in vectors:
        wanted = [f"{modality}_pooled"]
    if not vectors:
        found = ", ".join(f"{t['name']} {t['dtype']} {t['shape']}" for t in described["outputs"])
        raise ValueError(
            f"Expected a vector, a float32 output (batch, dim), of {name!r}. Received: {found}. "
            "Choose another --signature."
        )
    if not wanted or not set(wanted) <= set(vectors):
        raise ValueError(
            f"Expected outputs of {sorted(vectors)}, which are the vectors that {name!r} gives. "
            f"Received: {wanted}. Choose others, or another --signature."
        )
    short = encoder and outputs is None and len(wanted) == 1
    columns = tuple(Column(modality if short else each, each, vectors[each]) for each in wanted)
    if "id" in wanted:
        raise ValueError("Expected outputs of other names than 'id'. Export it under another name.")
    return Call(name, inputs, columns)


def _source(tensor):
    """The modality that an input is made of."""
    return tensor.presence_of or tensor.tokens_of or tensor.name


def _is_vector(tensor):
    return tensor["dtype"] == "float32" and len(tensor["shape"]) == 2 and bool(tensor["shape"][1])
