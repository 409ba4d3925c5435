"""A folder that numbered jobs fill, a file each: what is done stays, what is missing is made."""

import functools
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from mmzoo.io.files import atomic_write, sha256, write_json
from mmzoo.io.place_lock import lock_place

_WORK = ".work"


class JobFolderError(ValueError):
    """A folder that can't be filled; says what is there and what to do."""


def one_run_at_a_time(function: Callable) -> Callable:
    """Makes a function that fills a folder, its argument `out`, refuse one that another run fills.

    It raises `mmzoo.io.place_lock.PlaceInUseError` then.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def locked(*args, **kwargs):
        with lock_place(signature.bind(*args, **kwargs).arguments["out"]):
            return function(*args, **kwargs)

    return locked


class JobFolder:
    """The folder, while it is filled.

    Each job writes its file, and then a report `job-….json` with at least the file's `name` and
    `sha256`. When all are there, `close` writes the description, and a folder with a description is
    whole.

    Args:
        out: The folder.
        description: Name of the file that describes the whole.
        source: JSON value of all that the files depend on.

    Raises:
        JobFolderError: If the folder holds something else.
    """

    def __init__(self, out: Path, description: str, source: dict):
        self.out, self.source = out, json.loads(json.dumps(source))
        self.work, self._description = out / _WORK, out / description
        begun = self.work / "source.json"
        if self._description.exists():
            found = json.loads(self._description.read_text(encoding="utf-8"))
            self._check(found.get("source"))
        elif begun.exists():
            self._check(json.loads(begun.read_text(encoding="utf-8")))
        elif out.exists() and any(out.iterdir()):
            raise JobFolderError(
                f"Expected a new or empty folder. Received: {out}, which holds other files."
            )
        else:
            write_json(begun, self.source)

    def _check(self, found):
        if found != self.source:
            raise JobFolderError(
                f"Expected {self.out} to be new, or begun with the same input and arguments. "
                f"Received: a folder that was made of {found}. Name another folder."
            )

    @property
    def description(self) -> dict | None:
        """What describes the whole; None while something is missing."""
        if not self._description.exists():
            return None
        return json.loads(self._description.read_text(encoding="utf-8"))

    def missing(self, count: int) -> list[int]:
        """Numbers of the jobs, of `count`, that are not done, or whose file is damaged."""
        found = []
        for number in range(count):
            path = report_path(self.work, number)
            if path.exists():
                report = json.loads(path.read_text(encoding="utf-8"))
                file = self.out / report["name"]
                if file.exists() and sha256(file) == report["sha256"]:
                    continue
                path.unlink()
            found.append(number)
        return found

    def done(self) -> int:
        """How many jobs are done."""
        return len(list(self.work.glob("job-*.json")))

    def reports(self, count: int) -> list[dict]:
        """The reports of all jobs, in order."""
        paths = [report_path(self.work, number) for number in range(count)]
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def close(self, description: dict, dead: list[dict]) -> dict:
        """Writes `dead_letter.jsonl` and the description; returns the description."""
        with atomic_write(self.out / "dead_letter.jsonl") as place:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in dead)
            place.write_text("".join(lines), encoding="utf-8")
        description = {**description, "dead": len(dead), "source": self.source}
        write_json(self._description, description)
        shutil.rmtree(self.work)
        return description


def report_path(work: Path, number: int) -> Path:
    """Where job number k reports."""
    return work / f"job-{number:05d}.json"
