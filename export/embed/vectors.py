"""One shard of records to one Parquet file of vectors."""

import dataclasses
import functools
import importlib
import threading
from pathlib import Path

import numpy as np

from mmzoo.data import encode_text, read_audio, read_image
from mmzoo.data.job_folder import report_path
from mmzoo.data.records import check_shard, read_shard
from mmzoo.export.manifest import Tensor, reader_of
from mmzoo.export.runtimes.worker import RUNTIMES
from mmzoo.files import beside, sha256, write_json

_one_at_a_time = threading.Lock()  # a runtime has threads of its own


@dataclasses.dataclass(frozen=True)
class Column:
    """One vector of a record.

    Attributes:
        name: Name of the column.
        signature: Signature of the artifact that gives it.
        output: Name of the output, float `(batch, dim)`.
        dim: Width of the vector.
        inputs: The signature's inputs.
        needs: Modalities that a record must have, else its vector is null.
    """

    name: str
    signature: str
    output: str
    dim: int
    inputs: tuple[Tensor, ...]
    needs: tuple[str, ...]


class EmbedShard:
    """Makes the vectors of shard number k, in `part-….parquet`, and its report.

    Args:
        data: Folder of the records.
        shards: What `dataset.json` says of each.
        artifact: File or folder of the artifact.
        format: Its name in the bundle.
        columns: Which vectors to make.
        image_size: Pair `(height, width)` in pixels that pictures are fitted into.
        sample_rate: In Hz.
        batch: How many records a call.
        out, work: Folders of the parts and of the reports.
    """

    def __init__(self, data, shards, artifact, format, columns, image_size, sample_rate, batch,
                 out, work):  # fmt: skip
        self.data, self.shards, self.artifact, self.format = data, shards, artifact, format
        self.columns, self.image_size, self.sample_rate = columns, image_size, sample_rate
        self.batch, self.out, self.work = batch, out, work

    def __call__(self, number: int) -> None:
        records = read_shard(check_shard(self.data, self.shards[number]))
        ids: list[str] = []
        vectors: dict[str, list] = {column.name: [] for column in self.columns}
        dead: list[dict] = []
        while part := list(_take(records, self.batch)):
            ids += [record["id"] for record in part]
            decoded = [self._decode(record, dead) for record in part]
            for column in self.columns:
                vectors[column.name] += self._embed(column, part, decoded, dead)
        name = f"part-{number:05d}-of-{len(self.shards):05d}.parquet"
        with beside(self.out / name) as place:
            self._write(place, ids, vectors)
            digest = sha256(place)
        report = {"name": name, "records": len(ids), "sha256": digest, "dead": dead}
        with beside(report_path(self.work, number)) as place:
            write_json(place, report)

    def _decode(self, record, dead):
        """Dict of modality to array; what can't be read is left out, and reported."""
        read = {
            "image": lambda content: read_image(content, size=self.image_size),
            "audio": lambda content: read_audio(content, sample_rate=self.sample_rate),
            "text": lambda content: encode_text([content.decode()])[0],
        }
        found = {}
        for m in (m for m in read if m in record):
            try:
                found[m] = read[m](record[m])
            except ValueError as error:  # MediaError is one
                dead.append({"id": record["id"], "column": m, "reason": str(error)})
        return found

    def _embed(self, column, part, decoded, dead):
        """A vector a record, L2-normalised; None where it can't be had."""
        rows = [k for k, found in enumerate(decoded) if all(m in found for m in column.needs)]
        made: list = [None] * len(part)
        if not rows:
            return made
        inputs = {}
        for tensor in column.inputs:
            if tensor.presence_of:
                inputs[tensor.name] = np.array([tensor.presence_of in decoded[k] for k in rows])
            else:
                inputs[tensor.name] = self._stacked(tensor, [decoded[k] for k in rows])
        runtime = _runtime(reader_of(self.format), self.artifact, column.signature)
        with _one_at_a_time:
            answers = np.asarray(runtime.run(inputs)[column.output], "float64")
        norms = np.linalg.norm(answers, axis=1)
        for k, answer, norm in zip(rows, answers, norms, strict=True):
            if np.isfinite(norm) and norm > 0:
                made[k] = (answer / norm).astype("float32")
            else:
                reason = f"Expected a finite vector that is not zero. Received: norm {norm}."
                dead.append({"id": part[k]["id"], "column": column.name, "reason": reason})
        return made

    def _stacked(self, tensor, decoded):
        """One array of all records, zero padded; zeros where a modality is absent."""
        found = [each.get(tensor.name) for each in decoded]
        if tensor.name == "image":
            shape = (*self.image_size, 3)
        else:
            shape = (max([1, *(len(value) for value in found if value is not None)]),)
        stacked = np.zeros((len(found), *shape), tensor.dtype)
        for row, value in zip(stacked, found, strict=True):
            if value is not None:
                row[: len(value)] = value
        return stacked

    def _write(self, place, ids, vectors):
        import pyarrow as pa
        import pyarrow.parquet

        table = {"id": pa.array(ids, pa.string())}
        for column in self.columns:
            # Not of fixed size: pyarrow writes a null of those so that it can't read it.
            table[column.name] = pa.array(vectors[column.name], pa.list_(pa.float32()))
        pyarrow.parquet.write_table(pa.table(table), place)


@functools.cache
def _load(reader, artifact, signature):
    module = importlib.import_module(f"mmzoo.export.runtimes.{RUNTIMES[reader]}")
    return module.Runtime(artifact, signature)


def _runtime(reader, artifact, signature):
    """The artifact in its own runtime, loaded once a process."""
    with _one_at_a_time:
        return _load(reader, Path(artifact), signature)


def _take(records, count):
    for _, record in zip(range(count), records, strict=False):
        yield record
