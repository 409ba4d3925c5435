"""Files that take texts as strings: which texts of a model can, and what reads each."""

import importlib.util
import tempfile
from pathlib import Path

import keras
from google.protobuf import empty_pb2, unknown_fields

from mmzoo.export.bundle.formats import PATHS, STRINGS, runtime_of
from mmzoo.export.bundle.signatures import has_string_signature
from mmzoo.export.convert.onnx_writer import write_onnx
from mmzoo.export.convert.text_strings_onnx import BYTES, PIECES, Front, write_onnx_strings
from mmzoo.export.convert.text_strings_tflite import write_tflite_strings
from mmzoo.export.surgery.model_description import describe
from mmzoo.export.surgery.tokenizers import Tokenizer
from mmzoo.pretrained.text_ids import SentencePieceIds
from mmzoo.tasks.tensors import Tensor

MODULES = {
    "onnxruntime-extensions": "onnxruntime_extensions",
    "tensorflow-text": "tensorflow_text",
}
NUL = "a text that holds a NUL byte: onnxruntime ends a string there"
TIE = (
    "a text that two sequences of pieces read with the very same score ('aaa' as 'aa', 'a' or as "
    "'a', 'aa'): the same pieces, in another order. Of random texts 2 in 1,000 are such."
)


def check_strings(name: str, model: keras.Model, tokenizers: list[Tokenizer]) -> None:
    """Raises unless a model can be written as a file that takes strings.

    Args:
        name: One of `manifest.STRINGS`.
        model: Functional model, of token ids where tokenizers were cut off.
        tokenizers: Those.

    Raises:
        ImportError: If the package that runs such a file is not installed.
        ValueError: If the model takes no text, an output has a free axis beside the batch, or
            a tokenizer is none whose token ids would be the same.
    """
    package = STRINGS[name]
    if importlib.util.find_spec(MODULES[package]) is None:
        raise ImportError(
            f'Expected {package}, whose operators are in {name!r}. `pip install -e ".[strings]"`.'
        )
    inputs, outputs = describe(model, tokenizers)
    if not any(tensor.is_text for tensor in inputs):
        raise ValueError(
            f"Expected a model that takes text, for {name!r}. Received: "
            f"{[(t.name, t.dtype, t.shape) for t in inputs]}. Export {runtime_of(name)!r}."
        )
    if not has_string_signature([t.to_json() for t in inputs], [t.to_json() for t in outputs]):
        raise ValueError(
            f"Expected outputs of fixed size, for {name!r}: strings carry no length that all "
            f"would share. Received: {[(t.name, t.shape) for t in outputs]}. Pool over the "
            "tokens, or pad them to a length (padding='max_length')."
        )
    if runtime_of(name) == "onnx":
        find_fronts(inputs, tokenizers)


def find_fronts(inputs: list[Tensor], tokenizers: list[Tokenizer]) -> list[Front]:
    """What onnxruntime-extensions must do in front of a model, one a text input.

    Raises:
        ValueError: If a tokenizer is none that its operators imitate exactly.
    """
    fronts = [Front(t.name, BYTES) for t in inputs if t.is_text and not t.tokens_of]
    for tokenizer in tokenizers:
        layers = tokenizer.model.layers
        made = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
        for layer in made:
            reason = "it is no SentencePieceIds"
            if type(layer) is SentencePieceIds:
                reason = unlike_in_extensions(layer._model)
            if reason:
                raise ValueError(
                    f"Expected token ids that onnxruntime-extensions makes exactly: of "
                    f"SentencePiece unigram models. Received: {layer.name!r} "
                    f"({type(layer).__name__}) of the text {tokenizer.source!r}: {reason}. Use "
                    "'onnx', with token ids from the SavedModel's signature `tokenize`, or "
                    "'tflite-strings'."
                )
        fronts.append(Front(tokenizer.source, PIECES, made[-1]))
    return fronts


def unlike_in_extensions(model: bytes) -> str:
    """Why a SentencePiece model's ids would differ in onnxruntime-extensions; "" if they don't.

    Each rule here was a difference on strings drawn at random.
    """
    parts = _fields(model)
    trainer, normalizer = _fields(parts.get(2, b"")), _fields(parts.get(3, b""))
    if trainer.get(3, 1) != 1:
        return "its model is not unigram"
    if trainer.get(35, 0):
        return "its model falls back to bytes"
    if trainer.get(24, 0):
        return "its model treats a space as the end of a word"
    if not normalizer.get(3, 1):
        return "its model puts no space in front of a text"
    if normalizer.get(1, b"") not in (b"nmt_nfkc", b"nmt_nfkc_cf"):
        return "its model's normalisation is neither nmt_nfkc nor nmt_nfkc_cf"
    return ""


def _fields(content):
    """The top fields of a protocol buffer, by number: sentencepiece_model.proto is not shipped."""
    found = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(content))
    return {field.field_number: field.data for field in found}


def write_strings(name: str, place: Path, model: keras.Model, tokenizers: list[Tokenizer]) -> None:
    """Writes a file that takes strings into a bundle.

    Args:
        name: One of `manifest.STRINGS`; see `check_strings`.
        place: The bundle's folder. An ONNX file there is what the new one stands on.
        model, tokenizers: As of `check_strings`.
    """
    target = place / PATHS[name]
    if runtime_of(name) == "tflite":
        write_tflite_strings(model, target, tokenizers)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = place / PATHS["onnx"]
        if not source.exists():
            source = write_onnx(model, Path(folder) / "model.onnx")
        write_onnx_strings(source, target, find_fronts(describe(model, tokenizers)[0], tokenizers))


def describe_operators(name: str, tokenizers: list[Tokenizer]) -> dict:
    """What the manifest says of such a file: whose operators it needs, and where it differs."""
    differs = []
    if runtime_of(name) == "onnx":
        differs = [NUL, *([TIE] if tokenizers else [])]
    return {"operators": [STRINGS[name]], "differs": differs}
