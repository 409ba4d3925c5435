"""Files, written so that nobody ever sees half of one. Needs no TensorFlow."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yields a place beside `path` to write to, which takes the place of `path` on success.

    On any error, and on an interrupt, what stood at `path` stays as it was and nothing is
    left beside it.
    """
    path = Path(os.path.abspath(path))  # "." and ".." have no name of their own
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = folder / path.name, folder / "old" / path.name
    try:
        yield new
        if path.is_dir():  # a folder can't be replaced in one rename, as a file can
            old.parent.mkdir()
            os.rename(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.rename(old, path)
        raise
    finally:
        shutil.rmtree(folder)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value) -> None:
    """Writes readable JSON; NaN becomes null, which every reader takes."""
    path.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return None
    return value


def check_replaceable(path: Path, ours: set[str], needs: str) -> None:
    """Raises ValueError unless what we write may take the place of `path`.

    It may where there is nothing, an empty folder, or a folder that holds `needs` and no name
    but `ours`.
    """
    if path.is_dir():
        names = {file.name for file in path.iterdir()}
        if not names or (needs in names and names <= ours):
            return
    elif not path.exists():
        return
    raise ValueError(
        f"Expected a new folder, or an old export or module to replace. Received: {path}, which "
        "holds something else. Name another folder."
    )
