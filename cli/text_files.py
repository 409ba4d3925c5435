"""Small text files that a command line names, read with a sentence where they can't be."""

import json
from pathlib import Path


def read_text(path: Path, what: str) -> str:
    """The content of a UTF-8 file; a byte order mark is passed over.

    Args:
        path: The file.
        what: What it is to hold: "class names".

    Raises:
        FileNotFoundError: If there is no such file, or it is a folder.
        ValueError: If it is not UTF-8.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"Expected a text file of {what}. Received: {path}, {kind}.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected a text file of {what} in UTF-8. Received: {path}, which is not, at byte "
            f"{error.start}. Save it as UTF-8."
        ) from error


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a UTF-8 file, as of `read_text`; empty ones at its end are passed over.

    Raises:
        FileNotFoundError, ValueError: As `read_text`; and if a line in between, or all, is empty.
    """
    # A form feed or the like is a part of a line, which whoever takes it then refuses by name.
    lines = read_text(path, what).replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    empty = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if empty or not lines:
        place = f"an empty line {empty[0]}" if empty else "nothing"
        raise ValueError(f"Expected {what} in {path}, one a line. Received: {place}.")
    return lines


def read_features(arguments: list[str], row: str | None) -> dict:
    """Features and their values, as a command line has them.

    Args:
        arguments: `--name VALUE` or `--name=VALUE` for each of some features.
        row: A JSON object of others; None: there are none.

    Raises:
        ValueError: If one is neither, or a feature is there twice.
    """
    found: dict = {}
    if row is not None:
        try:
            found = json.loads(row)
        except json.JSONDecodeError as error:
            raise ValueError(f"--row is no JSON: {error}. Received: {row!r}.") from error
        if not isinstance(found, dict):
            raise ValueError(f"--row must be a JSON object of features. Received: {row!r}.")
    rest = list(arguments)
    while rest:
        option, sign, value = rest.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or not name or not (sign or rest):
            raise ValueError(
                f"Expected `--FEATURE VALUE` for each feature. Received: {option!r} "
                + ("without a value." if option.startswith("--") else "alone.")
            )
        if name in found:
            raise ValueError(f"The feature {name!r} is there twice. Say it once.")
        found[name] = value if sign else rest.pop(0)
    return found


def read_task(path: Path):
    """A task from the JSON that `Task.to_json` gives.

    Raises:
        ValueError: If it is none.
    """
    from mmzoo.tasks import Task

    try:
        return Task.from_json(json.loads(read_text(path, "a task")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no task: {error}.") from error
