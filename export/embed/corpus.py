"""A corpus to vectors, by any artifact of a bundle."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mmzoo.data.beam.job_folder import JobFolder, one_run_at_a_time
from mmzoo.data.beam.jobs import run_jobs, shown
from mmzoo.export.bundle.formats import FIXED, STRINGS
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.export.embed.calls import choose_calls, fit_calls
from mmzoo.export.embed.sources import open_source
from mmzoo.export.embed.stored import EMBEDDINGS, repeated_ids
from mmzoo.export.embed.vectors import EmbedPart
from mmzoo.export.inference.sample_inputs import check_artifact, check_tokenizer
from mmzoo.io.files import sha256
from mmzoo.tasks import Task


@one_run_at_a_time
def embed_corpus(
    bundle,
    data,
    out,
    *,
    format: str = "saved_model",
    signature: str | Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    batch: int = 64,
    runner: str = "direct",
    workers: int = 1,
    options: Sequence[str] = (),
    console=None,
    public_key=None,
) -> dict:
    """Runs an artifact over a corpus.

    Each part of the corpus becomes one Parquet file, by one job of Beam, with an `id` and a
    `list<float>` a vector, or null where a modality that it needs is absent or can't be read.
    Which outputs are embedded, and which of them are vectors and so L2-normalised, is the
    manifest's `embedding`, the same in every format. Scores, probabilities and scalars are kept
    as they are; a vector of zeros stays zeros. Killed at any time, it goes on with what is missing;
    each id is there exactly once. Images are brought to size as the manifest's task says.

    Args:
        bundle: A bundle, or the folder of a run, whose certificate holds.
        data: Folder that `mmzoo data prepare` made, or a manifest (`.csv`, `.jsonl`, `.parquet`).
        out: Folder of the vectors; with a runner of several machines all must see the three.
        format: An artifact of the bundle.
        signature, outputs: What is run, and which of its outputs are kept; see `choose_calls`.
        batch: How many records a call; vectors depend on it by rounding alone. A file of fixed
            size takes one.
        runner, workers, options: See `run_jobs`.
        console: Optional `rich.console.Console` for the progress.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Returns:
        What `embeddings.json` holds: `bundle_sha256`, `format`, `columns` (name, signature, output,
        dim, normalize, and the count of `vectors`), `left_out` (dict of a column that no record has
        a vector of to the modalities that it needs), `records`, `parts` (name, records, SHA-256),
        `dead` (count; `dead_letter.jsonl` has the reasons) and `source`.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, format, signature, output or data
            set, if the corpus lacks what the model needs, if no record has a vector, or an id
            comes twice.
        JobFolderError: If `out` holds something else.
        JobError: If a job fails.
    """
    data, out = Path(data), Path(out)
    if batch < 1:
        raise ValueError(f"`batch` must be a positive int. Received: batch={batch}.")
    opened = open_bundle(bundle, public_key)
    artifact = check_artifact(opened, format)
    manifest = opened.manifest
    calls = choose_calls(manifest, format, signature=signature, outputs=outputs)
    tokens = any(tensor.tokens_of for call in calls for tensor in call.inputs)
    tokenizer = check_tokenizer(opened) if tokens and format not in STRINGS else None
    source = open_source(data)
    identity = {
        "bundle_sha256": sha256(opened.path / "manifest.json"),
        **source.identity,
        "format": format,
        "signature": signature,
        "outputs": None if outputs is None else list(outputs),
        "rule": [row for call in calls for row in call.rule()],
    }
    _forget_a_killed_start(out)
    is_new = not out.exists()
    folder = JobFolder(out, EMBEDDINGS, identity)
    _sweep(out)
    if folder.description is not None:
        if folder.work.exists():  # killed when all was done but this
            shutil.rmtree(folder.work)
        return folder.description
    try:
        counts, present = source.plan(folder.work)
        asked = signature is not None or outputs is not None
        calls, left_out = fit_calls(calls, present, asked=asked)
    except ValueError:
        if not folder.done():  # nothing is begun, so `out` can take other arguments
            shutil.rmtree(out if is_new else folder.work)
        raise
    job = EmbedPart(
        source, len(counts), calls, artifact, tokenizer, format,
        manifest["samples"]["shapes"], Task.from_json(manifest["task"]),
        1 if format == FIXED else batch, out, folder.work,
    )  # fmt: skip
    total, per_part = sum(counts), max([1, *counts])
    with shown("Embedding", total, lambda: min(total, folder.done() * per_part), console=console):
        run_jobs(job, folder.missing(len(counts)), runner=runner, workers=workers, options=options)
    reports = folder.reports(len(counts))
    repeated = repeated_ids([out / report["name"] for report in reports])
    if repeated:
        name, parts = next(iter(repeated.items()))
        raise ValueError(
            f"Expected each id once. Received: {len(repeated):,} ids more than once; {name!r} is "
            f"in {', '.join(parts)}. Make the data set again with `mmzoo data prepare`, which sets "
            "repeated ids aside, and name another folder."
        )
    vectors = {
        c.name: sum(report["vectors"][c.name] for report in reports)
        for call in calls
        for c in call.columns
    }
    if not any(vectors.values()):
        _remove(out, folder, reports)
        raise ValueError(_no_vector(calls, reports))
    description = {
        "bundle_sha256": identity["bundle_sha256"],
        "format": format,
        "columns": [
            row | {"vectors": vectors[row["name"]]} for call in calls for row in call.rule()
        ],
        "left_out": {column.name: sorted(column.needs) for column in left_out},
        "records": sum(report["records"] for report in reports),
        "parts": [{k: report[k] for k in ("name", "records", "sha256")} for report in reports],
    }
    return folder.close(description, [row for report in reports for row in report["dead"]])


def _no_vector(calls, reports):
    """Why no record has a vector, in words."""
    records = sum(report["records"] for report in reports)
    dead = [row for report in reports for row in report["dead"]]
    wanted = "; ".join(
        f"{c.name!r} needs {' and '.join(sorted(c.needs)) or 'one of ' + ', '.join(sorted(c.of))}"
        for call in calls
        for c in call.columns
    )
    first = ""
    if dead:
        first = f" The first of {len(dead):,} faults: {dead[0]['id']}: {dead[0]['reason']}"
    return (
        f"Expected at least one record with a vector. Received: {records:,} records, none of which "
        f"has one: {wanted}, which no record has whole.{first} Add what is missing, or choose "
        "another --signature or --outputs."
    )


def _remove(out, folder, reports):
    """Removes what this run wrote, and the folder if nothing else is in it."""
    for report in reports:
        (out / report["name"]).unlink(missing_ok=True)
    shutil.rmtree(folder.work)
    if not any(out.iterdir()):
        out.rmdir()


def _forget_a_killed_start(out):
    """Removes a work folder in which there is nothing yet but what a killed run began to write."""
    work = out / ".work"
    alone = work.is_dir() and [path.name for path in out.iterdir()] == [work.name]
    if alone and all(path.name.startswith(".source.json.") for path in work.iterdir()):
        shutil.rmtree(work)


def _sweep(out):
    """Removes what a killed run left beside the files that it was writing."""
    for name in ("part-*", "dead_letter.jsonl", EMBEDDINGS):
        for place in out.glob(f".{name}.*"):
            shutil.rmtree(place)
