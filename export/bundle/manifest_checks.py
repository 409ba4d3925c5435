"""What a manifest must say, before anything is done with its bundle. Needs no TensorFlow."""

import re
from pathlib import Path

from mmzoo.export.bundle.formats import FIXED, PARTS, PATHS, QUANTIZED, STRINGS
from mmzoo.export.bundle.signatures import signature_names, with_strings
from mmzoo.export.certify.comparison import check_tolerance
from mmzoo.export.certify.quantization_limits import check_limit
from mmzoo.export.embed.output_rule import check_embedding
from mmzoo.tasks import Task, Tensor, check_task


def check_manifest(manifest: dict) -> None:
    """Raises ValueError, KeyError or TypeError unless it promises what every bundle promises."""
    portable = {side: manifest[side] for side in ("inputs", "outputs")}
    if not manifest["formats"] or not manifest["inputs"] or not manifest["outputs"]:
        raise ValueError("it names no format, input or output")
    for name, entry in manifest["formats"].items():
        if entry["path"] != PATHS.get(name):
            raise ValueError(f"the format {name!r} stands at {entry['path']!r}")
        wanted = set(signature_names(name, manifest["inputs"], manifest["outputs"]))
        more = set(entry["signatures"]) - wanted
        known = name == "saved_model" and all(PARTS.fullmatch(part) for part in more)
        if (more and not known) or wanted - set(entry["signatures"]):
            raise ValueError(f"the signatures of {name!r} are not {sorted(wanted)}")
        found = entry["signatures"]["portable"]
        if name == FIXED:
            found, expected = ({s: [(t["name"], t["dtype"]) for t in each[s]] for s in each}
                               for each in (found, portable))  # fmt: skip
        elif name in STRINGS:
            expected = portable | {"inputs": with_strings(manifest["inputs"])}
        else:
            expected = portable
        if found != expected:
            raise ValueError(f"the signatures of {name!r} are not {sorted(wanted)} of its tensors")
        if entry.get("operators", []) != ([STRINGS[name]] if name in STRINGS else []):
            raise ValueError(f"{name!r} needs the operators of {entry.get('operators')}")
        for signature in entry["signatures"].values():
            for tensor in (*signature["inputs"], *signature["outputs"]):
                _ = tensor["name"], tensor["dtype"], tensor["shape"]
        for file in entry["files"]:
            if ".." in Path(file).parts or Path(file).is_absolute():
                raise ValueError(f"the path {file!r} leads out of the bundle")
    task = Task.from_json(manifest["task"])
    if task.to_json() != manifest["task"]:
        raise ValueError("its task is not what its fields say")
    check_task(task, *([Tensor.from_json(t) for t in manifest[s]] for s in ("inputs", "outputs")))
    check_embedding(manifest)
    for key in ("source", "sha256", "shapes"):
        _ = manifest["samples"][key]
    if not all(isinstance(reason, str) for reason in manifest["refused_sizes"].values()):
        raise ValueError("it does not say why a size was refused")
    probes = manifest["probes"]
    if len(probes["reasons"]) != probes["left_out"] or not isinstance(probes["unsteady"], list):
        raise ValueError("it does not say why a probe row was left out")
    if not isinstance(probes["handles_nonfinite"], bool):
        raise ValueError("it does not say whether the model handles NaN and infinity")
    if not isinstance(manifest["half_precision"], bool):
        raise ValueError("it does not say whether the model computes in half precision")
    check_tolerance(manifest["tolerance"])
    for name, entry in manifest["formats"].items():
        if name in QUANTIZED:
            check_limit(entry["metric_limit"])
    if not all(isinstance(why, str) for item in manifest["left_out"].items() for why in item):
        raise ValueError("it does not say why a format was left out")
    if "calibration" in manifest:
        _ = [manifest["calibration"][key] for key in ("source", "count", "sha256", "split")]
    check_version(manifest["version"])
    if not isinstance(manifest["name"], str) or not manifest["name"].strip():
        raise ValueError("it has no name")
    _ = manifest["reference_sha256"]
    for answer in task.answers:
        check_classes(getattr(answer, "classes", None))


def check_version(version) -> None:
    """Raises ValueError unless `version` can tell one bundle of a model from another."""
    if not (
        isinstance(version, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", version)
    ):
        raise ValueError(
            "`version` must be letters, digits, '.', '_', '+' and '-', 64 at most. Received: "
            f"version={version!r}."
        )


def check_classes(classes) -> None:
    """Raises ValueError unless each class name is one line: `labels.txt` holds one a line."""
    for k, name in enumerate(classes or ()):
        if not isinstance(name, str):
            raise ValueError(f"`classes` must be strings. Received: {name!r} as class {k}.")
        # Readers of labels.txt pass over an empty line, and end a string at NUL.
        if name.splitlines() != [name] or "\0" in name or not name.strip():
            raise ValueError(
                f"Expected class names of one line each, none empty. Received: {name!r} as class "
                f"{k}. Rename it: labels.txt holds one name a line, and line k is class k."
            )
