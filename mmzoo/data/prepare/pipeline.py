"""From a manifest to a data set that is whole, checked and described."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmzoo.data.beam_jobs import finished, run_jobs, shown
from mmzoo.data.prepare.plan import MODALITIES, make_plan
from mmzoo.data.prepare.shard import SAMPLE_RATE, MakeShard
from mmzoo.files import beside, sha256, write_json

SCHEMA = 1
DESCRIPTION = "dataset.json"
DEAD = "dead_letter.jsonl"
_WORK = ".work"


class PrepareError(ValueError):
    """A folder that can't be prepared into; says what is there and what to do."""


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
        manifest: A `.csv` (UTF-8, with a header), `.jsonl` or `.parquet` file with some of the
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
        `present` and `labels` (counts), `statistics` (min, mean and max), `shards` (name, records,
        bytes, SHA-256), `dead` (count) and `source`.

    Raises:
        ManifestError: If the manifest can't be read.
        PrepareError: If `out` holds another data set, or part of one.
        ImportError: If Beam is not installed.
    """
    manifest, out = Path(manifest), Path(out)
    root = manifest.parent if root is None else Path(root)
    if rows_per_shard < 1:
        raise ValueError(f"`rows_per_shard` must be positive. Received: {rows_per_shard}.")
    if not manifest.is_file():
        raise PrepareError(f"Expected a manifest. Received: {manifest}, no such file.")
    if not root.is_dir():
        raise PrepareError(f"Expected a folder that paths start from. Received: {root}.")
    source = {
        "manifest_sha256": sha256(manifest),
        "root": str(root.resolve()),
        "rows_per_shard": rows_per_shard,
        "columns": dict(columns or {}),
        "classes": None if classes is None else list(classes),
    }
    if (out / DESCRIPTION).exists():
        return _made_before(out, source)
    work = _work_folder(out, source)
    if (work / "plan.json").exists():
        plan = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    else:
        plan = make_plan(manifest, work, rows_per_shard, dict(columns or {}), classes)
    _drop_damaged(out, work)
    missing = [k for k in range(plan["shards"]) if not _report(work, k).exists()]

    def done():
        ready = len(finished(work, "shard-*.json"))
        return min(plan["rows"], ready * rows_per_shard)

    with shown("Preparing", plan["rows"], done, "rows", console):
        run_jobs(
            MakeShard(root, out, work, plan), missing,
            runner=runner, workers=workers, options=options,
        )  # fmt: skip
    return _describe(out, work, plan, source)


def _made_before(out, source):
    found = json.loads((out / DESCRIPTION).read_text(encoding="utf-8"))
    if found.get("source") != source:
        raise PrepareError(
            f"Expected {out} to be new, or of the same manifest and arguments. Received: a "
            f"data set of {found.get('source')}. Name another folder."
        )
    return found


def _work_folder(out, source):
    work = out / _WORK
    begun = work / "source.json"
    if begun.exists():
        found = json.loads(begun.read_text(encoding="utf-8"))
        if found != source:
            raise PrepareError(
                f"Expected {out} to be begun with the same manifest and arguments. Received: "
                f"{found} before. Name another folder, or delete it."
            )
        return work
    if out.exists() and any(out.iterdir()):
        raise PrepareError(
            f"Expected a new or empty folder. Received: {out}, which holds other files."
        )
    work.mkdir(parents=True, exist_ok=True)
    with beside(begun) as place:
        write_json(place, source)
    return work


def _report(work, number):
    return work / f"shard-{number:05d}.json"


def _drop_damaged(out, work):
    """Forgets shards whose file is not what its report says."""
    for path in finished(work, "shard-*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        shard = out / report["name"]
        if not shard.exists() or sha256(shard) != report["sha256"]:
            path.unlink()


def _describe(out, work, plan, source):
    present: Counter = Counter()
    labels: Counter = Counter()
    numbers: dict[str, list] = {}
    shards, dead = [], []
    for k in range(plan["shards"]):
        report = json.loads(_report(work, k).read_text(encoding="utf-8"))
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
            for name, (few, total, many) in sorted(numbers.items())
        },
        "bytes": sum(shard["bytes"] for shard in shards),
        "shards": shards,
        "dead": len(dead),
        "source": source,
    }
    with beside(out / DEAD) as place:
        place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dead))
    with beside(out / DESCRIPTION) as place:
        write_json(place, description)
    shutil.rmtree(work)
    return description
