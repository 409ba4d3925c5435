"""Labels to classes: one class, however its name is written."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")
_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})\.0+")  # an integer in a column of floats
# Soft hyphen, zero-width space, word joiner, byte order mark and marks of direction.
_INVISIBLE = re.compile(
    "[\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
# Joiners have a meaning between letters of some scripts, and none at an end or beside ASCII.
_JOINERS = re.compile("(^|(?<=[\0-\x7f]))[\u200c\u200d]+|[\u200c\u200d]+($|(?=[\0-\x7f]))")


def class_name(label: str | int) -> str:
    """The name of a label's class.

    Unicode is composed (NFC), white space is one space between words and none at the ends, and
    characters that nobody sees are left out. Case is kept.

    Raises:
        ValueError: If it holds control characters or half of a character.

    Example:

    >>> class_name(" ice\\u00a0cream\\r") == class_name("ice cream\\u200b")
    True
    """
    name = _JOINERS.sub("", _INVISIBLE.sub("", str(label)))
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError(f"A name must not hold control characters. Received: {label!r}.")
    return name


class Classes:
    """Names of classes in their order, and which of them a label means.

    Args:
        names: At least one. Those that become one class are an error.

    Raises:
        ValueError: If there is none, one is empty, or two are one class.
    """

    def __init__(self, names: Sequence[str]):
        self.names = [class_name(name) for name in names]
        self._index = {name: k for k, name in enumerate(self.names)}
        if not 0 < len(self._index) == len(self.names) or "" in self._index:
            raise ValueError(
                "`classes` must be distinct names, at least one; spaces at the ends and the form "
                f"of a character don't make a difference. Received: {list(names)}."
            )

    @classmethod
    def found(cls, labels: Iterable[str]) -> "Classes":
        """Classes of the labels in a table: sorted, by value if all are integers.

        Where all labels are integers or end in `.0`, as a column of floats is written, they are
        integers; where only some do, `1.0` is the class `1` if that is there too.
        """
        found = {class_name(label) for label in labels}
        whole = {name: _WHOLE.fullmatch(name) for name in found}
        integers = all(match or _INTEGER.fullmatch(name) for name, match in whole.items())
        names = {m[1] if m and (integers or m[1] in found) else name for name, m in whole.items()}
        return cls(sorted(names, key=int if integers else None))

    def index(self, label: str | int) -> int:
        """The label's class, counted from 0.

        Raises:
            ValueError: If it is in none.
        """
        name = class_name(label)
        whole = _WHOLE.fullmatch(name)
        if name not in self._index and whole:
            name = whole[1]
        if name not in self._index:
            few = ", ".join(map(repr, self.names[:5]))
            raise ValueError(
                f"Unseen label {name!r}. The {len(self.names)} known start with {few}."
            )
        return self._index[name]


def similar_names(names: Iterable[str]) -> list[str]:
    """A sentence for each group of names that may be meant as one class."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        seen = "".join(c for c in plain if unicodedata.category(c) != "Cf")
        groups.setdefault(re.sub(r"[\s_-]+", " ", seen), []).append(name)
    return [
        f"The labels {', '.join(map(repr, group))} are different classes. Write them alike if they "
        "are one."
        for group in groups.values()
        if len(group) > 1
    ]
