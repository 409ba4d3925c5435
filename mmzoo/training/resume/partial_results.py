"""Results of a long run, kept as they come: a run that is cut off goes on where it was."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmzoo.io.files import atomic_write, write_json


class PartialResults:
    """A file of results by name, good for one set of arguments.

    Args:
        path: The file; made with the first result.
        arguments: JSON value of all that the results depend on. A file of other arguments is
            not read, and is replaced.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "partial.json"
    >>> PartialResults(path, {"seeds": 5}).get("one", lambda: 1)
    1
    >>> PartialResults(path, {"seeds": 5}).get("one", lambda: 2)
    1
    >>> PartialResults(path, {"seeds": 6}).get("one", lambda: 2)
    2
    """

    def __init__(self, path: Path, arguments: Any):
        self.path = Path(path)
        text = json.dumps(arguments, sort_keys=True)
        self._content: dict = {"arguments": hashlib.sha256(text.encode()).hexdigest(), "done": {}}
        if self.path.exists():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["arguments"] == self._content["arguments"]:
                self._content = found

    def __contains__(self, name: str) -> bool:
        return name in self._content["done"]

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of this name: made, and kept, unless it was before.

        Args:
            name: String.
            make: Function that returns a JSON value.
        """
        if name not in self:
            start = time.perf_counter()
            result = make()
            seconds = time.perf_counter() - start
            self._content["done"][name] = {"result": result, "seconds": seconds}
            with atomic_write(self.path) as place:
                write_json(place, self._content)
        return self._content["done"][name]["result"]

    @property
    def seconds(self) -> float:
        """How long all results took to make, in this run and in those before it."""
        return sum(entry["seconds"] for entry in self._content["done"].values())
