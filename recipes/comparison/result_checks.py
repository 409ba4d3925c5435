"""What the page of a bake-off takes, and what is wrong with results that it can't take."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

FAMILIES = ("early", "late", "intermediate", "attention", "unimodal", "as text")

_INTERVAL = {"values": ["share"], "mean": "share", "low": "number", "high": "number"}
_COSTS = {"flops": "size", "latency_ms": "size", "max_difference": "size", "train_seconds": "size"}
_SYNTHETIC = {
    "kind": "name",
    "family": "family",
    "parameters?": "count",
    "accuracy": _INTERVAL,
    "validation?": _INTERVAL,
    "subsets?": {"*": "share"},
    "note?": "text",
    **{f"{name}?": spec for name, spec in _COSTS.items()},
}
_ENTRY = {name.removesuffix("?"): spec for name, spec in _SYNTHETIC.items()}
_ENTRY |= {"train_seconds?": _ENTRY.pop("train_seconds"), "note?": _ENTRY.pop("note")}


def _task(entry):
    return {
        "title": "text", "about": "text", "samples": "samples", "chance": "share",
        "entries": [entry],
    }  # fmt: skip


_DIFFERENCE = {"values": ["number"], "mean": "number", "low": "number", "high": "number"}
_RESULTS = {
    "recipe": "text",
    "data": {"name": "text", "sha256": "text"},
    "versions": {"*": "text"},
    "seeds": ["integer"],
    "budget": {"parameters": "count", "steps": "count", "batch_size": "count"},
    "noise_db": "number",
    "encoders": {"parameters": "count", "flops": "size", "latency_ms": "size"},
    "seconds": "size",
    "tasks": {"concepts": _task(_ENTRY), "*": _task(_SYNTHETIC)},
    "imbalance?": {
        "about": "text",
        "rows": [{"name": "text", "accuracy": _INTERVAL, "modalities": {"*": "share"}}],
    },
    "verdict": {
        "best_late": "name",
        "best_learned": "name",
        "difference": _DIFFERENCE,
        "beats": "flag",
        "text": "text",
    },
}


def _number(value, low=-math.inf, high=math.inf):
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and math.isfinite(value) and low <= value <= high


def _integer(value, low=-math.inf):
    return isinstance(value, Integral) and _number(value, low)


_LEAVES: Mapping[str, tuple[str, Any]] = {
    "share": ("a number in [0, 1]", lambda value: _number(value, 0, 1)),
    "size": ("a finite number of at least 0", lambda value: _number(value, 0)),
    "number": ("a finite number", _number),
    "count": ("an int of at least 0", lambda value: _integer(value, 0)),
    "samples": ("a positive int", lambda value: _integer(value, 1)),
    "integer": ("an int", _integer),
    "flag": ("a bool", lambda value: isinstance(value, bool)),
    "text": ("a string", lambda value: isinstance(value, str)),
    "name": ("a string that isn't empty", lambda value: isinstance(value, str) and value != ""),
    "family": (f"one of {list(FAMILIES)}", lambda value: value in FAMILIES),
}


def check_results(results: Mapping) -> None:
    """Checks the results of a bake-off before a page is made of them.

    Args:
        results: Those of the recipe: `recipe`, `data`, `versions`, `seeds`, `budget`,
            `noise_db`, `encoders`, `seconds`, `tasks`, `verdict` and, optional, `imbalance`.
            Of the tasks only `concepts` must be there, and only there are costs and subsets
            required.

    Raises:
        ValueError: If a key is missing, a number is not finite or out of its range, a list is
            empty, an interval doesn't hold its mean, a kind occurs twice in a task, or the
            verdict is about a kind that was not run. The message names the place.
    """
    _check(results, _RESULTS, "results")
    for name, task in results["tasks"].items():
        kinds = [entry["kind"] for entry in task["entries"]]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise _error(
                    f"results.tasks.{name}.entries", "have each kind once", f"{kind!r} twice"
                )
    kinds = [entry["kind"] for entry in results["tasks"]["concepts"]["entries"]]
    for key in ("best_late", "best_learned"):
        if (kind := results["verdict"][key]) not in kinds:
            raise _error(f"results.verdict.{key}", f"be one of the kinds {kinds}", repr(kind))


def _check(value, spec, place):
    if isinstance(spec, str):
        expected, holds = _LEAVES[spec]
        if not holds(value):
            raise _error(place, f"be {expected}", repr(value))
    elif isinstance(spec, list):
        if not isinstance(value, list | tuple) or not value:
            raise _error(place, "be a list of at least one item", repr(value))
        for index, item in enumerate(value):
            _check(item, spec[0], f"{place}[{index}]")
    else:
        _check_keys(value, spec, place)


def _check_keys(value, spec, place):
    if not isinstance(value, Mapping):
        raise _error(place, f"be a dict with the keys {[*spec]}", repr(value))
    for key, item in spec.items():
        name = key.removesuffix("?")
        if name in value:
            _check(value[name], item, f"{place}.{name}")
        elif key not in ("*", f"{name}?"):
            raise _error(place, f"have the key {name!r}", f"the keys {[*value]}")
    if "*" in spec:
        for name in value:
            if name not in spec:
                _check(value[name], spec["*"], f"{place}.{name}")
    if {"low", "mean", "high"} <= spec.keys():
        low, mean, high = value["low"], value["mean"], value["high"]
        if not low - 1e-9 <= mean <= high + 1e-9:
            raise _error(place, "have low <= mean <= high", f"{low}, {mean}, {high}")


def _error(place, expected, received):
    return ValueError(
        f"`{place}` must {expected}. Received: {received}. "
        "Pass the results as the recipe wrote them."
    )
