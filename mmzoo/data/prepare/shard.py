"""One shard: rows of a manifest to records, with what was found on the way."""

import errno
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np

from mmzoo.data.beam.job_folder import report_path
from mmzoo.data.media.audio import read_audio
from mmzoo.data.media.images import check_image
from mmzoo.data.media.media_files import inside, read_file
from mmzoo.data.tables.labels import Classes
from mmzoo.data.tables.rows import identity
from mmzoo.io.files import atomic_write, sha256, write_json

SAMPLE_RATE = 16_000  # Hz
# A path's own fault; any other error of a disk or network stops the run, which can then go on.
_OF_THE_PATH = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


class MakeShard:
    """Makes shard number k, in `data-….tfrecord`, and its report.

    Args:
        root: Folder that paths start from and can't leave.
        out: Folder of the shards.
        work: Folder of the rows and of the reports.
        plan: What `make_plan` returned.
    """

    def __init__(self, root: Path, out: Path, work: Path, plan: dict):
        self.root, self.out, self.work, self.plan = root, out, work, plan
        self.classes = Classes(plan["classes"]) if plan["classes"] else None

    def __call__(self, number: int) -> None:
        import tensorflow as tf

        rows = json.loads((self.work / f"rows-{number:05d}.json").read_text(encoding="utf-8"))
        name = shard_name(number, self.plan["shards"])
        report = _Report()
        with atomic_write(self.out / name) as place:
            with tf.io.TFRecordWriter(str(place)) as writer:
                for row in rows:
                    content = self._record(row, report)
                    if content is not None:
                        writer.write(content)
            written = {"name": name, "records": report.records, "bytes": place.stat().st_size}
            written["sha256"] = sha256(place)
        with atomic_write(report_path(self.work, number)) as place:
            write_json(place, {**written, **report.as_json()})

    def _record(self, row, report):
        """The serialised record; None where the row has a fault, which is reported."""
        name = identity(row)
        try:
            features, facts = self._features(row)
        except _RowFault as fault:
            report.dead.append(
                {"row": row["row"], "id": name, "column": fault.column, "reason": str(fault)}
            )
            return None
        report.add(self.plan["classes"][features["label"]] if "label" in features else None, facts)
        return serialised({"id": name.encode(), **features})

    def _features(self, row):
        if "fault" in row:
            raise _RowFault(*row["fault"])
        if str(row["row"]) in self.plan["repeated"]:
            raise _RowFault("id", f"An earlier row has the id {identity(row)!r}.")
        present = [m for m in self.plan["modalities"] if m in row]
        if not present:
            raise _RowFault(", ".join(self.plan["modalities"]), "No modality is present.")
        features: dict = {}
        if "label" in row and self.classes is not None:
            try:
                features["label"] = self.classes.index(row["label"])
            except ValueError as error:
                raise _RowFault("label", str(error)) from error
        facts = {}
        for m in present:
            try:
                features[m], facts[m] = getattr(self, f"_{m}")(row[m])
            except ValueError as error:  # MediaError is one
                raise _RowFault(m, str(error)) from error
        return features, facts

    def _image(self, cell):
        path = inside(self.root, cell)
        content = _of_the_row(lambda: read_file(path, "an image")[1])
        return content, check_image(content, repr(str(path)))

    def _text(self, cell):
        content = cell.encode()
        return content, len(content)

    def _audio(self, cell):
        waveform = _of_the_row(lambda: read_audio(inside(self.root, cell), SAMPLE_RATE))
        return flac(waveform), len(waveform) / SAMPLE_RATE


class _RowFault(ValueError):
    def __init__(self, column, reason):
        super().__init__(reason)
        self.column = column


class _Report:
    def __init__(self):
        self.records, self.dead = 0, []
        self.present: Counter = Counter()
        self.labels: Counter = Counter()
        self.numbers: dict[str, list] = {}

    def add(self, label, facts):
        self.records += 1
        self.present.update(list(facts))
        if label is not None:
            self.labels[label] += 1
        for name, value in _numbers(facts).items():
            few, total, many = self.numbers.get(name, (value, 0, value))
            self.numbers[name] = [min(few, value), total + value, max(many, value)]

    def as_json(self):
        return {"present": self.present, "labels": self.labels, "numbers": self.numbers,
                "dead": self.dead}  # fmt: skip


def _numbers(facts):
    found = {}
    if "image" in facts:
        found["image_height"], found["image_width"] = facts["image"]
    if "text" in facts:
        found["text_bytes"] = facts["text"]
    if "audio" in facts:
        found["audio_seconds"] = facts["audio"]
    return found


def _of_the_row(read):
    """What `read` returns; a disk that fails is no fault of the row."""
    try:
        return read()
    except ValueError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in _OF_THE_PATH:
            raise cause from error
        raise


def flac(waveform: np.ndarray) -> bytes:
    """A waveform in [-1, 1] at 16 kHz as FLAC of 16 bits; what is above is cut."""
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype("int16")
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def serialised(features: dict) -> bytes:
    """A record of bytes and ints, the same bytes for the same features."""
    import tensorflow as tf

    made = {}
    for name, value in features.items():
        if isinstance(value, bytes):
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        else:
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    example = tf.train.Example(features=tf.train.Features(feature=made))
    return example.SerializeToString(deterministic=True)


def shard_name(number: int, count: int) -> str:
    """Name of a shard's file."""
    return f"data-{number:05d}-of-{count:05d}.tfrecord"
