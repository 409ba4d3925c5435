import re

import numpy as np
import pytest
from bakeoff_cases import bakeoff

from mmzoo.recipes.comparison.result_checks import check_results

ENTRIES = "results.tasks.concepts.entries"


def put(value, *place):
    def change(results):
        for key in place[:-1]:
            results = results[key]
        results[place[-1]] = value

    return change


def drop(*place):
    def change(results):
        for key in place[:-1]:
            results = results[key]
        del results[place[-1]]

    return change


def entry(*place):
    return ("tasks", "concepts", "entries", 4, *place)


@pytest.mark.parametrize(
    "change, message",
    [
        (drop("verdict"), "`results` must have the key 'verdict'"),
        (drop("encoders", "flops"), "`results.encoders` must have the key 'flops'"),
        (drop("tasks", "concepts"), "`results.tasks` must have the key 'concepts'"),
        (drop(*entry("latency_ms")), f"`{ENTRIES}[4]` must have the key 'latency_ms'"),
        (drop(*entry("subsets")), f"`{ENTRIES}[4]` must have the key 'subsets'"),
        (drop(*entry("accuracy", "low")), f"`{ENTRIES}[4].accuracy` must have the key 'low'"),
        (drop("tasks", "xor", "chance"), "`results.tasks.xor` must have the key 'chance'"),
        (put(float("nan"), *entry("accuracy", "values", 1)),
         f"`{ENTRIES}[4].accuracy.values[1]` must be a number in [0, 1]. Received: nan"),
        (put(float("inf"), *entry("latency_ms")),
         f"`{ENTRIES}[4].latency_ms` must be a finite number of at least 0. Received: inf"),
        (put(np.float32("nan"), *entry("max_difference")), f"`{ENTRIES}[4].max_difference`"),
        (put(float("-inf"), "verdict", "difference", "low"), "`results.verdict.difference.low` "
         "must be a finite number. Received: -inf"),
        (put(1.5, *entry("subsets", "image")), f"`{ENTRIES}[4].subsets.image` must be a"),
        (put(-1, *entry("parameters")), "an int of at least 0. Received: -1"),
        (put(True, *entry("flops")), "a finite number of at least 0. Received: True"),
        (put("0.5", "noise_db"), "`results.noise_db` must be a finite number. Received: '0"),
        (put(0.5, "seeds", 0), "`results.seeds[0]` must be an int. Received: 0.5"),
        (put(0, "tasks", "xor", "samples"), "a positive int. Received: 0"),
        (put([], "tasks", "concepts", "entries"), f"`{ENTRIES}` must be a list of at least "
         "one item. Received: []"),
        (put([], "tasks", "xor", "entries"), "`results.tasks.xor.entries` must be a list"),
        (put([], "seeds"), "`results.seeds` must be a list of at least one item"),
        (put([], *entry("accuracy", "values")), f"`{ENTRIES}[4].accuracy.values` must be a"),
        (put([], "imbalance", "rows"), "`results.imbalance.rows` must be a list"),
        (put(None, "imbalance"), "`results.imbalance` must be a dict with the keys"),
        (put("middle", *entry("family")), "one of ['early', 'late', 'intermediate', 'attention', "
         "'unimodal', 'as text']. Received: 'middle'"),
        (put("", *entry("kind")), "a string that isn't empty. Received: ''"),
        (put(7, "versions", "keras"), "`results.versions.keras` must be a string"),
        (put("yes", "verdict", "beats"), "`results.verdict.beats` must be a bool"),
        (put(0.2, *entry("accuracy", "high")), "low <= mean <= high. Received: 0.9"),
        (put("LateFusion", *entry("kind")), f"`{ENTRIES}` must have each kind once. Received: "
         "'LateFusion' twice"),
        (put("Oracle", "verdict", "best_late"), "`results.verdict.best_late` must be one of "
         "the kinds"),
    ],
)  # fmt: skip
def test_refusals_name_the_place(change, message):
    results = bakeoff()
    change(results)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_results(results)


@pytest.mark.parametrize(
    "change",
    [
        lambda results: None,
        drop("imbalance"),
        drop(*entry("note")),
        drop(*entry("train_seconds")),
        drop("tasks", "xor"),
        put(1.02, *entry("accuracy", "high")),  # a t interval may pass 1
        put(np.float32(0.5), *entry("latency_ms")),
        put({}, *entry("subsets")),
    ],
)
def test_what_may_be_absent_may_be(change):
    results = bakeoff()
    change(results)
    check_results(results)
