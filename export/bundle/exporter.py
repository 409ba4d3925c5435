"""A bundle: the artifacts of one model, their manifest and their certificate."""

import shutil
from pathlib import Path

import numpy as np

from mmzoo._version import __version__
from mmzoo.export.bundle.checksums import write_sums
from mmzoo.export.bundle.format_choice import (
    Writing,
    choose_formats,
    choose_kinds,
    needs_calibration,
)
from mmzoo.export.bundle.formats import FIXED, PATHS, QUANTIZED, STRINGS, VARIANTS, runtime_of
from mmzoo.export.bundle.manifest import FOLDER_SERVING, SCHEMA, Bundle, check_bundle_place
from mmzoo.export.bundle.manifest_checks import check_classes, check_version
from mmzoo.export.bundle.model_card import model_card
from mmzoo.export.bundle.signatures import describe_signatures, with_strings
from mmzoo.export.bundle.task_choice import choose_task
from mmzoo.export.certify.certificate import certify, raise_on_breach
from mmzoo.export.certify.comparison import TOLERANCE, check_tolerance
from mmzoo.export.certify.edge_cases.nonfinite import NONFINITE
from mmzoo.export.certify.preconditions import check_names, check_padding
from mmzoo.export.certify.quantization_limits import check_limit
from mmzoo.export.certify.reference_answers import answers, in_half_precision
from mmzoo.export.certify.single_artifact import choose_parts
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.saved_model_writer import write_saved_model
from mmzoo.export.convert.text_strings import check_strings, describe_operators, write_strings
from mmzoo.export.convert.tflite_metadata import put_metadata
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.convert.variants import METRIC_LIMIT, quantization, write_variant
from mmzoo.export.deploy.phones import write_mobile
from mmzoo.export.deploy.serving import write_serving
from mmzoo.export.embed.output_rule import describe_embedding
from mmzoo.export.samples.calibration import calibrate_and_check, save_calibration
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import declare_features, describe, load_model
from mmzoo.export.surgery.tokenizers import split_tokenizers
from mmzoo.io.files import atomic_write, sha256, write_json
from mmzoo.io.place_lock import lock_place
from mmzoo.tasks import Image, Task

WRITERS = {"saved_model": write_saved_model, "tflite": write_tflite, "onnx": write_onnx}


def export_bundle(
    model,
    path,
    *,
    formats=None,
    task: Task | None = None,
    samples: Samples | None = None,
    calibration: Samples | None = None,
    classes: list[str] | None = None,
    tolerance: float = TOLERANCE,
    quantize: dict[str, str] | None = None,
    metric_limit: float = METRIC_LIMIT,
    about: dict[str, str] | None = None,
    name: str | None = None,
    version: str = "1",
    image_fit: str | None = None,
) -> Bundle:
    """Exports a model to every format, verifies each, and only then puts it in place.

    Args:
        model: Functional Keras model, or the path of a `.keras` file.
        path: Folder of the bundle. An old bundle there is replaced once the new one holds,
            and is left as it was otherwise.
        formats: None: "saved_model", "tflite" and "onnx", or "all": the variants too. Then what
            the model can't carry is left out, and the bundle says which and why, under `left_out`
            of its manifest and certificate, and on its card. Or names, each of which must be
            made: any of "saved_model", "tflite", "onnx", and of the variants:
            "tflite-batch1" (one sample of the samples' size, for browsers and GPU delegates),
            "tflite-float16", "tflite-dynamic", "tflite-int8", "onnx-dynamic", "onnx-int8".
            And "onnx-strings" and "tflite-strings", which take texts as strings, by operators of
            onnxruntime-extensions and tensorflow-text.
        task: What the model takes and gives, and how good that is; the bundle keeps it. None: it
            is guessed from the model's tensors and `classes`, see `mmzoo.tasks.guess_task`.
        samples: Real samples, with the task's targets where they are known. The bundle keeps them;
            of more than 256 MiB a part, drawn with a seed, is checked and kept.
        calibration: Other samples, of another split, from which int8 learns its ranges; the bundle
            keeps them too. None: some of `samples`, which are then not checked on.
        classes: Optional class names, in the order of the scores, where there is no task.
        tolerance: Largest difference of a float output, as a part of its scale. 1e-5 is what
            float32 keeps in a network of a few layers; one of dozens may need 5e-5.
            The manifest keeps it.
        quantize: Dict of modality, or "rest", to "float32", "float16", "dynamic" or "int8": one
            more variant, "tflite-mixed".
        metric_limit: What a quantised artifact may lose of the task's first metric, as a share. It
            is not held to `tolerance`. Without targets: the share of decisions that may change.
        about: Optional dict of a heading of the model card ("Data", "Metrics", "Limits",
            "Licence") to Markdown.
        name: The bundle's name, which `verify_bundle(expect_name=)` asks for and the model card
            has for a title. None: the model's name.
        version: The model's version, which `verify_bundle(expect_version=)` asks for: letters,
            digits, ".", "_", "+" and "-". A signature covers it.
        image_fit: Where there is no task, how an image is brought to the size that the model takes,
            as its training images were: "stretch" scales each side by itself, "pad" keeps the
            proportions and centres the image on white, "crop" cuts it around its middle first;
            "none" leaves it as it is, for a model that takes any size, whose images are otherwise
            brought to the samples' size. None: that of the samples, else "stretch".

    Returns:
        The `Bundle`.

    Raises:
        ValueError: If a format is unknown, `path` is a folder of something else, or a
            format that was asked for, or every one, can't carry the model.
        ImportError: If a package is missing that such a format needs.
        ParityError: If the answers of such an artifact differ; nothing is left at `path`.
        PlaceInUseError: If another run writes to `path`.
    """
    quantize = choose_kinds(quantize)
    formats, asked = choose_formats(formats, quantize)
    path = Path(path)
    check_bundle_place(path)
    check_tolerance(tolerance)
    check_limit(metric_limit)
    check_version(version)
    check_classes(classes)
    if samples is None:
        raise ValueError(
            "Expected `samples` (--samples FILE.npz): real inputs of the model, on which each "
            "artifact is compared with it. Received: none."
        )
    with lock_place(path):
        check_bundle_place(path)  # whoever held the lock before may have written there
        return _export(
            model, path, formats, asked, task, samples, calibration, classes, tolerance, quantize,
            metric_limit, about, name, version, image_fit,
        )  # fmt: skip


def _export(
    model, path, formats, asked, task, samples, given, classes, tolerance, quantize, metric_limit,
    about, name, version, image_fit,
):  # fmt: skip
    title = name
    original = load_model(model)
    model, tokenizers = split_tokenizers(original)
    declare_features(model, () if task is None else task.features)
    inputs, outputs = describe(model, tokenizers)
    check_names(inputs, outputs)
    for name in set(STRINGS) & set(formats):
        check_strings(name, model, tokenizers)
    samples = samples.with_ids(tokenizers).fit(inputs).limited()
    task = choose_task(task, inputs, outputs, samples, classes, image_fit)
    calibration, too_few = None, None
    if any(needs_calibration(each, quantize) for each in formats):
        try:
            calibration, samples = calibrate_and_check(samples, given, inputs, tokenizers)
        except ValueError as error:
            if any(needs_calibration(each, quantize) for each in asked):
                raise
            too_few = error
    parts = {}
    if "saved_model" in formats:
        images = [each for each in task.features if isinstance(each, Image)]
        parts = choose_parts(model, tokenizers, samples, images)
        if "serving_default" in describe_signatures("saved_model", inputs, outputs):
            check_padding(model, samples, inputs)
    reference, refused, probes = answers(model, samples, original, tokenizers, parts, tolerance)
    with atomic_write(path) as place:
        place.mkdir()

        def write(name):
            if name in VARIANTS:
                if too_few is not None and needs_calibration(name, quantize):
                    raise too_few
                write_variant(name, place, model, samples, quantize, calibration)
            elif name in STRINGS:
                write_strings(name, place, model, tokenizers)
            else:
                options = {}
                if name == "saved_model":
                    options = {"tokenizers": tokenizers, "parts": parts}
                WRITERS[name](model, place / PATHS[name], **options)

        writing = Writing(place, formats, asked)
        writing.write(write)
        formats = tuple(writing.made)
        if "saved_model" not in formats:
            parts = {}
        if calibration is not None:
            save_calibration(place, calibration)
        samples.save(place / "samples.npz")
        arrays = {f"{key}/{n}": v for key, values in reference.items() for n, v in values.items()}
        np.savez_compressed(place / "reference.npz", **arrays)
        signatures = describe_signatures("saved_model", inputs, outputs)
        signatures |= {key: part.to_json() for key, part in parts.items()}
        if "saved_model" in formats:
            write_serving(place, model.name, signatures, samples)
        manifest = _manifest(place, model, inputs, outputs, formats, samples, task, tolerance)
        manifest |= {
            "name": title or model.name,
            "version": version,
            "embedding": describe_embedding(model, manifest, task, reference["samples"]),
            "refused_sizes": refused,
            "half_precision": in_half_precision(model),
            "probes": probes,
            "left_out": writing.left_out,
        }
        if calibration is not None:
            manifest["calibration"] = calibration.to_json()
        if "saved_model" in formats:
            manifest["formats"]["saved_model"]["signatures"] = signatures
        for name in set(QUANTIZED) & set(formats):
            entry = manifest["formats"][name]
            entry["quantized"] = quantization(name, model, quantize)
            entry["metric_limit"] = metric_limit
        for name in set(STRINGS) & set(formats):
            manifest["formats"][name] |= describe_operators(name, tokenizers)
        if FIXED in formats:
            entry = manifest["formats"][FIXED]
            entry["signatures"]["portable"] = _fixed(manifest, samples, reference)
        certificate = certify(place, manifest, samples, reference)
        writing.drop_breaches(manifest, certificate)
        if "saved_model" not in manifest["formats"]:
            shutil.rmtree(place / FOLDER_SERVING, ignore_errors=True)
        certificate["left_out"] = writing.left_out
        for key, entry in manifest["formats"].items():
            entry[NONFINITE] = certificate["formats"][key][NONFINITE]
        write_mobile(place, manifest)
        write_json(place / "manifest.json", manifest)
        certificate["manifest_sha256"] = sha256(place / "manifest.json")
        raise_on_breach(certificate)
        write_json(place / "certificate.json", certificate)
        card = model_card(manifest, certificate, about, title)
        (place / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        write_sums(place)
    return Bundle(path, manifest, certificate)


def shapes_of(samples: Samples) -> dict:
    """Dict of input name to a sample's shape."""
    return {name: list(value.shape[1:]) for name, value in samples.inputs.items()}


def _fixed(manifest, samples, reference):
    """The tensors of a file of one sample of fixed size."""
    shapes = {name: value.shape[1:] for name, value in samples.inputs.items()}
    shapes |= {name: value.shape[1:] for name, value in reference["samples"].items()}
    return {
        side: [t | {"shape": [1, *shapes[t["name"]]]} for t in manifest[side]]
        for side in ("inputs", "outputs")
    }


def _manifest(place, model, inputs, outputs, formats, samples, task, tolerance):
    described = {
        "schema": SCHEMA,
        "mmzoo": __version__,
        "model": model.name,
        **describe_signatures("", inputs, outputs)["portable"],
        "task": task.to_json(),
    }
    entries = {}
    for name in formats:
        if runtime_of(name) == "tflite":
            taken = with_strings(described["inputs"]) if name in STRINGS else described["inputs"]
            put_metadata(place / PATHS[name], {**described, "inputs": taken})
        top = place / PATHS[name].split("/")[0]
        files = [file for file in sorted(top.rglob("*")) if file.is_file()]
        entries[name] = {
            "path": PATHS[name],
            "signatures": describe_signatures(name, inputs, outputs),
            "files": {file.relative_to(place).as_posix(): sha256(file) for file in files},
        }
    return {
        **described,
        "formats": entries,
        "samples": {
            **samples.describe(),
            "sha256": samples.sha256(),
            "shapes": shapes_of(samples),
        },
        "reference_sha256": sha256(place / "reference.npz"),
        "tolerance": tolerance,
    }
