"""What a module takes and gives, as data: kept in `assets.extra/module.json`. No TensorFlow."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

CONTRACT_FILE = "assets.extra/module.json"
MODALITIES = ("image", "text", "audio", "video")
KINDS = ("image", "video", "waveform", "string", "bytes", "token_ids")
_FORMAT = 1


@dataclass(frozen=True)
class Input:
    """What one call takes.

    Args:
        kind: "image" `(batch, height, width, 3)`, "video" `(batch, frames, height, width, 3)`,
            "waveform" `(batch, time)`, "string" `(batch,)`, "bytes" (UTF-8, zero padded,
            `(batch, length)`) or "token_ids" (what `preprocessor` gives).
        dtype: Of the tensor, "float32" for example.
        size: Pair (height, width) in pixels; None where any size will do.
        value_range: Pair (lowest, highest) of pixel or sample values.
        mean: Float or a float a channel, to be subtracted after scaling to `value_range`.
        std: Float or a float a channel, to be divided by after that.
        sample_rate: In Hz, of a waveform.
        batched: False if a call takes one sample, with no batch axis.
        preprocessor: Handle of the module that makes the token ids; "" for none.
        max_length: Of a waveform in samples, of bytes, or of token ids; None for any.
    """

    kind: str
    dtype: str
    size: tuple[int, int] | None = None
    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sample_rate: int | None = None
    batched: bool = True
    preprocessor: str = ""
    max_length: int | None = None


@dataclass(frozen=True)
class Outputs:
    """Where the outputs stand in what a call returns.

    A place is a key of a dict, the position in a tuple (int), "" if the call returns that one
    tensor, or None if there is no such output.

    Args:
        units: Width of the features; 0 for a preprocessor, which gives ids.
        pooled: Place of the vector a sample, `(batch, units)`.
        tokens: Place of the sequence, `(batch, length, units)`; `(frames, units)` from a
            module that is not batched.
        mask: Place of the tokens' mask, `(batch, length)`.
    """

    units: int
    pooled: str | int | None = ""
    tokens: str | int | None = None
    mask: str | int | None = None


@dataclass(frozen=True)
class Contract:
    """What a module takes, gives and allows.

    Args:
        modality: "image", "text", "audio" or "video".
        input: An `Input`.
        outputs: An `Outputs`.
        fine_tunable: Whether its variables may be trained.
        licence: SPDX identifier, "Apache-2.0" for example; "" if unknown.

    Raises:
        ValueError: If a field is not of its type or out of range.
    """

    modality: str
    input: Input
    outputs: Outputs
    fine_tunable: bool
    licence: str = ""

    def __post_init__(self):
        if not isinstance(self.input, Input) or not isinstance(self.outputs, Outputs):
            raise ValueError("`input` must be an Input and `outputs` an Outputs.")
        each = self.input
        _expect("modality", self.modality in MODALITIES, f"one of {MODALITIES}", self.modality)
        _expect("input.kind", each.kind in KINDS, f"one of {KINDS}", each.kind)
        _expect("input.dtype", _is_text(each.dtype), "a dtype's name", each.dtype)
        _expect("input.size", _is_row(each.size, int, 2), "two positive ints or null", each.size)
        for name in ("value_range", "mean", "std"):
            value, length = getattr(each, name), 2 if name == "value_range" else None
            _expect(f"input.{name}", _is_row(value, (int, float), length), "numbers or null", value)
        for name in ("sample_rate", "max_length"):
            value = getattr(each, name)
            _expect(f"input.{name}", value is None or _is_count(value), "a positive int", value)
        waveform = each.kind == "waveform"
        _expect(
            "input.sample_rate",
            waveform == (each.sample_rate is not None),
            "an int in Hz" if waveform else "null unless the input is a waveform",
            each.sample_rate,
        )
        _expect("input.batched", isinstance(each.batched, bool), "true or false", each.batched)
        ids = isinstance(each.preprocessor, str)
        _expect("input.preprocessor", ids, 'a handle or ""', each.preprocessor)
        units = self.outputs.units
        _expect("outputs.units", units == 0 or _is_count(units), "an int, at least 0", units)
        for name in ("pooled", "tokens", "mask"):
            place = getattr(self.outputs, name)
            known = place is None or isinstance(place, str) or _is_count(place, lowest=0)
            _expect(f"outputs.{name}", known, "a key, a position or null", place)
        places = (self.outputs.pooled, self.outputs.tokens)
        _expect("outputs.pooled", places != (None, None), "a place, if there are no tokens", None)
        flag = isinstance(self.fine_tunable, bool)
        _expect("fine_tunable", flag, "true or false", self.fine_tunable)
        _expect("licence", isinstance(self.licence, str), "a string", self.licence)

    def to_json(self) -> str:
        """Readable JSON that `from_json` reads back to an equal contract."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If it is no JSON, of a later format, or a field is missing, unknown or
                out of range.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"Expected a contract as JSON. Received: {error}.") from error
        return contract_from_dict(data)


def contract_from_dict(data: dict) -> Contract:
    """The contract of a dict as `to_json` writes it; `format` may be left out.

    Raises:
        ValueError: As `Contract.from_json`.
    """
    if not isinstance(data, dict):
        raise ValueError(f"Expected a contract: a JSON object. Received: {data!r}.")
    data = dict(data)
    version = data.pop("format", _FORMAT)
    if version != _FORMAT:
        raise ValueError(
            f"Expected a contract of format {_FORMAT}. Received: format {version!r}. A later "
            "mmzoo wrote it: upgrade mmzoo."
        )
    parts = {"input": Input, "outputs": Outputs}
    values = {name: _build(kind, data.pop(name, None), name) for name, kind in parts.items()}
    return _build(Contract, {**data, **values}, "contract")


def read_contract(folder: str | Path) -> Contract | None:
    """The contract that a module's folder carries at `assets.extra/module.json`, if any.

    Raises:
        ValueError: If there is one that can't be read; names the file.
    """
    path = Path(folder) / CONTRACT_FILE
    if not path.is_file():
        return None
    try:
        return Contract.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _build(kind, data, name):
    if not isinstance(data, dict):
        raise ValueError(f"`{name}` of a contract must be an object. Received: {data!r}.")
    fields = dataclasses.fields(kind)
    unknown = sorted(set(data) - {field.name for field in fields})
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    missing = sorted(needed - set(data))
    if unknown or missing:
        raise ValueError(
            f"`{name}` of a contract has fields missing: {missing}, unknown: {unknown}. "
            f"Known: {[field.name for field in fields]}."
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def _expect(name, holds, expected, value):
    if not holds:
        raise ValueError(f"`{name}` of a contract must be {expected}. Received: {value!r}.")


def _is_text(value):
    return isinstance(value, str) and bool(value)


def _is_count(value, lowest=1):
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest


def _is_row(value, kinds, length):
    """Whether it is None or a tuple of numbers, `length` long if that is given."""
    if value is None:
        return True
    if not isinstance(value, tuple) or not value or len(value) != (length or len(value)):
        return False
    numbers = all(isinstance(item, kinds) and not isinstance(item, bool) for item in value)
    return numbers and (kinds is not int or min(value) > 0)
