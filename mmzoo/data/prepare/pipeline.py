"""From a manifest to a data set that is whole, checked and described."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmzoo.data.beam.job_folder import JobFolder, JobFolderError, one_run_at_a_time
from mmzoo.data.beam.jobs import run_jobs, shown
from mmzoo.data.prepare.plan import make_plan
from mmzoo.data.prepare.shard import SAMPLE_RATE, MakeShard
from mmzoo.data.records import DESCRIPTION, SCHEMA
from mmzoo.data.tables.labels import Classes
from mmzoo.data.tables.reader import ManifestError
from mmzoo.data.tables.rows import COLUMNS, MODALITIES
from mmzoo.io.files import sha256


@one_run_at_a_time
def prepare_dataset(
    manifest,
    out,
    *,
    root=None,
    rows_per_shard: int = 1000,
    columns: dict[str, str] | None = None,
    classes: Sequence[str] | None = None,
    runner: str = "direct",
    workers: int = 1,
    options: Sequence[str] = (),
    console=None,
) -> dict:
    """Makes record files of a manifest of any size.

    Each shard is made of a range of the manifest's rows, in their order, by one job of Beam, so two
    runs give the same bytes, on any number of workers. Killed at any time, it goes on with the
    shards that are missing. Pictures are decoded to check them and kept as they came; sound becomes
    FLAC, 16 kHz, mono, 16 bits. A row with a fault goes to `dead_letter.jsonl` with its reason.

    Args:
        manifest: A `.csv` or `.tsv` (with a header), `.jsonl` or `.parquet` file with some of the
            columns `image` and `audio` (paths), `text`, `label` and `id`. Without an `id` a row's
            number, from 1, is its id.
        out: Folder of the data set; with a runner of several machines all must see it, and `root`.
        root: Folder that paths start from and can't leave. None: the manifest's folder.
        rows_per_shard: Positive int.
        columns: Dict of our column name to the manifest's, where they differ.
        classes: Class names known from before; any other label is a fault. None: those found.
        runner, workers, options: See `run_jobs`.
        console: Optional `rich.console.Console` for the progress.

    Returns:
        What `dataset.json` holds: `schema`, `features`, `sample_rate`, `classes`, `records`,
        `present` and `labels` (counts), `statistics` (min, mean and max; of sound also the total,
        in seconds), `bytes`, `warnings` (sentences), `shards` (name, records, bytes, SHA-256),
        `dead` (count) and `source`.

    Raises:
        ManifestError: If the manifest can't be read, or lacks what is needed.
        JobFolderError: If `out` holds another data set, or part of one.
        PlaceInUseError: If another run fills `out` at this moment.
        ImportError: If Beam is not installed.
        JobError: If a disk or a runner fails; what is done stays.
        ValueError: If an argument is out of range.
    """
    manifest, out = Path(manifest), Path(out)
    root = manifest.parent if root is None else Path(root)
    if rows_per_shard < 1:
        raise ValueError(f"`rows_per_shard` must be positive. Received: {rows_per_shard}.")
    if not set(columns or {}) <= set(COLUMNS):
        raise ValueError(f"`columns` must map names of {COLUMNS}. Received: {columns}.")
    classes = None if classes is None else Classes(classes).names
    if not manifest.is_file():
        raise JobFolderError(f"Expected a manifest. Received: {manifest}, no such file.")
    if not root.is_dir():
        raise JobFolderError(f"Expected a folder that paths start from. Received: {root}.")
    source = {
        "manifest_sha256": sha256(manifest),
        "root": str(root.resolve()),
        "rows_per_shard": rows_per_shard,
        "columns": dict(columns or {}),
        "classes": None if classes is None else list(classes),
    }
    _forget_a_killed_start(out)
    folder = JobFolder(out, DESCRIPTION, source)
    work = folder.work
    _sweep(out)
    if folder.description is not None:
        if work.exists():  # killed when all was done but this
            shutil.rmtree(work)
        return folder.description
    if (work / "plan.json").exists():
        plan = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    else:
        try:
            plan = make_plan(manifest, work, rows_per_shard, dict(columns or {}), classes)
        except ManifestError:
            shutil.rmtree(work)  # nothing is begun, so `out` can take the corrected one
            raise

    def done():
        return min(plan["rows"], folder.done() * rows_per_shard)

    with shown("Preparing", plan["rows"], done, "rows", console):
        run_jobs(
            MakeShard(root, out, work, plan), folder.missing(plan["shards"]),
            runner=runner, workers=workers, options=options,
        )  # fmt: skip
    return _describe(folder, plan)


def _forget_a_killed_start(out):
    """Removes a work folder in which there is nothing yet but what a killed run began to write."""
    work = out / ".work"
    begun = [path.name for path in work.iterdir()] if work.is_dir() else ["nothing to forget"]
    if [path.name for path in out.glob("*")] == [work.name] and all(
        name.startswith(".source.json.") for name in begun
    ):
        shutil.rmtree(work)


def _sweep(out):
    """Removes what a killed run left beside the files that it was writing."""
    for name in ("data-*.tfrecord", "dead_letter.jsonl", DESCRIPTION):
        for place in out.glob(f".{name}.*"):
            shutil.rmtree(place)


def _describe(folder, plan):
    present: Counter = Counter()
    labels: Counter = Counter()
    numbers: dict[str, list] = {}
    shards, dead = [], []
    for report in folder.reports(plan["shards"]):
        shards.append({key: report[key] for key in ("name", "records", "bytes", "sha256")})
        present.update(report["present"])
        labels.update(report["labels"])
        dead += report["dead"]
        for name, (few, total, many) in report["numbers"].items():
            low, mid, high = numbers.get(name, (few, 0, many))
            numbers[name] = [min(low, few), mid + total, max(high, many)]
    modality_of = {"image_height": "image", "image_width": "image", "text_bytes": "text",
                   "audio_seconds": "audio"}  # fmt: skip
    description = {
        "schema": SCHEMA,
        "features": {"id": "bytes", "label": "int64", **dict.fromkeys(MODALITIES, "bytes")},
        "sample_rate": SAMPLE_RATE,
        "classes": plan["classes"],
        "records": sum(shard["records"] for shard in shards),
        "present": {m: present[m] for m in MODALITIES},
        "labels": {name: labels[name] for name in plan["classes"]},
        "statistics": {
            name: {"min": few, "mean": total / present[modality_of[name]], "max": many}
            | ({"total": total} if name == "audio_seconds" else {})
            for name, (few, total, many) in sorted(numbers.items())
        },
        "bytes": sum(shard["bytes"] for shard in shards),
        "warnings": plan.get("warnings", []),
        "shards": shards,
    }
    return folder.close(description, dead)
