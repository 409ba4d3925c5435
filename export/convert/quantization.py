"""Smaller artifacts: float16 and int8 weights, tower by tower, the log-mel never."""

import re
from pathlib import Path

import keras

from mmzoo.export.surgery.encoders import split_towers

KINDS = ("float32", "float16", "dynamic", "int8")
# What turns a waveform into a spectrogram: eight bits ruin it, and it holds few weights.
FRONT_END = r"log_mel|spectrogram|stft"
REPRESENTATIVE = 64  # samples from which int8 learns its ranges
WEIGHTY = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")


def tower_scopes(model: keras.Model) -> dict[str, str]:
    """Modality to a regular expression of the names that its encoder's operators have."""
    towers = split_towers(model)
    encoders = {} if towers is None else towers.encoders
    names = [layer.name for layer in encoders.values()]
    for name in names:
        if any(re.fullmatch(rf"{re.escape(name)}_\d+", other) for other in names):
            raise ValueError(
                f"Expected encoders whose names tell them apart. Received: {names}. The converter "
                f"numbers a name itself: give each encoder its own (name='image_encoder')."
            )
    return {name: rf"(.*/)?{re.escape(layer.name)}(_\d+)?/.*" for name, layer in encoders.items()}


def check_choice(choice: dict[str, str], scopes: dict[str, str]) -> None:
    """Raises ValueError unless every tower is there and every kind is known.

    Args:
        choice: Modality, or "rest" for all that is no tower, to one of `KINDS`.
        scopes: What `tower_scopes` found.
    """
    unknown = sorted(set(choice) - set(scopes) - {"rest"})
    if unknown:
        raise ValueError(
            f"Expected towers of the model, {sorted(scopes)}, or 'rest'. Received: {unknown}. "
            "A tower is an encoder that is a model of its own."
        )
    for tower, kind in choice.items():
        if kind not in KINDS:
            raise ValueError(f"Expected one of {KINDS} for {tower!r}. Received: {kind!r}.")


def quantize_tflite(
    source: Path, target: Path, choice: dict[str, str], scopes: dict[str, str], samples
) -> None:
    """Writes a TFLite file with smaller weights.

    - float16: weights of 16 bits, computed in float32.
    - dynamic: weights of 8 bits; activations are rounded to 8 bits as they come.
    - int8: weights and activations of 8 bits, with ranges from real samples.

    Args:
        source: The float32 file.
        target: File to write.
        choice: See `check_choice`; "float32" where it says nothing.
        scopes: What `tower_scopes` found.
        samples: `Calibration` or `Samples`, for int8; not those that the file is judged on.

    Raises:
        ImportError: If litert-quantizer is not there.
        ValueError: As `check_choice`; or if the file can't be quantised so.
    """
    check_choice(choice, scopes)
    try:
        from litert_quantizer import qtyping, quantizer
        from litert_quantizer.algorithm_manager import AlgorithmName
    except ImportError as error:
        raise ImportError(
            f"Expected litert-quantizer. `pip install litert-quantizer`: {error}"
        ) from error

    operation = qtyping.TFLOperationName
    made = quantizer.Quantizer(str(source))
    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    untouched = qtyping.OpQuantizationConfig(compute_precision=qtyping.ComputePrecision.FLOAT)

    def leave(scope):
        made.update_quantization_recipe(
            scope, operation.ALL_SUPPORTED, untouched, AlgorithmName.NO_QUANTIZE
        )

    # Later rules win: the rest, then the towers, then what must never be touched.
    for tower in sorted(choice, key=lambda name: name != "rest"):
        scope = ".*" if tower == "rest" else scopes[tower]
        weighty = [operation(name) for name in WEIGHTY]
        if choice[tower] == "float16":
            for kind in weighty:
                made.update_quantization_recipe(scope, kind, half, AlgorithmName.FLOAT_CASTING)
        elif choice[tower] == "dynamic":
            made.add_dynamic_config(scope, operation.ALL_SUPPORTED, 8)
        elif choice[tower] == "int8":
            # Outside a tower stand choices and masks, which have no ranges to round to.
            for kind in weighty if tower == "rest" else [operation.ALL_SUPPORTED]:
                made.add_static_config(scope, kind, 8, 8)
        else:
            leave(scope)
    for tower in set(scopes) - set(choice):
        leave(scopes[tower])
    leave(f".*({FRONT_END}).*")
    ranges = None
    if made.need_calibration:
        # A list: the calibrator goes through it twice.
        ranges = made.calibrate({"portable": list(_one_by_one(samples))}, num_threads=2)
    target.write_bytes(
        made.quantize(
            ranges, enable_progress_bar=False, enable_progress_report=False
        ).quantized_model
    )


def quantize_onnx(source: Path, target: Path, kind: str, samples) -> None:
    """Writes an ONNX file with 8-bit weights, by onnxruntime's own tools.

    Args:
        source: The float32 file.
        target: File to write.
        kind: "dynamic" (matrices and tables; a convolution of integers is slower than one of
            floats) or "int8" (convolutions and matrices, with ranges from real samples).
        samples: `Calibration` or `Samples`, for int8; not those that the file is judged on.
    """
    import onnx
    from onnxruntime import quantization

    front = [node.name for node in onnx.load(source).graph.node if re.search(FRONT_END, node.name)]
    # 7 bits a weight: on processors without VNNI the sum of two products of 8 by 8 bits saturates,
    # and a file that answers rightly here answers at random there.
    options = {"per_channel": True, "nodes_to_exclude": front, "reduce_range": True}
    if kind == "dynamic":
        quantization.quantize_dynamic(
            source, target, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"], **options,
        )  # fmt: skip
        return

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._samples = _one_by_one(samples)

        def get_next(self):
            return next(self._samples, None)

    quantization.quantize_static(
        source, target, Reader(), quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"], **options,
    )  # fmt: skip


def _one_by_one(samples):
    """Evenly over the samples, by name, a batch of one each."""
    for k in range(0, len(samples), max(1, len(samples) // REPRESENTATIVE)):
        yield {name: value[k : k + 1] for name, value in samples.inputs.items()}
