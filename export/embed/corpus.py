"""A corpus of records to Parquet files of vectors, each id exactly once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmzoo.data.beam_jobs import run_jobs, shown
from mmzoo.data.job_folder import JobFolder
from mmzoo.data.records import DESCRIPTION, describe_records
from mmzoo.export.embed.vectors import Column, EmbedShard
from mmzoo.export.manifest import Tensor, changed_files, load_bundle
from mmzoo.files import sha256

EMBEDDINGS = "embeddings.json"
MODALITIES = ("image", "text", "audio")


def embed_corpus(
    bundle,
    data,
    out,
    *,
    format: str = "saved_model",
    outputs: Sequence[str] | None = None,
    batch: int = 64,
    runner: str = "direct",
    workers: int = 1,
    options: Sequence[str] = (),
    console=None,
) -> dict:
    """Runs an artifact over a corpus, and keeps its vectors.

    Each shard of records becomes one Parquet file, by one job of Beam, with an `id` and a
    `list<float>` a vector, L2-normalised, or null. Killed at any time, it goes on with
    what is missing; each id is there exactly once. Pictures are fitted into the size that the model
    was proven on, as `mmzoo predict` does.

    Args:
        bundle: A bundle, or the folder of a run, whose certificate holds.
        data: Folder that `mmzoo data prepare` made.
        out: Folder of the vectors; with a runner of several machines all must see the three.
        format: An artifact of the bundle. "saved_model" gives each encoder's pooled vector, in
            columns `image`, `text` and `audio`; any other the model's outputs of shape
            `(batch, dim)`.
        outputs: Names of outputs of the whole model, instead of these.
        batch: How many records a call; vectors depend on it by rounding alone.
        runner, workers, options: See `run_jobs`.
        console: Optional `rich.console.Console` for the progress.

    Returns:
        What `embeddings.json` holds: `bundle_sha256`, `format`, `columns` (name, signature, output,
        dim), `records`, `parts` (name, records, SHA-256), `dead` (count; `dead_letter.jsonl` has
        the reasons) and `source`.

    Raises:
        FileNotFoundError, ValueError: If there is no such bundle, format, output or data set, or if
            the corpus has nothing that the model takes.
        JobFolderError: If `out` holds something else.
        JobError: If a job fails.
    """
    data, out = Path(data), Path(out)
    if batch < 1:
        raise ValueError(f"`batch` must be a positive int. Received: batch={batch}.")
    opened = load_bundle(bundle)
    manifest, described = opened.manifest, describe_records(data)
    _check_bundle(opened, format)
    here = {m for m in MODALITIES if described["present"][m]}
    columns = _columns(manifest, format, outputs, here)
    digest = sha256(opened.path / "manifest.json")
    source = {
        "bundle_sha256": digest,
        "data_sha256": sha256(data / DESCRIPTION),
        "format": format,
        "columns": [column.name for column in columns],
    }
    folder = JobFolder(out, EMBEDDINGS, source)
    if folder.description is not None:
        return folder.description
    shards = described["shards"]
    job = EmbedShard(
        data, shards, opened.path / manifest["formats"][format]["path"], format, columns,
        tuple(manifest["samples"]["shapes"].get("image", (64, 64))[:2]),
        (manifest.get("audio") or {}).get("sample_rate", described["sample_rate"]), batch, out,
        folder.work,
    )  # fmt: skip
    per_shard = max([1, *(shard["records"] for shard in shards)])
    total = described["records"]
    with shown("Embedding", total, lambda: min(total, folder.done() * per_shard), console=console):
        run_jobs(job, folder.missing(len(shards)), runner=runner, workers=workers, options=options)
    reports = folder.reports(len(shards))
    description = {
        "bundle_sha256": digest,
        "format": format,
        "columns": [
            {"name": c.name, "signature": c.signature, "output": c.output, "dim": c.dim}
            for c in columns
        ],
        "records": sum(report["records"] for report in reports),
        "parts": [{k: report[k] for k in ("name", "records", "sha256")} for report in reports],
    }
    return folder.close(description, [row for report in reports for row in report["dead"]])


def load_embeddings(folder) -> tuple[list[str], dict[str, np.ndarray]]:
    """Reads what `embed_corpus` wrote, checked.

    Args:
        folder: Its `out`.

    Returns:
        The ids, and dict of column to float32 array `(records, dim)`, NaN where there is none.

    Raises:
        ValueError: If the folder is not whole, a file was changed, or an id comes twice.
    """
    import json

    import pyarrow.parquet

    folder = Path(folder)
    path = folder / EMBEDDINGS
    if not path.is_file():
        raise ValueError(
            f"Expected vectors that `mmzoo embed` made. Received: {folder}, without {EMBEDDINGS}. "
            "Run it again if it was cut off."
        )
    described = json.loads(path.read_text(encoding="utf-8"))
    ids: list[str] = []
    parts: dict[str, list] = {column["name"]: [] for column in described["columns"]}
    for part in described["parts"]:
        found = sha256(folder / part["name"]) if (folder / part["name"]).is_file() else "no file"
        if found != part["sha256"]:
            raise ValueError(
                f"Expected SHA-256 {part['sha256']} of {folder / part['name']}. Received: {found}. "
                "Make it again with `mmzoo embed`."
            )
        table = pyarrow.parquet.read_table(folder / part["name"])
        ids += table["id"].to_pylist()
        for column in described["columns"]:
            values = table[column["name"]].combine_chunks()
            made = np.full((len(values), column["dim"]), np.nan, "float32")
            made[np.asarray(values.is_valid())] = (
                values.flatten().to_numpy().reshape(-1, column["dim"])
            )
            parts[column["name"]].append(made)
    if len(set(ids)) != len(ids):
        raise ValueError(f"Expected each id once. Received: {len(ids) - len(set(ids))} again.")
    empty = {c["name"]: np.zeros((0, c["dim"]), "float32") for c in described["columns"]}
    return ids, {n: np.concatenate([empty[n], *values]) for n, values in parts.items()}


def _check_bundle(bundle, format):
    formats = bundle.manifest["formats"]
    if format not in formats:
        raise ValueError(
            f"Expected one of the bundle's formats {sorted(formats)}. Received: {format!r}. "
            "Export the model with it."
        )
    certificate = bundle.certificate
    right = certificate["manifest_sha256"] == sha256(bundle.path / "manifest.json")
    if certificate["holds"] is not True or not right:
        raise ValueError(
            f"Expected a bundle whose certificate holds for its manifest. Received: {bundle.path}. "
            "`mmzoo verify` says what is wrong."
        )
    changed = changed_files(bundle.path, bundle.manifest, format)
    if changed:
        raise ValueError(f"Expected the files that were proven. Changed: {'; '.join(changed)}.")


def _columns(manifest, format, outputs, here):
    signatures = manifest["formats"][format].get("signatures", {})
    columns = []
    for m in sorted(here) if outputs is None else ():
        signature = signatures.get(f"encode_{m}")
        if signature is not None:
            columns += _of(signature, f"encode_{m}", {f"{m}_pooled": m}, (m,))
    if not columns:
        whole = signatures.get("portable", manifest)
        wanted = outputs or [t["name"] for t in whole["outputs"] if _is_vector(t)]
        takes = [Tensor.from_json(tensor) for tensor in whole["inputs"]]
        optional = {tensor.presence_of for tensor in takes if tensor.presence_of}
        needs = tuple(t.name for t in takes if not t.presence_of and t.name not in optional)
        if not {t.name for t in takes} & here or not set(needs) <= here:
            raise ValueError(
                f"Expected a corpus with {', '.join(needs or sorted(optional))}. Received: one "
                f"with {', '.join(sorted(here)) or 'nothing'}."
            )
        columns = _of(whole, "portable", {name: name for name in wanted}, needs)
    return columns


def _of(signature, name, outputs, needs):
    inputs = tuple(Tensor.from_json(tensor) for tensor in signature["inputs"])
    if any(tensor.tokens_of or tensor.name not in MODALITIES for tensor in inputs
           if not tensor.presence_of):  # fmt: skip
        raise ValueError(
            "Expected a model of pictures, texts in bytes and sounds. Received: inputs "
            f"{[tensor.name for tensor in inputs]}, some of them token ids. Embed with an artifact "
            "that takes bytes."
        )
    known = {tensor["name"]: tensor for tensor in signature["outputs"]}
    columns = []
    for output, column in outputs.items():
        if output not in known or not _is_vector(known[output]):
            vectors = [n for n, tensor in known.items() if _is_vector(tensor)]
            raise ValueError(f"Expected outputs of {vectors}. Received: {output!r}.")
        columns.append(Column(column, name, output, known[output]["shape"][1], inputs, needs))
    return columns


def _is_vector(tensor):
    return tensor["dtype"] == "float32" and len(tensor["shape"]) == 2 and tensor["shape"][1]
