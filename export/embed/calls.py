"""Which signatures of an artifact are run, and which vectors of a record they give."""

import dataclasses
from collections.abc import Sequence

from mmzoo.export.bundle.formats import PARTS
from mmzoo.export.embed.output_rule import is_vector_of_a_part, width
from mmzoo.tasks.tensors import Tensor

KINDS = ("image", "text", "audio")  # of features that a corpus has
WHOLE = "portable"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its name, and the output that gives its vectors.

    Attributes:
        dim: Values a vector.
        normalize: Whether they are L2-normalised.
        of: Modalities that the output depends on.
        needs: Those of them that it can't do without.
    """

    name: str
    output: str
    dim: int
    normalize: bool
    of: frozenset[str]
    needs: frozenset[str]

    def can_answer(self, there: set[str]) -> bool:
        """Whether there is a vector of what has these modalities: all it needs, at least one."""
        return self.needs <= there and bool(self.of & there)


@dataclasses.dataclass(frozen=True)
class Call:
    """A signature, its inputs, and the columns that it gives."""

    signature: str
    inputs: tuple[Tensor, ...]
    columns: tuple[Column, ...]

    @property
    def modalities(self) -> set[str]:
        """Those that its columns depend on: no other is read."""
        return set().union(*(column.of for column in self.columns))

    def rule(self) -> list[dict]:
        """What each column is made of, as JSON."""
        return [
            {
                "name": column.name, "signature": self.signature, "output": column.output,
                "dim": column.dim, "normalize": column.normalize,
            }
            for column in self.columns
        ]  # fmt: skip


def choose_calls(
    manifest: dict,
    format: str,
    *,
    signature: str | Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> list[Call]:
    """What is to be run for any corpus; depends on no format but by its signatures.

    Args:
        manifest: The bundle's.
        format: One of its formats.
        signature: A name or several. None: the whole model.
        outputs: Names of outputs. None: of the whole model, those that the manifest's `embedding`
            has as `default`; an encoder's pooled vector, called like the modality; and any other
            signature's vectors.

    Raises:
        ValueError: If there is no such signature or output, if an input is none of a record's, or
            two columns have one name.
    """
    known = manifest["formats"][format]["signatures"]
    chosen = [signature] if isinstance(signature, str) else list(signature or [WHOLE])
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(
            f"Expected one of the format's signatures {sorted(known)}. Received: {unknown[0]!r}."
            + " Encoders have a signature in the SavedModel alone: --format saved_model."
            * (bool(PARTS.fullmatch(unknown[0])) and format != "saved_model")
        )
    calls = [_call(name, known[name], manifest["embedding"], outputs) for name in chosen]
    names = [column.name for call in calls for column in call.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Expected columns of different names. Received twice: {', '.join(repeated)}, of "
            f"{chosen}. Embed one signature at a time, into different folders."
        )
    if "id" in names:
        raise ValueError("Expected outputs of other names than 'id'. Export it under another name.")
    return calls


def fit_calls(
    calls: list[Call], present: set[str], *, asked: bool
) -> tuple[list[Call], list[Column]]:
    """The calls that a corpus can be given to, with the columns that it has vectors of.

    Args:
        calls: What `choose_calls` returned.
        present: Modalities that some record has.
        asked: Whether the columns were asked for by name: then none is left out.

    Returns:
        The calls, and the columns that are left out since all records lack what they need.

    Raises:
        ValueError: If nothing is left, or what was asked for can't be had.
    """
    fitting, lacking = [], []
    for call in calls:
        columns = tuple(column for column in call.columns if column.can_answer(present))
        lacking += [(call, column) for column in call.columns if column not in columns]
        if columns:
            fitting.append(dataclasses.replace(call, columns=columns))
    if not fitting or (asked and lacking):
        call, column = lacking[0]
        needed = sorted(column.needs) or ["one of", *sorted(column.of)]
        raise ValueError(
            f"Expected a corpus with {' '.join(needed)}, of which {column.output!r} of "
            f"{call.signature!r} is made. Received: one with "
            f"{' '.join(sorted(present)) or 'nothing'}. Choose other --outputs or another "
            "--signature, add what is missing, or export a model with presence inputs "
            "(mmzoo.fusion.presence_inputs), which can do without."
        )
    return fitting, [column for _, column in lacking]


def _call(name, described, rule, outputs):
    inputs = tuple(Tensor.from_json(tensor) for tensor in described["inputs"])
    for tensor in inputs:
        if not tensor.presence_of and tensor.kind not in KINDS:
            raise ValueError(
                f"Expected features of the kinds {', '.join(KINDS)}, which a corpus has. Received: "
                f"{name!r} with the input {tensor.name!r}, {tensor.dtype} {list(tensor.shape)}. "
                "Choose another --signature."
            )
    widths = {t["name"]: size for t in described["outputs"] if (size := width(t)) is not None}
    if not widths:
        found = ", ".join(f"{t['name']} {t['dtype']} {t['shape']}" for t in described["outputs"])
        raise ValueError(
            f"Expected a vector, a float output (batch, dim), of {name!r}. Received: {found}. "
            "Choose another --signature, or export a model that pools such an output."
        )
    modality = name.removeprefix("encode_")
    encoder = modality != name
    wanted = list(dict.fromkeys(_default(name, described, rule) if outputs is None else outputs))
    if not wanted or not set(wanted) <= set(widths):
        raise ValueError(
            f"Expected outputs of {sorted(widths)}, which are the vectors that {name!r} gives. "
            f"Received: {wanted}. Choose others, or another --signature."
        )
    short = encoder and outputs is None and len(wanted) == 1
    optional = frozenset(tensor.presence_of for tensor in inputs if tensor.presence_of)
    every = frozenset(tensor.feature for tensor in inputs)
    parts = {t["name"]: is_vector_of_a_part(t) for t in described["outputs"]}
    columns = []
    for each in wanted:
        normalize, of = parts[each], every
        if each in rule["outputs"] and not _is_part(name):
            normalize = rule["outputs"][each]["normalize"]
            of = frozenset(rule["outputs"][each]["of"])
        columns.append(Column(modality if short else each, each, widths[each], normalize, of,
                              of - optional))  # fmt: skip
    return Call(name, inputs, tuple(columns))


def _default(name, described, rule):
    """The outputs of a signature that are embedded where none are asked for."""
    if not _is_part(name):
        return rule["default"]
    names = [tensor["name"] for tensor in described["outputs"]]
    pooled = f"{name.removeprefix('encode_')}_pooled"
    if pooled in names:
        return [pooled]
    vectors = [t["name"] for t in described["outputs"] if is_vector_of_a_part(t)]
    return vectors or [t["name"] for t in described["outputs"] if width(t) is not None]


def _is_part(signature):
    """Whether its outputs are not those of the whole model."""
    return signature.startswith("encode_") or signature == "explain"
