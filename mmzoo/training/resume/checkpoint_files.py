"""Checkpoints of a run in a folder: written whole or not at all, and checked before use."""

import json
import os
import re
import stat
import warnings
from pathlib import Path

import numpy as np

from mmzoo.io.files import atomic_write, sha256, write_json

INDEX = "checkpoints.json"
LARGEST_INDEX = 2**24  # bytes


class CheckpointError(RuntimeError):
    """Checkpoints that can't be gone on from; says why and what to do."""


class CheckpointFiles:
    """The checkpoints of one run.

    Each is one file, `step-000000120.npz`; `checkpoints.json` lists them with their SHA-256, the
    newest first. Both are written beside, flushed to the disk and renamed.

    Args:
        folder: Where they lie; made with the first.
        arguments: JSON value of all that the training depends on. Checkpoints of other arguments
            are refused.
        plan: JSON value of how long to train: `epochs` and `steps` of each. Checkpoints of another
            plan are taken; `planned` is then what theirs was.
        keep: How many to keep, at least 2: the one before the last is for when the last is damaged.
    """

    def __init__(self, folder, arguments=None, keep=2, plan=None):
        if keep < 2:
            raise ValueError(f"`keep` must be 2 or more. Received: keep={keep}.")
        self.folder = Path(folder)
        self.arguments = json.loads(json.dumps(arguments))
        self.keep = keep
        self.plan = json.loads(json.dumps(plan))
        self.planned = None  # by the checkpoint that is loaded

    def save(self, step: int, arrays: dict[str, np.ndarray], values: dict) -> Path:
        """Writes one checkpoint.

        Args:
            step: How many steps are done.
            arrays: Dict of name to array.
            values: JSON value of everything else.

        Raises:
            OSError: If it can't be written, say for want of space; those before it stay.
        """
        path = self.folder / f"step-{step:09d}.npz"
        text = np.frombuffer(json.dumps(values).encode(), np.uint8)
        with atomic_write(path) as place:
            with place.open("wb") as file:
                everything = {**arrays, "values.json": text}
                np.savez(file, **everything)  # type: ignore[arg-type]
                _flush(file)
            digest = sha256(place)
        listed: list[dict] = [{"step": step, "file": path.name, "sha256": digest}]
        listed += [entry for entry in self._listed() if entry["file"] != path.name]
        with atomic_write(self.folder / INDEX) as place:
            index = {"arguments": self.arguments, "plan": self.plan}
            write_json(place, {**index, "checkpoints": listed[: self.keep]})
            with place.open("rb+") as file:
                _flush(file)
        for entry in listed[self.keep :]:
            (self.folder / entry["file"]).unlink(missing_ok=True)
        return path

    def load(self) -> tuple[int, dict[str, np.ndarray], dict] | None:
        """The newest checkpoint that is whole, as `(step, arrays, values)`; None without any.

        Warns of each damaged one that it passes over.

        Raises:
            CheckpointError: If all are damaged, or they are of other arguments.
        """
        listed = self._listed()
        for entry in listed:
            path = self.folder / entry["file"]
            found = sha256(path) if _is_regular(path) else "no file"
            if found == entry["sha256"]:
                with np.load(path) as archive:
                    arrays = {name: archive[name] for name in archive.files}
                values = json.loads(arrays.pop("values.json").tobytes())
                return entry["step"], arrays, values
            warnings.warn(
                f"{path}: expected SHA-256 {entry['sha256'][:12]}…. Received: {found[:12]}. It is "
                "damaged and passed over; the one before it is taken.",
                stacklevel=2,
            )
        if listed:
            raise CheckpointError(
                f"Expected a checkpoint that is whole in {self.folder}. Received: "
                f"{len(listed)}, all damaged. Delete the folder to train from the start."
            )
        return None

    def _listed(self):
        path = self.folder / INDEX
        if not os.path.lexists(path):
            return []
        try:
            if not _is_regular(path, LARGEST_INDEX):
                raise ValueError("no regular file, or too large")
            index = json.loads(path.read_text(encoding="utf-8"))
            arguments, listed = index["arguments"], index["checkpoints"]
            self.planned = index.get("plan")
            for entry in listed:  # a name is opened, and in the end deleted
                _check_entry(entry)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"Expected the list of checkpoints in {path}. Received: something else ({error}). "
                "Delete the folder to train from the start."
            ) from error
        if arguments != self.arguments:
            raise CheckpointError(
                f"Expected checkpoints of {self.arguments} in {self.folder}. Received: those of "
                f"{arguments}. Name another folder, or delete it."
            )
        return listed


def _check_entry(entry):
    """Raises ValueError unless an entry names a file that `save` writes, of this folder."""
    step, name, digest = entry["step"], entry["file"], entry["sha256"]
    if type(step) is not int or step < 0 or name != f"step-{step:09d}.npz":
        raise ValueError(f"the file {name!r} of step {step!r}, which is no checkpoint's name")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"the SHA-256 {digest!r} of {name!r}")


def _is_regular(path, limit=None):
    """Whether there is a regular file, no link, of at most `limit` bytes."""
    if not os.path.lexists(path):
        return False
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and (limit is None or found.st_size <= limit)


def _flush(file):
    file.flush()
    os.fsync(file.fileno())
