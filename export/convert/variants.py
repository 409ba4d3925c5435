"""Artifacts that are made of another one: smaller ones, and one of fixed size."""

import tempfile
from pathlib import Path

import keras

from mmzoo.export.bundle.formats import FIXED, PATHS, runtime_of
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.quantization import quantize_onnx, quantize_tflite, tower_scopes
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.samples.calibration import Calibration
from mmzoo.export.samples.samples import Samples
from mmzoo.io.quiet import held_back

METRIC_LIMIT = 0.005  # what a smaller artifact may lose of the metric: half a point


def quantization(name: str, model: keras.Model, choice: dict[str, str]) -> dict[str, str]:
    """What a variant does to each tower and to the rest, as the manifest has it.

    Args:
        name: Of the variant.
        model: The functional model.
        choice: The user's own, of "tflite-mixed".
    """
    towers = {} if name.startswith("onnx") else tower_scopes(model)
    kind = name.partition("-")[2]
    if kind == "mixed":
        return choice
    # Between the towers stand choices and masks, which have no ranges to round to.
    rest = "dynamic" if kind == "int8" and towers else kind
    return {**dict.fromkeys(towers, kind), "rest": rest}


def write_variant(
    name: str,
    place: Path,
    model: keras.Model,
    samples: Samples,
    choice=None,
    calibration: Calibration | None = None,
) -> None:
    """Writes one variant into a bundle, from the float32 artifact there or from a new one.

    Args:
        name: One of `manifest.VARIANTS`.
        place: The bundle's folder.
        model: The functional model.
        samples: The samples that the artifacts are verified on; a file of fixed size gets theirs.
        choice: Of "tflite-mixed": see `quantization.check_choice`.
        calibration: Samples from which int8 learns its ranges; see `calibrate_and_check`.
    """
    target = place / PATHS[name]
    if name == FIXED:
        shapes = {key: (1, *value.shape[1:]) for key, value in samples.inputs.items()}
        write_tflite(model, target, shapes)
        return
    base = runtime_of(name)
    write = {"tflite": write_tflite, "onnx": write_onnx}[base]
    with tempfile.TemporaryDirectory() as folder:
        source = place / PATHS[base]
        if not source.exists():
            source = write(model, Path(folder) / "model")
        with held_back():  # progress bars, and advice on how to call the tools
            if base == "onnx":
                quantize_onnx(source, target, name.partition("-")[2], calibration)
            else:
                chosen = quantization(name, model, choice or {})
                quantize_tflite(source, target, chosen, tower_scopes(model), calibration)
