"""One part of a corpus to one Parquet file of vectors."""

import functools
import importlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmzoo.data.beam.job_folder import report_path
from mmzoo.export.bundle.formats import FIXED, STRINGS, reader_of
from mmzoo.export.embed.calls import Call
from mmzoo.export.inference.sample_inputs import (
    stack_inputs,
    stack_texts,
    to_size,
)
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.runtimes.worker import RUNTIMES
from mmzoo.io.files import atomic_write, sha256, write_json
from mmzoo.tasks import Image, TooLargeError

LARGEST = float(np.finfo("float32").max)
_one_at_a_time = threading.Lock()  # a runtime has threads of its own


class EmbedPart:
    """Makes the vectors of part number k, in `part-….parquet`, and its report.

    Args:
        source: A `Records` or a `Manifest`, planned.
        parts: How many there are.
        calls: What is run.
        artifact: File or folder of the artifact.
        tokenizer: SavedModel that makes the token ids that it takes, or None.
        format: Its name in the bundle.
        shapes: Dict of input name to a sample's shape, as in the bundle's manifest.
        task: The bundle's.
        batch: How many records a call.
        out, work: Folders of the parts and of the reports.
    """

    def __init__(self, source, parts, calls, artifact, tokenizer, format, shapes, task,
                 batch, out, work):  # fmt: skip
        self.source, self.parts, self.calls = source, parts, calls
        self.artifact, self.tokenizer, self.format = artifact, tokenizer, format
        self.shapes, self.task, self.batch = shapes, task, batch
        self.out, self.work = out, work
        self.modalities = sorted(set().union(*(call.modalities for call in calls)))

    def __call__(self, number: int) -> None:
        ids: list[str] = []
        dead: list[dict] = []
        vectors: dict[str, list] = {c.name: [] for call in self.calls for c in call.columns}
        sound = self._sound(number, dead)
        while part := list(itertools.islice(sound, self.batch)):
            names = [record["id"] for record in part]
            decoded = [self._decode(record, dead) for record in part]
            for call in self.calls:
                for name, made in self._embed(call, names, decoded, dead).items():
                    vectors[name] += made
            ids += names
        name = f"part-{number:05d}-of-{self.parts:05d}.parquet"
        with atomic_write(self.out / name) as place:
            _write(place, ids, vectors)
            digest = sha256(place)
        counts = {n: sum(value is not None for value in made) for n, made in vectors.items()}
        report = {
            "name": name, "records": len(ids), "sha256": digest, "vectors": counts, "dead": dead,
        }  # fmt: skip
        with atomic_write(report_path(self.work, number)) as place:
            write_json(place, report)

    def _sound(self, number, dead) -> Iterator[dict]:
        """The records of a part; rows with a fault are reported."""
        for record in self.source.read(number):
            if "fault" in record:
                column, reason = record["fault"]
                dead.append({"row": record["row"], **_fault(record["id"], column, reason)})
            else:
                yield record

    def _decode(self, record, dead):
        """Dict of modality to what it holds, None where that can't be read, which is reported."""
        found = {}
        for m in (m for m in self.modalities if m in record):
            try:
                content = self.source.content(m, record[m])
                found[m] = self.task.feature(m).read(content)
            except ValueError as error:  # MediaError is one
                found[m] = None
                dead.append(_fault(record["id"], m, str(error)))
        return found

    def _embed(self, call: Call, ids, decoded, dead) -> dict[str, list]:
        """A vector a record in each column, None where it can't be had."""
        made: dict[str, list] = {column.name: [None] * len(ids) for column in call.columns}
        there = [
            {column.name for column in call.columns if _answers(column, found)} for found in decoded
        ]
        groups = self._groups([k for k, names in enumerate(there) if names], decoded)
        while groups:
            rows = groups.pop(0)
            samples = [{m: v for m, v in decoded[k].items() if v is not None} for k in rows]
            try:
                inputs = self._inputs(call, samples)
            except TooLargeError as error:
                if len(rows) > 1:  # which of them it is, is seen when each is alone
                    groups = [[k] for k in rows] + groups
                    continue
                dead += [_fault(ids[rows[0]], name, str(error)) for name in sorted(there[rows[0]])]
                continue
            answers = self._run(self.format, self.artifact, call.signature, inputs)
            for column in call.columns:
                values = np.asarray(answers[column.output], "float64").reshape(len(rows), -1)
                for k, value in zip(rows, values, strict=True):
                    if column.name not in there[k]:
                        continue
                    if (np.abs(value) <= LARGEST).all():  # no NaN is
                        made[column.name][k] = _unit(value) if column.normalize else value
                    else:
                        reason = f"Expected finite values of {column.output!r}. Received: NaN or "
                        reason += "infinity. Look at the record, or run `mmzoo verify`."
                        dead.append(_fault(ids[k], column.name, reason))
        return made

    def _groups(self, rows, decoded):
        """The rows that one call can take: where pictures keep their size, those of one size."""
        free = [f.name for f in self.task.features if isinstance(f, Image) and f.size is None]
        groups: dict = {}
        for k in rows:
            key = tuple(getattr(decoded[k].get(name), "shape", None) for name in free)
            groups.setdefault(key, []).append(k)
        return list(groups.values())

    def _inputs(self, call, samples):
        inputs = stack_inputs(self.task.features, call.inputs, samples, self.shapes)
        if self.tokenizer is not None:
            texts = stack_texts(call.inputs, samples)
            ids = self._run("saved_model", self.tokenizer, "tokenize", texts) if texts else {}
            inputs |= {t.name: ids[t.name] for t in call.inputs if t.tokens_of}
        if self.format == FIXED:
            return to_size(self.task.features, inputs, self.shapes)
        return inputs

    def _run(self, format, artifact, signature, inputs):
        if format in STRINGS:  # beside TensorFlow, which reads the records, these may crash
            plan = [(len(next(iter(inputs.values()))),) * 2]
            return run_artifact(reader_of(format), artifact, inputs, plan).outputs[0]
        runtime = _runtime(reader_of(format), artifact, signature)
        with _one_at_a_time:
            return {name: np.array(value) for name, value in runtime.run(inputs).items()}


def _answers(column, found):
    """Whether a record has a vector: one that can't be read is not one that is absent."""
    broken = any(found.get(m, 0) is None for m in column.of)
    return column.can_answer(set(found)) and not broken


def _unit(vector):
    """Of length 1; zeros stay zeros."""
    norm = np.linalg.norm(vector)
    return vector / norm if norm > 0 else vector


def _fault(name, column, reason):
    return {"id": name, "column": column, "reason": reason}


def _write(place, ids, vectors):
    import pyarrow as pa
    import pyarrow.parquet

    # Not of fixed size: pyarrow writes a null of those so that it can't read it.
    columns = {
        name: pa.array([v if v is None else v.astype("float32") for v in made],
                       pa.list_(pa.float32()))
        for name, made in vectors.items()
    }  # fmt: skip
    pyarrow.parquet.write_table(pa.table({"id": pa.array(ids, pa.string()), **columns}), place)


@functools.cache
def _load(reader, artifact, signature):
    if reader == "saved_model":
        # Before its loader, which would put a bare package in the place of one not yet there.
        importlib.import_module("tensorflow")
    module = importlib.import_module(f"mmzoo.export.runtimes.{RUNTIMES[reader]}")
    return module.Runtime(artifact, signature)


def _runtime(reader, artifact, signature):
    """The artifact in its own runtime, loaded once a process."""
    with _one_at_a_time:
        return _load(reader, Path(artifact), signature)
