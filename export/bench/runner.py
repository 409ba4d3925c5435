"""What each artifact of a bundle costs, beside its runtime called by hand."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmzoo.export.bench import results
from mmzoo.export.bench.checks import check_answers, checked_samples
from mmzoo.export.bundle.formats import FIXED, STRINGS, runtime_of
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.export.certify.certificate import size_of
from mmzoo.export.runtimes.bare import THREADS
from mmzoo.export.runtimes.process import RuntimeFailure
from mmzoo.export.runtimes.race import WARM_UP
from mmzoo.export.runtimes.with_parent import run_with_parent
from mmzoo.export.samples.samples import BATCHES
from mmzoo.io.files import sha256
from mmzoo.io.working_folder import working_folder

ROUNDS = 7
SECONDS = 1.0  # of a batch size in a round
_WAYS = (results.WAYS, ("mmzoo",), ("bare",))  # a process each


def bench_bundle(
    path,
    *,
    batches: Sequence[int] = BATCHES,
    formats: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    tell: Callable[[str], object] = lambda line: None,
    public_key=None,
) -> dict:
    """Measures the artifacts of a bundle on its own samples, and checks every timed answer.

    In each round, in an order drawn anew, an artifact gets three fresh processes: mmzoo's way and
    the runtime by hand in turn, call by call, for the times; and either of them alone, for the
    memory and the time to load. A ratio is taken within a round; its interval is over the rounds.

    Args:
        path: The bundle, or a run's folder that holds one.
        batches: Samples a call. An artifact of fixed size takes part where 1 is among them.
        formats: Names of artifacts, the first of which the others are compared with; None: all.
        rounds: Positive int; of fewer than 5 there is no interval.
        seconds: How long a batch size is timed in a round: 20 to 400 calls of each way.
        tell: Called with a line before each artifact.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Returns:
        What `bench.json` holds: `machine`, `settings`, `samples`, `seconds`, and `artifacts`, by
        name: `runtime`, `bytes`, `load_seconds`, `largest_difference`, and `batches`, each with
        `calls`, `warm_up`, `median_ms`, `p95_ms`, `samples_per_second`, `peak_mib`, and `cost_ms`,
        the median difference of a call by mmzoo from the one by hand. The other figures have
        `mmzoo`, `bare`, `ratio` and `to_first`.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If an argument is out of its range, or the bundle's files are not those that
            were certified.
        ParityError: If a timed answer is not the Keras model's, within what the bundle promises.
        RuntimeFailure: If an artifact does not run.
    """
    bundle = open_bundle(path, public_key)
    samples, reference = checked_samples(bundle)
    _check_settings(batches, rounds, seconds, len(samples))
    batches = sorted(set(batches))
    names = _chosen(bundle, formats, batches)
    inputs = {name: value[: 8 * max(batches)] for name, value in samples.inputs.items()}
    started, before = time.time(), results.Load()
    raw: dict[str, list] = {name: [] for name in names}
    differences = dict.fromkeys(names, 0.0)
    draw = np.random.default_rng(0)
    for turn in range(rounds):
        for name in draw.permutation(names).tolist():
            tell(f"round {turn + 1} of {rounds}: {name}")
            taken = [1] if name == FIXED else batches
            runs = {}
            for k in draw.permutation(len(_WAYS)):
                runs[_WAYS[k]] = report = _run(bundle, name, inputs, taken, _WAYS[k], seconds, turn)
                differences[name] = max(
                    differences[name],
                    check_answers(bundle, name, report.pop("answers"), reference, samples),
                )
            raw[name].append(runs)
    return {
        "schema": results.SCHEMA,
        "bundle": {"manifest_sha256": sha256(bundle.path / "manifest.json")},
        "machine": before.machine(),
        "settings": {
            "batches": batches,
            "rounds": rounds,
            "seconds": seconds,
            "threads": THREADS,
            "warm_up": WARM_UP,
            "first": names[0],
        },
        "samples": {"source": samples.source, "count": len(next(iter(inputs.values())))},
        "seconds": time.time() - started,
        "artifacts": {
            name: {
                "runtime": bundle.certificate["formats"][name]["runtime"].rpartition(" ")[0],
                "largest_difference": differences[name],
                **results.figures(
                    raw[name], raw[names[0]],
                    *(size_of(bundle.path / bundle.manifest["formats"][n]["path"])
                      for n in (name, names[0])),
                ),
            }
            for name in names
        },
    }  # fmt: skip


def _chosen(bundle, formats, batches):
    found = [name for name in bundle.manifest["formats"] if name != FIXED or 1 in batches]
    found = [name for name in found if name not in STRINGS]  # which do more than the others
    names = found if formats is None else list(dict.fromkeys(formats))
    if not names or not set(names) <= set(found):
        raise ValueError(
            f"`formats` must name artifacts of the bundle that take batches of {batches}: "
            f"{', '.join(found) or 'none'}. Received: {', '.join(names) or 'none'}."
        )
    return names


def _check_settings(batches, rounds, seconds, count):
    if not batches or not all(isinstance(b, int) and 1 <= b <= count for b in batches):
        raise ValueError(
            f"`batches` must be ints from 1 to {count}, the number of samples. "
            f"Received: {list(batches)}."
        )
    if rounds < 1 or not 0 < seconds < 600:
        raise ValueError(
            "`rounds` must be a positive int and `seconds` from 0 to 600. "
            f"Received: rounds={rounds}, seconds={seconds}."
        )


def _run(bundle, name, inputs, batches, ways, seconds, turn):
    """Runs one fresh process; returns its report, with the `answers` of every timed call."""
    artifact = bundle.path / bundle.manifest["formats"][name]["path"]
    with working_folder(Path(tempfile.gettempdir()) / "race") as place:
        files = {key: str(place / file) for key, file in [
            ("inputs", "inputs.npz"), ("answers", "answers.npz"), ("report", "report.json"),
        ]}  # fmt: skip
        job = {
            "format": runtime_of(name), "artifact": str(artifact), "ways": ways,
            "batches": batches, "seconds": seconds, "seed": turn,
            "ends_with_parent": True, **files,
        }  # fmt: skip
        np.savez(files["inputs"], **inputs)
        (place / "job.json").write_text(json.dumps(job))
        command = [
            sys.executable, "-P", "-m", "mmzoo.export.runtimes.race", str(place / "job.json"),
        ]  # fmt: skip
        threads = {f"TF_NUM_{kind}_THREADS": str(THREADS) for kind in ("INTRAOP", "INTEROP")}
        limit = 300 + 100 * seconds * len(batches)
        try:
            done = run_with_parent(command, time_limit=limit, environment=os.environ | threads)
        except subprocess.TimeoutExpired as error:
            raise RuntimeFailure(
                f"{name}: expected {artifact} to finish in {limit:.0f} s. It did not. "
                "Choose smaller `batches`."
            ) from error
        if done.returncode != 0:
            last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise RuntimeFailure(
                f"{name}: expected {artifact} to load and run. Its process ended with code "
                f"{done.returncode}: {' | '.join(last) or 'no message'}"
            )
        report = json.loads(Path(files["report"]).read_text())
        with np.load(files["answers"]) as archive:
            report["answers"] = {key: archive[key] for key in archive.files}
    return report
