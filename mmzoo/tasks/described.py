"""Objects that a manifest describes in JSON and names by their kind."""

import dataclasses
from typing import Any, ClassVar, Self


@dataclasses.dataclass(frozen=True)
class Described:
    """Base of features, answers, metrics and tasks: frozen fields, written as JSON.

    A subclass names its kind: `class Image(Feature, kind="image")`. Defining it is enough for
    `from_json` to find it; a module that nobody imports defines nothing.
    """

    kind: ClassVar[str] = ""
    family: ClassVar[str] = ""
    kinds: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, kind: str = "", family: str = "", **rest):
        super().__init_subclass__(**rest)
        if family:
            cls.family, cls.kinds = family, {}
        if kind:
            known = cls.kinds.get(kind)
            if known is not None and (known.__module__, known.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(
                    f"The {cls.family} kind {kind!r} is taken by {known.__module__}."
                    f"{known.__qualname__}. Choose another name."
                )
            cls.kind = kind
            cls.kinds[kind] = cls

    def to_json(self) -> dict:
        """Returns `kind` and every field."""
        fields = {f.name: written(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"kind": self.kind, **fields}

    @classmethod
    def from_json(cls, data: dict) -> Self:
        """Returns the object that `to_json` described.

        Raises:
            ValueError: If the kind is not known here, or a field is missing or unknown.
        """
        kind = data.get("kind") if isinstance(data, dict) else None
        if kind not in cls.kinds:
            raise ValueError(
                f"the {cls.family} kind {kind!r} is not known here. Import the module that "
                f"defines it (--import FILE); known are {', '.join(sorted(cls.kinds))}"
            )
        known = cls.kinds[kind]
        given = {key: value for key, value in data.items() if key != "kind"}
        return known(**known.read_fields(given))

    @classmethod
    def read_fields(cls, given: dict) -> dict:
        """Returns the constructor's arguments for fields as JSON has them."""
        names = {field.name for field in dataclasses.fields(cls)}
        needed = {
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
        if not set(given) <= names or not needed <= set(given):
            raise ValueError(
                f"the {cls.family} {cls.kind!r} has the fields {', '.join(sorted(names))}, not "
                f"{', '.join(sorted(given))}"
            )
        return {key: _read(value) for key, value in given.items()}


def written(value):
    """A value as JSON has it."""
    if isinstance(value, Described):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [written(each) for each in value]
    return value


def _read(value):
    return tuple(_read(each) for each in value) if isinstance(value, list) else value
