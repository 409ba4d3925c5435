"""Where records come from: record files, or the rows of a manifest."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

from mmzoo.data.media.images import inside
from mmzoo.data.prepare.plan import MODALITIES, identity, make_plan
from mmzoo.data.records import DESCRIPTION, check_shard, describe_records, read_shard
from mmzoo.data.tables.reader import SUFFIXES
from mmzoo.io.files import sha256

ROWS = 1000  # of a manifest, in one part
# A path's own fault; any other error of a disk or network stops the run, which can then go on.
_OF_THE_PATH = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip


class Records:
    """The shards that `mmzoo data prepare` made, each a part.

    Args:
        folder: Of the data set.

    Attributes:
        identity: JSON value of all that the records depend on.

    Raises:
        ValueError: If the folder holds no whole data set.
    """

    def __init__(self, folder: Path):
        self.folder, described = folder, describe_records(folder)
        self.shards, self._present = described["shards"], described["present"]
        self.identity = {"data_sha256": sha256(folder / DESCRIPTION)}

    def plan(self, work: Path) -> tuple[list[int], set[str]]:
        """How many records each part has, and which modalities there are."""
        counts = [shard["records"] for shard in self.shards]
        return counts, {m for m in MODALITIES if self._present.get(m)}

    def read(self, number: int) -> Iterator[dict]:
        """Yields the records of a part: `id`, and content as bytes."""
        return read_shard(check_shard(self.folder, self.shards[number]))

    def content(self, modality: str, value: bytes) -> bytes:
        """A record's content."""
        return value


class Manifest:
    """The rows of a `.csv`, `.jsonl` or `.parquet` file, a thousand a part.

    A row is set aside for the faults for which `mmzoo data prepare` sets it aside, an id that an
    earlier row has among them. Paths start from the manifest's folder, and can't leave it.

    Args:
        path: The file.

    Attributes:
        identity: JSON value of all that the records depend on.

    Raises:
        ValueError: If there is no such file.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise ValueError(f"Expected a manifest, or a folder of records. Received: {path}.")
        self.path, self.root = path, path.parent.resolve()
        self.repeated: dict[str, str] = {}
        self.identity = {"data_sha256": sha256(path), "root": str(self.root)}

    def plan(self, work: Path) -> tuple[list[int], set[str]]:
        """How many rows each part has, and which modalities are columns; cuts the rows once.

        Raises:
            ManifestError: If the manifest can't be read, or lacks what is needed.
        """
        self.work, made = work, work / "plan.json"
        if made.exists():
            plan = json.loads(made.read_text(encoding="utf-8"))
        else:
            plan = make_plan(self.path, work, ROWS, {}, None)
        self.repeated = plan["repeated"]
        counts = [min(ROWS, plan["rows"] - first) for first in range(0, plan["rows"], ROWS)]
        return counts, set(plan["modalities"])

    def read(self, number: int) -> Iterator[dict]:
        """Yields the rows of a part: `id`, `row`, cells, and maybe a `fault`: column and reason."""
        path = self.work / f"rows-{number:05d}.json"
        for row in json.loads(path.read_text(encoding="utf-8")):
            name = identity(row)
            if str(row["row"]) in self.repeated:
                row.setdefault("fault", ["id", f"An earlier row has the id {name!r}."])
            elif not set(row) & set(MODALITIES):
                row.setdefault("fault", [", ".join(MODALITIES), "No modality is present."])
            yield {**row, "id": name}

    def content(self, modality: str, value: str) -> bytes:
        """What a cell says, or what is in the file that it names.

        Raises:
            ValueError: If the file can't be read for a fault of its path.
            OSError: If the disk or network fails.
        """
        if modality == "text":
            return value.encode()
        path = inside(self.root, value)
        try:
            if path.exists() and not path.is_file():  # a pipe or a device may never end
                raise ValueError(f"Expected a regular file. Received: {value!r}. Check the path.")
            return path.read_bytes()
        except OSError as error:
            if error.errno not in _OF_THE_PATH:
                raise
            raise ValueError(
                f"Expected a file. Received {value!r}, which can't be opened ({error.strerror}). "
                "Check the path."
            ) from error


def open_source(data: Path) -> Records | Manifest:
    """What `--input` names.

    Raises:
        ValueError: If it is neither a data set nor a manifest.
    """
    if data.suffix.lower() in SUFFIXES and not data.is_dir():
        return Manifest(data)
    if data.is_file():
        raise ValueError(
            f"Expected a manifest ({', '.join(SUFFIXES)}), or a folder of records. "
            f"Received: {data}. Write it as one of these."
        )
    return Records(data)
