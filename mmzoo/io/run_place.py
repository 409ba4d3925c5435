"""Where a run writes: never over files that no run of ours wrote."""

import json
from pathlib import Path


def check_run_place(path: Path, files, record: str, keys) -> None:
    """Raises ValueError if a run would write over files that are not of an older run.

    Other files may lie in the folder: they stay as they are.

    Args:
        path: Folder that will be written to.
        files: Names of the files that will be written.
        record: The one of them, JSON, by which an older run is known.
        keys: Dict of keys to the values that the record must have, or None for any value.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file. Name a folder, a new one or that of a run.")
    present = sorted(name for name in files if (path / name).exists() or (path / name).is_symlink())
    if present and not _is_ours(path / record, keys):
        raise ValueError(
            f"--out {path} holds {', '.join(present)}, which this command would write over and "
            f"which no run of it has written: there is no {record} of such a run beside it. "
            "Name another folder, or move the files away."
        )


def _is_ours(record, keys):
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and all(
        key in found and (value is None or found[key] == value) for key, value in keys.items()
    )
