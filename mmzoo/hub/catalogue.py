"""The modules that mmzoo knows: what each takes and gives, and its names. No TensorFlow.

`catalogue.json` was checked against the modules' own documentation pages. It is no limit: a
handle that is not listed loads just as well, and says less of itself.
"""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from mmzoo.hub.contract import MODALITIES, Contract, contract_from_dict
from mmzoo.hub.handles import Handle, parse

_FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class Entry:
    """A module of the catalogue.

    Attributes:
        handle: Canonical handle.
        modality: "image", "text", "audio" or "video".
        contract: A `Contract`; None for a module of ours, which carries it in its folder.
        kaggle: The canonical handle of the same module on Kaggle, "" where it is not known.
        needs: pip names of what the module's ops need, "tensorflow-text" for example.
        build: What `mmzoo hub build` calls it; "" where it is not built.
        note: What else to know, "" for nothing.
        sha256: `mmzoo.hub.cache.digest_of` the only module that is taken, "" for any.
    """

    handle: str
    modality: str
    contract: Contract | None = None
    kaggle: str = ""
    needs: tuple[str, ...] = ()
    build: str = ""
    note: str = ""
    sha256: str = ""


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Every module of the catalogue, by modality."""
    listed = [_entry(data) for data in json.loads(_FILE.read_text(encoding="utf-8"))]
    return tuple(sorted(listed, key=lambda entry: MODALITIES.index(entry.modality)))


def find(handle: str | os.PathLike | Handle) -> Entry | None:
    """The entry of a module, under any spelling and on either host; None if it is not listed."""
    return _by_name().get(str(parse(handle)))


def equivalents(handle: str | Handle) -> tuple[Handle, ...]:
    """The handles under which the other host has the very same module.

    tfhub.dev sends its visitors to Kaggle since November 2023, where versions are counted
    anew. Only pairs that were seen in such a redirect are known.
    """
    handle, entry = parse(handle), find(handle)
    if entry is None:
        return ()
    names = (parse(name) for name in (entry.handle, entry.kaggle) if name)
    return tuple(name for name in names if name != handle)


@functools.cache
def _by_name():
    return {name: entry for entry in entries() for name in (entry.handle, entry.kaggle) if name}


def _entry(data):
    contract = data.get("contract")
    if contract is not None:
        contract = contract_from_dict({"modality": data["modality"], **contract})
    needs = tuple(data.get("needs", ()))
    return Entry(**{**data, "contract": contract, "needs": needs})
