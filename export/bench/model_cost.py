"""What a model costs as a TFLite file, and whether it answers there as in Keras."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from mmzoo.export.certify.comparison import TOLERANCE, compare
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.surgery.model_description import call


@dataclasses.dataclass(frozen=True)
class Measured:
    """One model in its own runtime.

    Attributes:
        latency_ms: Median time of a sample, one by one.
        max_difference: Largest difference from Keras, over the scale of the output where it is;
            NaN if the file gave something that can't be compared.
        breaches: What is wrong, in words; empty if every output holds.
    """

    latency_ms: float
    max_difference: float
    breaches: tuple[str, ...]


def measure_tflite(
    model: keras.Model, inputs: Mapping[str, np.ndarray], tolerance: float = TOLERANCE
) -> Measured:
    """Exports a model to TFLite, and runs samples through it one by one, in a fresh process.

    Args:
        model: Functional Keras model; its outputs a dict.
        inputs: Dict of input name to array `(samples, ...)`, of the model's dtypes.
        tolerance: Largest difference of a float output, as a part of its scale, that is none.

    Returns:
        `Measured`; a difference is told, not raised.

    Raises:
        ValueError: If the model needs an operator that is no TFLite builtin.
        RuntimeFailure: If the file does not run.
    """
    samples = len(next(iter(inputs.values())))
    with tempfile.TemporaryDirectory() as folder:
        path = write_tflite(model, Path(folder) / "model.tflite")
        result = run_artifact("tflite", path, dict(inputs), [(1, samples)])
    expected = {name: np.asarray(value) for name, value in call(model, dict(inputs)).items()}
    [answers] = result.outputs
    found = {
        name: compare(answers.get(name, np.zeros(0)), value, tolerance)
        for name, value in expected.items()
    }
    return Measured(
        latency_ms=result.report["runs"][0]["median_ms"],
        max_difference=float(np.max([each.scale_relative for each in found.values()])),
        breaches=tuple(
            f"{name}: {breach}" for name, each in found.items() for breach in each.breaches
        ),
    )
