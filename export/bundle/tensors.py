"""Named tensors, and which output holds the scores."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A named tensor. `shape` holds ints, and None where a size is free (the batch first).

    `tokens_of` names the text that token ids are made of, by the SavedModel's signature
    `tokenize`; `presence_of` the modality of which a bool `(batch,)` says whether it is there.
    """

    name: str
    dtype: str
    shape: tuple
    tokens_of: str = ""
    presence_of: str = ""

    def to_json(self) -> dict:
        described = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        roles = {"tokens_of": self.tokens_of, "presence_of": self.presence_of}
        return described | {role: value for role, value in roles.items() if value}

    @classmethod
    def from_json(cls, data: dict) -> "Tensor":
        roles = {role: data.get(role, "") for role in ("tokens_of", "presence_of")}
        return cls(data["name"], data["dtype"], tuple(data["shape"]), **roles)

    @property
    def is_text(self) -> bool:
        """Text: token ids, or UTF-8 bytes, which every uint8 `(batch, length)` is here."""
        return bool(self.tokens_of) or (self.dtype == "uint8" and len(self.shape) == 2)


def scores_output(manifest: dict) -> str | None:
    """The output that holds a score a class, by name; None if that is not clear.

    It is the one 2D output as wide as the list of classes, else the one called
    `probability`.
    """
    tables = {t["name"]: t["shape"][1] for t in manifest["outputs"] if len(t["shape"]) == 2}
    tables = {name: width for name, width in tables.items() if width != 1}  # of one none is best
    classes = manifest["classes"]
    if classes is not None:
        tables = {name: width for name, width in tables.items() if width == len(classes)}
        if len(tables) == 1:
            return next(iter(tables))
    return "probability" if "probability" in tables else None
