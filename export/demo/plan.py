"""What the page must know of a bundle, and whether a page can run it. Needs no TensorFlow."""

from pathlib import Path

from mmzoo.export.bundle.checksums import changed_files
from mmzoo.export.bundle.manifest import MANIFEST
from mmzoo.export.bundle.signing import open_bundle
from mmzoo.io.files import sha256
from mmzoo.tasks import Audio, Category, Image, Labels, Number, Scores, Task, Tensor, Value

FORMAT = "onnx"
CARDS = {  # by kind of feature
    "image": "picture", "text": "text", "audio": "sound", "number": "number",
    "category": "category",
}  # fmt: skip
DTYPES = ("bool", "float32", "int32", "int64", "uint8")  # that the page makes tensors of
TOKENS = (
    "This model reads token ids, and the page has no tokenizer. Its text is for mmzoo predict, "
    "which makes them."
)


def read_demo(path, public_key=None) -> tuple[dict, Path]:
    """Reads a bundle for the page.

    Args:
        path: A bundle, or the folder of a run.
        public_key: Path of the public half of the key that must have signed the bundle; None: a
            signature is not checked.

    Returns:
        What `plan` tells of its manifest, with `bytes` and `sha256`, the size and the digest of
        the ONNX file; and the path of that file.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If it is broken, was not verified or has no ONNX file, or as `plan` says.
    """
    bundle = open_bundle(path, public_key)
    manifest, certificate = bundle.manifest, bundle.certificate
    if FORMAT not in manifest["formats"]:
        raise ValueError(
            f"Expected a bundle with the format {FORMAT!r}, which a browser runs. Received: "
            f"{sorted(manifest['formats'])}. Export the model with --formats {FORMAT}."
        )
    digest = sha256(bundle.path / MANIFEST)
    if certificate["holds"] is not True or certificate["manifest_sha256"] != digest:
        raise ValueError(
            f"Expected a bundle whose certificate holds for its manifest. Received: {bundle.path}. "
            "`mmzoo verify` says what is wrong."
        )
    changed = changed_files(bundle.path, manifest, FORMAT)
    if changed:
        raise ValueError(f"Expected the files that were verified. Changed: {'; '.join(changed)}.")
    entry = manifest["formats"][FORMAT]
    artifact = bundle.path / entry["path"]
    told = {"bytes": artifact.stat().st_size, "sha256": entry["files"][entry["path"]]}
    return plan(manifest) | told, artifact


def plan(manifest: dict) -> dict:
    """What the page is told of a model.

    Args:
        manifest: Of a bundle, as `load_bundle` reads it.

    Returns:
        JSON: `name`; `tensors`, each input's `name`, `dtype`, `sample` (the size that it was
        verified on, without the batch), `source` (the feature that it carries) and `presence_of`;
        `modalities`, each feature's `name`, `kind` (one of `CARDS`), `optional`, `shape` (None
        where a size is free), `closed`, why it can't be given in a page, or "", and by kind `fit`
        and `size` of pictures, `sample_rate` of sounds in Hz, `unit` of numbers and `values` of
        categories; `output`, the name of the answer that is shown; `answer`, as the task describes
        it; and `classes`, or None.

    Raises:
        ValueError: If there is no answer that a page shows, or if a page can't make an input
            that the model can't do without.
    """
    tensors = [Tensor.from_json(tensor) for tensor in manifest["inputs"]]
    task = Task.from_json(manifest["task"])
    shown = [each for each in task.answers if isinstance(each, Scores | Labels | Value)]
    if not shown:
        raise ValueError(
            "Expected one output with a score a class, with labels or with a number. Received: "
            f"{manifest['outputs']}. Export the model with its task (--task FILE) or its class "
            "names (--classes FILE)."
        )
    answer = shown[0]
    output = answer.name
    scores = next(t["dtype"] for t in manifest["outputs"] if t["name"] == output)
    odd = [f"{tensor.name}: {tensor.dtype}" for tensor in tensors if tensor.dtype not in DTYPES]
    if odd or scores != "float32":
        raise ValueError(
            f"Expected inputs of {', '.join(DTYPES)} and float32 scores, which a page makes and "
            f"reads. Received: {', '.join(odd) or f'{output}: {scores}'}."
        )
    optional = {tensor.presence_of for tensor in tensors if tensor.presence_of}
    kinds = {t.feature: _card(t) for t in tensors if not t.presence_of}
    tokens = {tensor.tokens_of for tensor in tensors}
    lacking = [n for n, kind in kinds.items() if n not in optional and (not kind or n in tokens)]
    if lacking or not any(kind and name not in tokens for name, kind in kinds.items()):
        raise ValueError(
            "Expected inputs that a page can make: images, text as UTF-8 bytes, audio, numbers "
            "and categories. "
            "Received, besides: "
            f"{', '.join(lacking or kinds)}. A model with presence inputs "
            "(mmzoo.fusion.presence_inputs) can do without; `mmzoo predict` takes token ids."
        )
    return {
        "name": manifest.get("name") or manifest["model"],
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.dtype,
                "source": tensor.presence_of or tensor.tokens_of or tensor.name,
                "presence_of": tensor.presence_of,
                "sample": manifest["samples"]["shapes"][tensor.name],
            }
            for tensor in tensors
        ],
        "modalities": [
            {
                "name": tensor.tokens_of or tensor.name,
                "kind": kinds[tensor.tokens_of or tensor.name],
                "optional": (tensor.tokens_of or tensor.name) in optional,
                "shape": list(tensor.shape[1:]),
                "closed": TOKENS if tensor.tokens_of else "",
                **_spec(task.feature(tensor.feature)),
            }
            for tensor in {t.tokens_of or t.name: t for t in tensors if not t.presence_of}.values()
            if kinds[tensor.tokens_of or tensor.name]
        ],
        "output": output,
        "answer": answer.to_json(),
        "classes": list(getattr(answer, "classes", None) or ()) or None,
    }


def _card(tensor):
    """The card of an input, one of `CARDS`; "" if a page can't make it."""
    if tensor.kind == "image" and tensor.dtype != "uint8":
        return ""
    return CARDS.get(tensor.kind, "")


def _spec(feature):
    """What the page must know of a feature besides its kind."""
    if isinstance(feature, Image):
        return {"fit": feature.fit, "size": feature.size and list(feature.size)}
    if isinstance(feature, Audio):
        return {"sample_rate": feature.sample_rate}
    if isinstance(feature, Number):
        return {"unit": feature.unit}
    return {"values": list(feature.values)} if isinstance(feature, Category) else {}
