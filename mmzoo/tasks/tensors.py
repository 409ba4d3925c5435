"""Named tensors: what carries a feature into a model, or an answer out of it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A named tensor.

    Attributes:
        name: Its name in every format.
        dtype: As TensorFlow calls it: "uint8", "string".
        shape: Ints, and None where a size is free (the batch first).
        tokens_of: Name of the text that token ids are made of, by the SavedModel's signature
            `tokenize`; "" otherwise.
        presence_of: Name of the feature of which a bool `(batch,)` says whether it is present;
            "" otherwise.
        kind: Of an input, the kind of the feature that it carries: one of `Feature.kinds`.
    """

    name: str
    dtype: str
    shape: tuple
    tokens_of: str = ""
    presence_of: str = ""
    kind: str = ""

    def to_json(self) -> dict:
        described = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        roles = {
            "tokens_of": self.tokens_of,
            "presence_of": self.presence_of,
            "kind": self.kind,
        }
        return described | {role: value for role, value in roles.items() if value}

    @classmethod
    def from_json(cls, data: dict) -> "Tensor":
        roles = {role: data.get(role, "") for role in ("tokens_of", "presence_of", "kind")}
        return cls(data["name"], data["dtype"], tuple(data["shape"]), **roles)

    @property
    def feature(self) -> str:
        """Name of the feature that it carries, or whose presence it tells."""
        return self.presence_of or self.tokens_of or self.name

    @property
    def is_text(self) -> bool:
        """Whether it carries a text as UTF-8 bytes or token ids, in the place of a string."""
        return self.kind == "text" and self.dtype != "string" and not self.presence_of

    @property
    def free_axes(self) -> list[int]:
        """Axes behind the batch whose size is free."""
        return [axis for axis in range(1, len(self.shape)) if self.shape[axis] is None]
