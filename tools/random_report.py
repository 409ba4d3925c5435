"""The page of `random_models.py`."""

import collections

from random_layers import TABLE

from mmzoo.export.bundle.formats import FORMATS

OUTCOMES = ("passed", "refused", "caught", "wrong", "crashed")


def report(results, kind="all"):
    """Markdown of all outcomes: a dict of number to what `random_models.try_model` returns."""
    found = results.values()
    seconds = sum(each["seconds"] for each in found) / max(len(results), 1)
    option = "" if kind == "all" else f" --kind {kind}"
    rows: collections.Counter = collections.Counter()
    for each in found:
        rows.update(each["rows"])
    drawn = {row for each in found for row in each["drawn"]}
    graphs = sum(each["kind"] == "operators" for each in found)
    lines = [
        "# Models drawn at random", "",
        f"{len(results)} models, `python tools/random_models.py --count {len(results)}{option}`, "
        f"{seconds:.1f} seconds a model. {graphs} are graphs of layers and operators, "
        "the others encoders and a fusion. Every artifact that passed its certificate was "
        "run again on samples and edge values that it had not seen, alone and mixed.", "",
        "| format | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * len(OUTCOMES),
    ]  # fmt: skip
    for format in FORMATS:
        counted = collections.Counter(each["outcomes"][format][0] for each in found)
        row = " | ".join(str(counted[outcome]) for outcome in OUTCOMES)
        lines.append(f"| {format} | {row} |")
    lines += [
        "", "refused: before or by the conversion, with a reason; caught: the certificate did not "
        "hold, so nothing was left; wrong: passed, and wrong on other rows; crashed: a process "
        "ended, or took too long.", "",
        f"Of the {len(TABLE)} layers and operators of `tools/random_layers.py` "
        f"{len(drawn & set(TABLE))} were drawn at least once"
        + _never(sorted(set(TABLE) - drawn)),
        f"{rows['compared']} rows were compared in each format that passed. Left out were "
        f"{rows['left out']}, which Keras refuses or answers with NaN or infinity, and "
        f"{rows['unsteady']}, whose answers move by more than the tolerance when inputs move "
        "by their last digit and every result is rounded differently.", "",
        "## What was refused, caught or wrong", "",
    ]  # fmt: skip
    said = collections.Counter(
        f"{format}, {outcome}: {_shortened(words)}"
        for each in found
        for format, (outcome, words) in each["outcomes"].items()
        if words
    )
    lines += [f"- {count} x {words}" for words, count in said.most_common()]
    return "\n".join(lines) + "\n"


def _never(names):
    if not names or len(names) > 40:
        return "."
    return f"; never: {', '.join(names)}."


def _shortened(words):
    words = " ".join(words.split()).replace("|", "/")
    for before in ("Expected a model of ", "Expected every artifact to give the Keras model's "):
        words = words.removeprefix(before)
    return words if len(words) < 180 else f"{words[:180]}…"
